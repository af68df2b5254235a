"""Messages and rules of services' shape, updates, ends and listings; the table is messages_service_changes.py."""
import pytest

import messages
import messages_service_changes
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_service_changes.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
