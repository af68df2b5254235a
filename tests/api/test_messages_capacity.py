"""Capacity providers; the table is messages_capacity.py."""
import pytest

import messages
import messages_capacity
import stock_agent


class CapacityWorld(messages.World):
    """A server whose tasks wait some seconds for an instance, and instances of groups."""

    def __init__(self, berth):
        super().__init__(berth)
        self.hosts = []
        self.ecs.register_task_definition(family="job", containerDefinitions=[
            {"name": "a", "image": "i", "memory": 64}])
        self.ecs.create_cluster()

    def host(self, cluster, group):
        self.hosts.append(stock_agent.StockAgent(self.berth, cluster, attributes=[
            {"name": "berth.auto-scaling-group", "value": group}]).connect())
        return self.hosts[-1]


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("capacity"), "--provisioning-timeout", "3s")
    world = CapacityWorld(server)
    yield world
    for host in world.hosts:
        host.disconnect()
    assert server.stop() == 0, server.tail()


@pytest.mark.parametrize("case", messages_capacity.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
