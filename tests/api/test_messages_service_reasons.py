"""What services tell; the table is messages_service_reasons.py."""
import pytest

import messages
import messages_service_reasons
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_service_reasons.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
