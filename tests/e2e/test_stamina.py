"""A node under many tasks for a while: what they leave behind, and what its programs take.

One host with tasks in modes awsvpc and bridge, with health checks and restart policies. They run,
some of them are replaced all the time, and in the end all leave: then the host must have as little
of the instance as after a few first tasks, and the agent must not have grown.

A run takes about a minute. For the long one, of 500 tasks and an hour:

    BERTH_STAMINA_TASKS=500 BERTH_STAMINA_SECONDS=3600 \\
        tests/in_namespace python3 -m pytest -q -s tests/e2e/test_stamina.py

`./test --full` runs it with 200 tasks for 5 minutes. With -s it prints what it sees meanwhile.
"""
import contextlib
import os
import re
import signal
import statistics
import subprocess
import time

import pytest

import fields
import support
from hosts import Agent, Host, Lan

TASKS = int(os.environ.get("BERTH_STAMINA_TASKS", "40"))
SECONDS = float(os.environ.get("BERTH_STAMINA_SECONDS", "20"))
WARM_UP = 12  # tasks that come and go before anything is counted
# DESIGN: an agent takes 6 MB of its own, a supervisor 1 MB resident, however many tasks there are.
AGENT_KIB = 6 << 10
SUPERVISOR_KIB = 1 << 10
# Connections to the server are kept for a while when they are idle.
CONNECTIONS = 4
# Descriptors that work under way may have for a moment.
BUSY = 32
# What an agent may keep of tasks that have gone: it remembers the last 4,096 of them.
KEPT_KIB = 1 << 10
# Of a run that is long enough to tell: how many samples, and by how much their median may differ
# between the second quarter and the last. What came with the tasks themselves is before.
LONG_RUN = 80
GROWTH = 1.02
UNITS = "4194304"
# Between replacements: the long runs are of tasks that live long enough to be checked and started
# again several times.
PAUSE_S = 1 if SECONDS < 600 else 10
# All of them start at once, on a machine that may be busy otherwise.
PATIENCE_S = max(300, 2 * TASKS)

