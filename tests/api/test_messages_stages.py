"""Messages and rules of deployments by stages; the table is messages_stages.py."""
import pytest

import messages
import messages_stages
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_stages.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
