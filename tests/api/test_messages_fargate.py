"""What only Fargate refuses, and volumes; the table is messages_fargate.py."""
import pytest

import messages
import messages_fargate


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    yield from messages.strict_worlds(tmp_path_factory.mktemp)


@pytest.mark.parametrize("case", messages_fargate.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
