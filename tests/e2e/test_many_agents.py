"""Many agents with real journals and sessions and invented containers: every task runs on one host.

bench/bench_agents does it and checks; here it is small, and nothing depends on how long it takes.
"""
import os
import re
import subprocess

import pytest

import support

BENCH = os.path.join(os.path.dirname(support.BERTH), "bench", "bench_agents")


def run(*options):
    """Run the program; what it printed."""
    done = subprocess.run(
        [BENCH, "--berth", support.BERTH, "--agents", "20", "--tasks", "500", *options],
        capture_output=True, text=True, timeout=600, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@pytest.mark.parametrize("services", [1, 10])
def test_all_tasks_run_once(services):
    said = run("--services", str(services))
    assert (f"{services} services of 500 tasks in all" in said), said
    assert re.search(r"^checked: the server lists 500 tasks to run and 0 stopped; hosts run 500, "
                     r"0 of them twice; 0 listed ones run nowhere$", said, re.MULTILINE), said


def test_a_killed_server_comes_back_to_all_of_them():
    said = run("--kill")
    assert re.search(r"^killed the server when \d+ tasks ran$", said, re.MULTILINE), said
    assert re.search(r"^checked: the server lists 500 tasks to run and 0 stopped; hosts run 500, "
                     r"0 of them twice; 0 listed ones run nowhere$", said, re.MULTILINE), said