# Some eight checks a second, however many tasks there are.
INTERVAL_S = min(max(5, TASKS // 8), 300)
CHECK = {"command": ["CMD-SHELL", "test -e /bin/sh"], "interval": INTERVAL_S, "timeout": 30,
         "retries": 3}
# Nothing here looks again and again: hundreds of these are to cost this machine next to nothing.
SERVE = "trap 'exit 0' TERM; nc -ll -p 80 -e hostname & wait"
HELP = "trap 'exit 0' TERM; sleep 86400 & wait"
# Is started again, after the shortest period that ECS takes; some check comes before.
FAIL = f"trap 'exit 0' TERM; sleep {max(61, 2 * INTERVAL_S)} & wait; exit 1"


def sh(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Node:
    """The host under test, and how to look at what is on it."""

    def __init__(self, agent, host):
        self.agent, self.prefix = agent, host.prefix
        with open(os.path.join(agent.data, "instance"), encoding="utf-8") as file:
            self.instance = file.read().strip()
        self.run = f"/run/berth/{self.instance}"

    def proc(self, name):
        return f"/proc/{self.agent.process.pid}/{name}"

    def descriptors(self):
        """What the agent has open, by kind."""
        kinds = {}
        for name in os.listdir(self.proc("fd")):
            try:
                target = os.readlink(self.proc(f"fd/{name}"))
            except OSError:
                continue  # closed meanwhile
            kind = "descriptors: " + re.sub(r"\d+", "N", target.split(":[")[0])
            kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    def low_descriptors(self):
        """How many of the descriptors that libnftables can use are taken."""
        return sum(int(name) < 1024 for name in os.listdir(self.proc("fd")))

    def filter_elements(self, prefix):
        """How much the instance's table of a namespace has: lines of its listing, and elements."""
        shown = sh(*prefix, "nft", "list", "table", "ip", f"berth-{self.instance}")
        return shown.count("\n") + shown.count(",")

    def routers(self):
        return [f"{self.run}/netns/{name}" for name in sorted(os.listdir(f"{self.run}/netns"))
                if name == "bridge" or name.startswith("vpc-")]

    def supervisors(self):
        """Pids of the tasks' supervisors. What one is about to run looks like it for a moment."""
        found = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/cmdline", encoding="utf-8") as file:
                        words = file.read()
                    with open(f"/proc/{name}/stat", encoding="utf-8") as file:
                        parent = int(file.read().rsplit(")", 1)[1].split()[1])
                except OSError:
                    continue  # it has ended
                if "berth-task" in words.split("\0")[0] and "--detach" in words and self.run in words:
                    found[int(name)] = parent
        return [pid for pid, parent in found.items() if parent not in found]

    def end_tasks(self):
        """Tasks outlive their agent: those that a failed test left end here."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.supervisors():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            deadline = time.monotonic() + 10
            while self.supervisors() and time.monotonic() < deadline:
                time.sleep(0.2)

    def agent_kib(self):
        """What of the agent's memory is its alone."""
        with open(self.proc("smaps_rollup"), encoding="utf-8") as file:
            return int(re.search(r"^Pss_Anon:\s+(\d+) kB", file.read(), re.MULTILINE).group(1))

    def supervisor_kib(self):
        """The largest supervisor."""
        sizes = []
        for pid in self.supervisors():
            try:
                with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                    about = re.search(r"^Name:\s+berth-task$.*^VmRSS:\s+(\d+)", file.read(),
                                      re.MULTILINE | re.DOTALL)
            except OSError:
                continue  # it has ended
            if about is not None:
                sizes.append(int(about.group(1)))
        return max(sizes, default=0)

    def cgroups(self):
        found = 0
        for top, folders, _ in os.walk("/sys/fs/cgroup"):
            if f"berth-{self.instance}" in top:
                found += 1
            elif top.count("/") > 4:
                folders.clear()  # others' groups
        return found

    def traces(self):
        """All that this instance has on the host, as numbers."""
        with open(self.proc("mountinfo"), encoding="utf-8") as file:
            mounts = [line for line in file if self.run in line or self.agent.data in line]
        files = sum(len(folders) + len(names) for _, folders, names in os.walk(self.run))
        stored = sum(len(folders) + len(names)
                     for _, folders, names in os.walk(os.path.join(self.agent.data, "node", "tasks")))
        links = [len(sh("nsenter", f"--net={path}", "ip", "-o", "link").splitlines())
                 for path in self.routers()]
        return {
            **self.descriptors(),
            "mounts": len(mounts),
            "namespaces": len(os.listdir(f"{self.run}/netns")),
            "links of routers": sum(links),
            "links of the host": len(sh(*self.prefix, "ip", "-o", "link").splitlines()),
            "rules and elements": self.filter_elements(self.prefix) + sum(
                self.filter_elements(["nsenter", f"--net={path}"]) for path in self.routers()),
            "routes": len(sh(*self.prefix, "ip", "route").splitlines()),
            "groups": self.cgroups(),
            "files of the run directory": files,
            "files of tasks": stored,
            "supervisors": len(self.supervisors()),
        }


class Load:
    """Tasks of four kinds, kept at a number."""

    def __init__(self, server, ecs):
        self.server, self.ecs = server, ecs
        self.network = server.network()
        self.kinds = []
        for mode in ("awsvpc", "bridge"):
            for restarts in (False, True):
                self.kinds.append((mode, self.define(mode, restarts)))
        self.running = []
        self.begun = 0

    def define(self, mode, restarts):
        container = fields.box(FAIL if restarts else SERVE, memory=24, healthCheck=CHECK)
        if restarts:
            container["restartPolicy"] = {"enabled": True, "restartAttemptPeriod": 60}
        if mode == "bridge" and not restarts:
            container["portMappings"] = [{"containerPort": 80}]
        helper = fields.box(HELP, "helper", memory=16, essential=False)
        return self.ecs.register_task_definition(
            family=f"stamina-{mode}-{restarts}", networkMode=mode,
            containerDefinitions=[container, helper] if restarts else [container],
        )["taskDefinition"]["taskDefinitionArn"]

    def begin(self, count):
        for _ in range(count):
            mode, definition = self.kinds[self.begun % len(self.kinds)]
            self.begun += 1
            options = {"networkConfiguration": self.network} if mode == "awsvpc" else {}
            answer = self.ecs.run_task(taskDefinition=definition, launchType="EC2", **options)
            assert not answer["failures"], answer["failures"]
            self.running.append(answer["tasks"][0]["taskArn"])

    def end(self, count):
        ending, self.running = self.running[:count], self.running[count:]
        for arn in ending:
            self.ecs.stop_task(task=arn)
        return ending

    def describe(self, arns):
        found = []
        for start in range(0, len(arns), 100):
            found += self.ecs.describe_tasks(tasks=arns[start:start + 100])["tasks"]
        return found

    def wait(self, arns, status, health=None, seconds=PATIENCE_S):
        """Until all have the status now, and had the health once: each restart begins it anew."""
        seen = set()

        def arrived():
            tasks = self.describe(arns)
            seen.update(task["taskArn"] for task in tasks if task.get("healthStatus") == health)
            left = [task for task in tasks if task["lastStatus"] != status
                    or (health is not None and task["taskArn"] not in seen)]
            arrived.__doc__ = f"{status} {health}: {len(left)} of {len(arns)} tasks are not: " + \
                str([(task["lastStatus"], task.get("healthStatus"), task.get("stoppedReason"))
                     for task in left[:3]])
            ended = [task for task in left if task["lastStatus"] == "STOPPED" != status]
            assert not ended, ended[0].get("stoppedReason")
            return not left
        support.wait_for(arrived, seconds, 1)


@pytest.fixture(name="node")
def make_node(tmp_path):
    lan = Lan()
    host = Host("stamina", "198.18.0.2")
    server = support.Berth(tmp_path / "server", command="server", address="198.18.0.1")
    agent, made = None, None
    try:
        server.start()
        server.client().create_cluster(clusterName="default")
        token = server.run("node", "token").strip()
        subprocess.run([support.BERTH, "image", "load", "--data", str(tmp_path / "agent"),
                        f"{support.IMAGES}/hello.tar.gz"], check=True, capture_output=True)
        agent = Agent(host, tmp_path / "agent", token, server.keys["region"] + "a", "--cluster",
                      "default", "--cpu-units", UNITS, "--memory-mib", UNITS)

        def joined():
            """an ACTIVE node"""
            assert agent.process.poll() is None, agent.output()
            return "ACTIVE" in server.run("node", "ls")
        support.wait_for(joined, step=0.2)
        made = Node(agent, host)
        yield server, made
    finally:
        if made is not None:
            made.end_tasks()
        if agent is not None and agent.process.poll() is None:
            agent.stop()
        server.stop()
        host.remove()
        lan.remove()


def emptied(node, before, but=()):
    """Wait for what the kernel and the agent take away in the background."""
    def gone():
        now = node.traces()
        grown = {name: (before.get(name, 0), now[name]) for name in now
                 if not name.startswith(but) and now[name] > before.get(name, 0) +
                 (CONNECTIONS if name == "descriptors: socket" else 0)}
        gone.__doc__ = f"what has grown, from and to: {grown}"
        return not grown
    support.wait_for(gone, step=1)


def warm_up(node):
    """Let some tasks come and go: what the first ones leave is there. @return a load"""
    server, host = node
    load = Load(server, server.client())
    load.begin(WARM_UP)
    load.wait(load.running, "RUNNING", "HEALTHY")
    load.wait(load.end(WARM_UP), "STOPPED")

    def quiet():
        """no supervisor, nothing mounted for a task"""
        now = host.traces()
        return now["supervisors"] == 0 and now["files of tasks"] == 0
    support.wait_for(quiet, step=0.5)
    return load


def test_tasks_leave_nothing_and_the_agent_does_not_grow(node):
    host, load = node[1], warm_up(node)
    before, before_kib = host.traces(), host.agent_kib()
    with open(host.proc("environ"), encoding="utf-8") as file:
        assert "glibc.malloc.tcache_count=0" in file.read(), "it keeps memory for each thread"
    print(f"\nbefore: {before}, agent {before_kib} KiB", flush=True)

    low = host.low_descriptors()

    load.begin(TASKS)
    load.wait(load.running, "RUNNING", "HEALTHY")
    samples_kib, most_supervisor_kib, replaced = [0], 0, 0
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        count = max(1, TASKS // 50)
        ended = load.end(count)
        load.begin(count)
        load.wait(ended, "STOPPED")
        replaced += count
        time.sleep(PAUSE_S)
        samples_kib.append(host.agent_kib())
        most_supervisor_kib = max(most_supervisor_kib, host.supervisor_kib())
        print(f"{time.strftime('%H:%M:%S')} {TASKS} tasks, {replaced} replaced, agent {samples_kib[-1]} KiB "
              f"(at most {max(samples_kib)}), largest supervisor {most_supervisor_kib} KiB", flush=True)
    load.wait(load.running, "RUNNING")  # one that was just started again has not been checked yet
    print(f"with all: {host.traces()}", flush=True)
    # Those of tasks that were replaced last part a moment after these are STOPPED.
    support.wait_for(lambda: len(host.supervisors()) == TASKS)
    assert host.low_descriptors() <= low + BUSY, "tasks take descriptors that libnftables needs"

    load.wait(load.end(TASKS), "STOPPED")
    emptied(host, before)
    print(f"after: {host.traces()}, agent {host.agent_kib()} KiB")
    assert max(samples_kib) <= AGENT_KIB, f"the agent took {max(samples_kib)} KiB"
    if len(samples_kib) >= LONG_RUN:
        quarter = len(samples_kib) // 4
        second, last = (statistics.median(samples_kib[begin:begin + quarter])
                        for begin in (quarter, 3 * quarter))
        assert last <= GROWTH * second, \
            f"the agent grew from {second} to {last} KiB with the same number of tasks"
    assert most_supervisor_kib <= SUPERVISOR_KIB, f"a supervisor took {most_supervisor_kib} KiB"

    def shrunk():
        now_kib = host.agent_kib()
        shrunk.__doc__ = f"the agent has grown from {before_kib} to {now_kib} KiB"
        return now_kib <= before_kib + KEPT_KIB
    support.wait_for(shrunk, step=5)  # it looks after its memory every 30 s
    status, output = host.agent.stop()
    assert status == 0, output


def test_a_killed_agent_takes_all_tasks_over(node, record_property):
    """kill -9 and a new start with all of them running: none of them notices, and all can be ended."""
    host, load = node[1], warm_up(node)
    before = host.traces()
    load.begin(TASKS)
    load.wait(load.running, "RUNNING", "HEALTHY")
    arns = list(load.running)
    started = {task["taskArn"]: task["startedAt"] for task in load.describe(arns)}
    supervisors, sockets = set(host.supervisors()), host.descriptors()["descriptors: socket"]
    host.agent.stop(signal.SIGKILL)
    begun = time.monotonic()
    host.agent.start()

    def taken():
        """a connection to each supervisor"""
        assert host.agent.process.poll() is None, host.agent.output()
        return host.descriptors().get("descriptors: socket", 0) >= sockets - CONNECTIONS
    support.wait_for(taken, PATIENCE_S, 0.05)
    note = f"{TASKS} tasks taken over within {time.monotonic() - begun:.1f} s"
    record_property("report", note)
    print(f"\n{note}, agent {host.agent_kib()} KiB")
    assert set(host.supervisors()) == supervisors
    load.wait(load.end(TASKS), "STOPPED")
    for task in load.describe(arns):
        assert task["startedAt"] == started[task["taskArn"]], task
        codes = [container.get("exitCode") for container in task["containers"]]
        assert all(code is not None for code in codes), task
    emptied(host, before, "descriptors")
