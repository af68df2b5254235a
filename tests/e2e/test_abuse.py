"""Containers that harm whom they can. Each runs beside a task with a health check, which must stay
healthy and answer; and each can be stopped, within its stopTimeout and the kernel's time to kill."""
import os
import subprocess

import pytest

import fields
import support
from fields import box
from services import container
from test_bridge import ask
from test_escape import address_of

@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Its containers may have few processes, so that the limit is met soon."""
    yield from fields.make_node(tmp_path_factory.mktemp("abuse"), "--container-pids", "200")


class Neighbour:
    """A task that anybody would miss: healthy, and it answers. Each check leaves a line, not on the
    disk, which may be full."""

    def __init__(self, node):
        self.node = node
        self.arn = node.launch("neighbour", {
            "networkMode": "awsvpc", "containerDefinitions": [box(
                "exec nc -ll -p 8000 -e hostname", memory=64, dockerLabels={
                    "berth.readiness": "echo checked >>/dev/shm/checks",
                    "berth.readiness.interval": "1", "berth.readiness.retries": "1",
                    "berth.readiness.timeout": "30"})]},
            {"launchType": "EC2"})
        self.address = address_of(self.node.until(self.arn, healthStatus="HEALTHY"))
        self.checks = f"/proc/{container(self.arn)}/root/dev/shm/checks"

    def goes_on(self):
        """It is healthy, and answers ten times in a row."""
        found = self.node.describe(self.arn)
        assert (found["lastStatus"], found["healthStatus"]) == ("RUNNING", "HEALTHY"), found
        assert [ask(8000, self.address, seconds=30) for _ in range(10)] == [self.name()] * 10

    def name(self):
        return "ip-" + self.address.replace(".", "-") + ".ec2.internal"

    def checked_again(self):
        """Also after a check that began later than now, and has come to its end."""
        before = self.checked()
        support.wait_for(lambda: self.checked() >= before + 2)
        self.goes_on()

    def checked(self):
        with open(self.checks, encoding="ascii") as file:
            return len(file.readlines())

    def end(self):
        self.node.ecs.stop_task(task=self.arn)
        self.node.stopped(self.arn)


@pytest.fixture(scope="module")
def neighbour(node):
    made = Neighbour(node)
    yield made
    made.end()


class Abuse:
    """Runs one task that does harm."""

    def __init__(self, node, neighbour, name):
        self.node, self.neighbour, self.name, self.arn = node, neighbour, name, None

    def run(self, script, until, **container):
        """Runs it until its output has the word, then looks at the neighbour."""
        members = {"networkMode": "none", "memory": "128", **container.pop("members", {})}
        self.arn = self.node.launch(self.name, {
            **members, "containerDefinitions": [box(script, user="0", **container)]},
            {"launchType": "EC2"})
        support.wait_for(lambda: until in self.output())
        self.neighbour.checked_again()

    def output(self):
        return self.node.run("logs", self.arn, check=False).stdout

    def stop(self):
        self.node.ecs.stop_task(task=self.arn, reason="enough")
        ended = self.node.stopped(self.arn)
        self.neighbour.goes_on()
        folder = os.path.join(self.node.data, "node/tasks", self.arn.rsplit("/", 1)[1])
        support.wait_for(lambda: not os.path.exists(folder))
        assert self.node.commands(self.arn, "main") == []
        return ended


@pytest.fixture
def abuse(node, neighbour, request):
    return Abuse(node, neighbour, request.function.__name__)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """A volume with a program that does nothing but fork, whatever it is told."""
    folder = tmp_path_factory.mktemp("bomb")
    os.chmod(folder, 0o755)
    (folder / "bomb.c").write_text(
        "#include <signal.h>\n#include <unistd.h>\n"
        "int main(void) { signal(SIGTERM, SIG_IGN); write(1, \"begun\\n\", 6);"
        " for (;;) { if (fork() < 0) usleep(1000); } }\n")
    subprocess.run([*os.environ.get("CC", "cc").split(), "-w", "-static", "-o", folder / "bomb",
                    folder / "bomb.c"], check=True)
    return {"name": "bomb", "host": {"sourcePath": str(folder)}}


def test_forks_without_end(node, abuse, bomb):
    """Up to the limit of its processes, and no further; on a quota of the CPU."""
    abuse.run("exec /bomb/bomb", "begun", members={"volumes": [bomb], "cpu": "256"},
              mountPoints=[{"sourceVolume": "bomb", "containerPath": "/bomb"}])
    assert node.control(abuse.arn, "pids.max", "pids/pids.max", "main") == "200"
    support.wait_for(lambda: int(node.control(
        abuse.arn, "pids.events", "pids/pids.events", "main").split()[-1]) > 0)
    assert 100 < int(node.control(abuse.arn, "pids.current", "pids/pids.current", "main")) <= 200
    assert abuse.stop().code() == 137


def test_processes_of_a_container_by_default(tmp_path):
    """4096."""
    nodes = fields.make_node(tmp_path)
    node = next(nodes)
    arn = node.launch("default", {"networkMode": "none", "memory": "64", "containerDefinitions": [
        box(fields.SLEEP)]}, {"launchType": "EC2"})
    node.until(arn, lastStatus="RUNNING")
    assert node.control(arn, "pids.max", "pids/pids.max", "main") == "4096"
    node.ecs.stop_task(task=arn)
    node.stopped(arn)
    assert next(nodes, None) is None


@pytest.fixture
def small_disk(tmp_path):
    """A folder for a node whose data lies on a disk of its own, of 160 MiB."""
    disk = tmp_path / "node"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "none", disk], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", disk], check=True)


def test_fills_the_disk_of_its_node(small_disk, request):
    """On a container instance nothing limits what is written, as on ECS. Others go on, the offender
    can be stopped, and then there is room for more tasks."""
    nodes = fields.make_node(small_disk)
    node = next(nodes)
    neighbour = Neighbour(node)
    abuse = Abuse(node, neighbour, request.function.__name__)
    abuse.run("echo begun; dd if=/dev/zero of=/big bs=1M; echo full >/dev/shm/full; "
              + fields.SLEEP, "begun", members={"memory": "512"})

    def full():
        """no room on the node's disk"""
        status = os.statvfs(os.path.join(node.data, "node"))
        return status.f_bavail == 0
    support.wait_for(full)
    neighbour.checked_again()
    abuse.stop()
    support.wait_for(lambda: not full())

    def takes():
        """the node has seen that there is room, and takes tasks again"""
        return " ACTIVE " in node.run("node", "ls")
    support.wait_for(takes, step=0.2)
    again = Neighbour(node)
    again.goes_on()
    again.end()
    neighbour.end()
    assert next(nodes, None) is None


