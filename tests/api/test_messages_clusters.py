"""Clusters; the table is messages_clusters.py."""
import pytest

import messages
import messages_clusters


@pytest.fixture(name="world", scope="module")
def make_world(berth):
    """A server with a node: some clusters cannot be deleted for the tasks in them."""
    return messages.World(berth)


@pytest.mark.parametrize("case", messages_clusters.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
