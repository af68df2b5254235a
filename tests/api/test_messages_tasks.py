"""What ECS says of tasks and container instances; the table is messages_tasks.py."""
import pytest

import messages
import messages_tasks
import stock_agent


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("server"))
    world = messages_tasks.TaskWorld(server)
    yield world
    for agent in (world.host, world.pool):
        agent.disconnect()
    assert server.stop() == 0, server.tail()


@pytest.fixture(autouse=True)
def nothing_stays(world):
    """Every case begins with hosts without tasks."""
    yield
    world.close()


@pytest.mark.parametrize("case", messages_tasks.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
