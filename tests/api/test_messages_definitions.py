"""What ECS says of task definitions; the table is messages_definitions.py."""
import pytest

import messages
import messages_definitions


@pytest.fixture(name="world", scope="module")
def make_world(berth):
    return messages.World(berth)


@pytest.mark.parametrize("case", messages_definitions.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
