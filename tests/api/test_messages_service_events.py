"""What services tell; the table is messages_service_events.py."""
import pytest

import messages
import messages_service_events
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_service_events.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
