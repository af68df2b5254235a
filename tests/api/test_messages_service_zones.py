"""Zones that a service evens out; the table is messages_service_zones.py."""
import pytest

import messages
import messages_service_zones
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_service_zones.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
