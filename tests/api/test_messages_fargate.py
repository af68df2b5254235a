"""What only Fargate refuses, and volumes; the table is messages_fargate.py."""
import pytest

import messages
import messages_fargate
import support


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    """Two servers without nodes: one as it comes, and one that wants roles as ECS does."""
    berths = [support.Berth(tmp_path_factory.mktemp("containers"), *flags, command="server").start()
              for flags in ((), ("--strict",))]
    world = messages.World(berths[0])
    world.strict = messages.client_of(berths[1])
    yield world
    assert [berth.stop() for berth in berths] == [0, 0]


@pytest.mark.parametrize("case", messages_fargate.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
