"""Messages and rules of container instances and of what agents ask; the table is messages_instances.py."""
import pytest

import messages
import messages_instances
from task_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_instances.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
