"""Clusters, settings, tags, attributes, pages; the table is messages_account.py."""
import pytest

import messages
import messages_account


@pytest.fixture(name="world", scope="module")
def make_world(berth):
    """A server with a node: some clusters cannot be deleted for the tasks in them."""
    return messages.World(berth)


@pytest.mark.parametrize("case", messages_account.CASES, ids=messages.case_id)
def test_case(world, case):
    messages.check(world, case)
