"""Messages and rules of service deployments and revisions; the table is messages_deployments.py."""
import pytest

import messages
import messages_deployments
from service_world import make_world, nothing_stays  # noqa: F401  (fixtures)


@pytest.mark.parametrize("case", messages_deployments.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
