"""Fixtures of the tests about members of definitions; see fields.py."""
import pytest

import fields
import support


def life_of_node(fixture_name, config):
    """In the emulated guest, where a start takes its time, one node serves all modules."""
    return "session" if support.GUEST else "module"


@pytest.fixture(scope=life_of_node)
def node(tmp_path_factory):
    yield from fields.make_node(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module")
def started(request, node):
    """The tasks of the module's selected tests; those that tests want ended have ended."""
    items = [item for item in request.session.items if item.module is request.module
             and {"ended", "live"} & set(item.fixturenames)]
    found = node.run_all({item.function.__name__: item.function for item in items})
    ends = {item.function.__name__ for item in items if "ended" in item.fixturenames}
    node.wait_all([found[name] for name in ends if isinstance(found[name], str)])
    return found


def own(request, started):
    arn = started[request.function.__name__]
    if not isinstance(arn, str):
        raise arn
    return arn


@pytest.fixture
def ended(request, node, started):
    """How the test's own task ended."""
    return fields.Ended(node, node.describe(own(request, started)))


@pytest.fixture
def live(request, node, started):
    """The ARN of the test's own task, which may still run."""
    arn = own(request, started)
    yield arn
    node.ecs.stop_task(task=arn)
