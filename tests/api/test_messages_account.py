"""Settings, tags, attributes, pages; the table is messages_account.py."""
import pytest

import messages
import messages_account
import support


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    """A server alone: nothing of this needs a node."""
    berth = support.Berth(tmp_path_factory.mktemp("account"), command="server").start()
    berth.client().create_cluster(clusterName="default")
    yield messages.World(berth)
    assert berth.stop() == 0, berth.tail()


@pytest.mark.parametrize("case", messages_account.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
