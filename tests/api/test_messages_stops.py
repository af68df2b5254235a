"""Why tasks end: stopCode, stoppedReason and what containers tell; the table is messages_stops.py."""
import pytest

import messages
import messages_stops
from task_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_stops.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
