"""Fixtures: one Berth for a module's tests, with images loaded; leftovers are failures."""
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import support  # noqa: E402  (the path comes first)


def pytest_configure(config):
    for line in ("guest: of the short choice that ./test runs on pure cgroup v2, too",
                 "not_in_guest(reason): what tests/in_guest cannot show, or not better than here"):
        config.addinivalue_line("markers", line)
    if os.geteuid() != 0:
        pytest.exit("these tests start containers: run them as root through tests/in_namespace")
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    if any(name in links for name in ("eth0", "ens", "enp")):
        pytest.exit("these tests change networks: run them through tests/in_namespace")


def pytest_collection_modifyitems(items):
    if support.GUEST:
        for item in items:
            mark = item.get_closest_marker("not_in_guest")
            if mark is not None:
                item.add_marker(pytest.mark.skip(reason="not in the guest: " + mark.args[0]))


@pytest.fixture(scope="module")
def berth(tmp_path_factory):
    """A `berth up` with the example images and a default cluster."""
    instance = support.Berth(tmp_path_factory.mktemp("berth"), "--cpu-units", "4096")
    instance.start()
    for name in sorted(os.listdir(support.IMAGES)):
        if ".tar" in name:
            instance.load(name)
    instance.client().create_cluster(clusterName="default")
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture(scope="module")
def ecs(berth):
    return berth.client("ecs")
