"""Messages and rules of tasks: states, first answer, health, stopping, attachments; the table is messages_tasks.py."""
import pytest

import messages
import messages_tasks
from task_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_tasks.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
