"""Messages and rules of services; the table is messages_services.py."""
import pytest

import messages
import messages_services
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_services.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
