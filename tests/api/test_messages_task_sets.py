"""Messages and rules of task sets and DAEMON services; the table is messages_task_sets.py."""
import pytest

import messages
import messages_task_sets
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_task_sets.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