def test_floods_its_output(node, abuse):
    """Rotated and bounded; and neither agent nor supervisor gets more than its share of the CPU: the
    supervisor is within the task's quota."""
    abuse.run("echo begun; exec yes flood flood flood flood flood flood", "flood",
              members={"cpu": "256"})
    folder = os.path.join(node.data, "node/output", abuse.arn.rsplit("/", 1)[1], "main")
    support.wait_for(lambda: "log.1" in os.listdir(folder))
    abuse.stop()
    # Not before: the full one is renamed and another made in its place, all the time.
    sizes = {name: os.stat(os.path.join(folder, name)).st_size for name in os.listdir(folder)}
    assert set(sizes) == {"log", "log.1"} and all(size <= 64 << 20 for size in sizes.values()), sizes


def test_floods_a_terminal(abuse):
    abuse.run("exec yes flood", "flood", pseudoTerminal=True)
    abuse.stop()


def test_ignores_every_signal(abuse):
    abuse.run("for s in $(seq 1 31); do trap '' $s 2>/dev/null; done; echo begun; "
              "while :; do sleep 1; done", "begun")
    assert abuse.stop().code() == 137


def test_stops_itself(abuse):
    """SIGSTOP to all that it has: a stopped process is killed all the same."""
    abuse.run("sleep 600 & kill -STOP $!; echo begun; kill -STOP $$; echo never", "begun",
              linuxParameters={"initProcessEnabled": True})
    assert abuse.stop().code() == 137


def test_runs_out_of_memory_again_and_again(abuse):
    """A child each time; the container's first process lives on, and is told nothing."""
    abuse.run("while :; do sh -c 'a=x; while :; do a=$a$a; done' 2>/dev/null; echo killed; done",
              "killed\nkilled\nkilled", members={"memory": "64"})
    abuse.stop()


def test_leaves_zombies(abuse):
    """Children that nobody waits for: they count as its own processes."""
    abuse.run("cat >/tmp/z <<'END'\nfor i in $(seq 1 150); do (sleep 0 & exec sleep 600) & done\n"
              "END\nsh /tmp/z & echo begun; exec sleep 600", "begun")
    abuse.stop()


def test_many_short_lived_children(abuse):
    abuse.run("echo begun; while :; do (true) & (true) & wait; done", "begun")
    abuse.stop()


def test_opens_many_files(abuse):
    abuse.run("ulimit -n; i=3; while [ $i -lt 1000 ]; do eval \"exec $i</dev/null\" || break; "
              "i=$((i+1)); done 2>/dev/null; echo opened; " + fields.SLEEP, "opened")
    abuse.stop()


def test_makes_many_files(abuse):
    """A tree that is wide and deep: it goes with the task."""
    abuse.run("cd /tmp; i=0; while [ $i -lt 150 ]; do mkdir d && cd d && touch a b c; i=$((i+1)); "
              "done; cd /tmp; i=0; while [ $i -lt 2000 ]; do : >f$i; i=$((i+1)); done; echo made; "
              + fields.SLEEP, "made")
    abuse.stop()


@pytest.mark.parametrize("mode", ["awsvpc", "bridge"])
def test_floods_the_network(abuse, mode):
    """Its neighbour's address on the same subnet, with pings, as fast as they go."""
    abuse.run("gateway=$(ip route | sed -n 's/^default via //p' | cut -d' ' -f1); "
              "for i in 1 2 3 4; do while :; do ping -c 1000 -A -s 1400 -W 1 $gateway || "
              "ping -c 100 -s 1400 $gateway; done >/dev/null 2>&1 & done; echo begun; wait", "begun",
              members={"networkMode": mode, "cpu": "256"})
    abuse.stop()


def test_huge_environment(abuse):
    """As much as a definition holds."""
    words = [{"name": f"V{i}", "value": "x" * 1000} for i in range(50)]
    abuse.run("env | wc -c; echo begun; " + fields.SLEEP, "begun", environment=words)
    assert int(abuse.output().split()[0]) > 50000
    abuse.stop()


def test_takes_the_cpu(abuse):
    """Twenty loops, on shares of the CPU."""
    abuse.run("for i in $(seq 1 20); do while :; do :; done & done; echo begun; wait", "begun",
              cpu=2)
    abuse.stop()
