"""Messages and rules of ExecuteCommand; the table is messages_exec.py."""
import pytest

import exec_world
import messages
import messages_exec
import stock_agent


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("server"))
    strict = stock_agent.server(tmp_path_factory.mktemp("strict"), "--strict")
    world = exec_world.ExecWorld(server)
    world.strict = messages.client_of(strict)
    world.strict.create_cluster(clusterName="x")
    world.strict.register_task_definition(family="one", containerDefinitions=[
        {"name": "app", "image": "i", "memory": 16}])
    world.strict.create_service(cluster="x", serviceName="s", taskDefinition="one", desiredCount=0)
    yield world
    world.host.disconnect()
    strict.stop()
    server.stop()


@pytest.mark.parametrize("case", messages_exec.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
