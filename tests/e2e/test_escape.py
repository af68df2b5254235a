"""What a container tries to get out, or at its neighbours. Each attempt is a test of its own, on each
network mode. The attempts are in escape.c; in a privileged container, which may do as the host does,
the same attempts come through: so each of them is one."""
import json
import os
import pathlib
import socket
import subprocess
import tarfile

import pytest

import fields
import images
import support
from fields import box
from test_bridge import instance_of

MODES = ("awsvpc", "bridge", "host", "none", "fargate")
OWN_NETWORK = ("awsvpc", "bridge", "fargate")
# What holds on every network mode, for root with the capabilities that Docker gives.
EVERYWHERE = """
    mount mount-proc remount-proc-sys unmask fsopen open-tree pivot-root
    unshare-user unshare-mount unshare-network clone-user clone3-user setns chroot-out
    keyctl add-key bpf perf load-module load-module-file delete-module kexec reboot handle clock
    kernel-log ports userfault hostname
    disk mem port kmsg loop-control tun fuse terminal
    core-pattern kernel-memory-settings file-settings sysrq irq uevent-helper kcore keys timers
    oom-protection release-agent notify-on-release devices-allow memory-limit pids-limit new-group
    host-file host-file-by-root host-file-by-cwd descriptors supervisor-socket docker-socket
    abstract-sockets network-admin
    mount-attributes move-mount io-uring fanotify swap accounting clock-rate priority realtime limits
    kexec-file crypto-sockets hypervisor-sockets
    netlink-address netlink-audit netlink-filter
    firmware interrupts powercap thermal vmcore debug security
    """.split()
# What the same program can do in a privileged container, so that it is known to try in earnest. Left
# out: what would change this machine, and what its kernel or its own bounds may lack.
PRIVILEGED = """
    mount mount-proc fsopen unshare-user unshare-mount unshare-network clone-user clone3-user setns
    keyctl add-key bpf perf handle kernel-log hostname disk kmsg
    core-pattern kernel-memory-settings file-settings sysrq oom-protection network-admin
    move-mount fanotify clock-rate priority process-compare netlink-address netlink-audit
    netlink-filter interrupts
    """.split()
# On an interface of one's own.
FROM_OWN_NETWORK = ["host-loopback", "host-loopback-by-gateway", "other-agent-port"]
# The one capability that Fargate lets a task add.
TRACING = {"linuxParameters": {"capabilities": {"add": ["SYS_PTRACE"]}}}


def disk():
    """The number of a disk of this machine, MAJOR:MINOR."""
    for name in sorted(os.listdir("/sys/class/block")):
        try:
            with open(f"/sys/class/block/{name}/size", encoding="ascii") as file:
                if int(file.read()) == 0 or name.startswith("loop"):
                    continue
            with open(f"/sys/class/block/{name}/dev", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            continue
    return ""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A folder with the attempts, for any image."""
    folder = tmp_path_factory.mktemp("escape")
    os.chmod(folder, 0o755)
    sources = [os.path.join(support.ROOT, f"tests/e2e/escape{part}.c")
               for part in ("", "_calls", "_watch")]
    subprocess.run([*os.environ.get("CC", "cc").split(), "-O1", "-static", "-D_GNU_SOURCE", "-o",
                    folder / "escape", *sources], check=True)
    return str(folder)


class Listener:
    """A service of the host that listens on loopback alone, TCP and UDP on the same port, and on a
    socket of the abstract kind."""

    def __init__(self):
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.name = f"somebody-of-the-host-{os.getpid()}"
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind("\0" + self.name)
        self.abstract.listen(10)

    def heard(self):
        """What has come by UDP, without waiting."""
        try:
            return self.udp.recvfrom(100, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None


@pytest.fixture(scope="module")
def listener():
    made = Listener()
    yield made
    made.tcp.close()
    made.udp.close()
    made.abstract.close()


class World:
    """A node with the program, and what there is to attack: a neighbour on each network mode."""

    def __init__(self, node, program):
        self.node = node
        self.program = program
        self.serial = 0
        self.load_image()

    def load_image(self):
        """Fargate has no folders of the host: there the program is in the image."""
        with open(os.path.join(self.program, "escape"), "rb") as file:
            content = file.read()
        path = images.derive(os.path.join(self.program, "image.tar"), "escape", [
            (images.entry("escape", tarfile.DIRTYPE), None),
            (images.entry("escape/escape"), content)])
        self.node.run("image", "load", path)
        os.unlink(path)

    def launch_on_fargate(self, containers, members):
        definition = {"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
                      "cpu": "256", "memory": "512", **members, "containerDefinitions": [
                          {**one, "image": "escape"} for one in containers]}
        return self.node.launch(f"escape-{self.serial}", definition, {"launchType": "FARGATE"})

    def launch(self, mode, *containers, **members):
        self.serial += 1
        if mode == "fargate":
            return self.launch_on_fargate(containers, members)
        definition = {"networkMode": mode, "memory": "256", **members,
                      "containerDefinitions": [{**one, "mountPoints": [
                          {"sourceVolume": "program", "containerPath": "/escape",
                           "readOnly": True}, *one.get("mountPoints", [])]} for one in containers],
                      "volumes": [{"name": "program", "host": {"sourcePath": self.program}},
                                  *members.get("volumes", [])]}
        return self.node.launch(f"escape-{self.serial}", definition, {"launchType": "EC2"})

    def host_file(self):
        """Names a file of the host to the attempts."""
        return [{"name": "HOST_FILE", "value": os.path.join(self.node.data, "client.json")}]

    def attempt(self, mode, names, *, environment=None, members=None, **container):
        """Runs attempts in a task of their own; returns what each came to, by name."""
        words = [{"name": name, "value": str(value)} for name, value in (environment or {}).items()]
        container.setdefault("user", "0")
        arn = self.launch(mode, box("/escape/escape " + " ".join(names), environment=words,
                                    **container), **(members or {}))
        lines = self.node.stopped(arn).output().splitlines()
        return {line.split()[0]: line.split(" ", 1)[1].strip() for line in lines}


@pytest.fixture(scope="module")
def world(node, program):
    return World(node, program)


@pytest.fixture(scope="module")
def neighbours(world):
    """A task on awsvpc and one on bridge, which listen on port 7000."""
    found = {mode: world.launch(mode, box("exec nc -ll -p 7000 -e hostname", name="neighbour"))
             for mode in ("awsvpc", "bridge")}
    yield {mode: world.node.until(arn, lastStatus="RUNNING") for mode, arn in found.items()}
    for arn in found.values():
        world.node.ecs.stop_task(task=arn)
        world.node.stopped(arn)


def address_of(described):
    return next(one["value"] for one in described["attachments"][0]["details"]
                if one["name"] == "privateIPv4Address")


def hosts_side(node, described):
    """Addresses in the network namespace of a task of mode bridge, as the host sees it."""
    arn = described["taskArn"]
    name = f"/run/berth/{instance_of(node)}/netns/task-{arn.rsplit('/', 1)[1]}-0"
    shown = subprocess.run(["nsenter", f"--net={name}", "ip", "-j", "addr", "show", "eth0"],
                           capture_output=True, text=True, check=True).stdout
    return next(one["local"] for one in json.loads(shown)[0]["addr_info"]
                if one["family"] == "inet")


def surroundings(world, neighbour, listener):
    """What the attempts need to know of the host; an attacker would find it out, or guess."""
    instance = instance_of(world.node)
    return {"HOST_FILE": os.path.join(world.node.data, "client.json"),
            "SUPERVISOR_SOCKET": f"/run/berth/{instance}/tasks/"
                                 f"{neighbour['taskArn'].rsplit('/', 1)[1]}/socket",
            "DISK": disk(), "HOST_LOOPBACK": f"127.0.0.1:{listener.port}",
            "ABSTRACT_HOST": listener.name}


@pytest.fixture(scope="module")
def tried(world, neighbours, listener):
    """What came of all attempts, by mode."""
    gateways = {"awsvpc": "172.31.0.1", "bridge": "172.17.0.1", "fargate": "172.31.0.1"}
    found = {}
    for mode in MODES:
        names = EVERYWHERE + (FROM_OWN_NETWORK if mode in OWN_NETWORK else []) + [
            "process-compare", "abstract-host"]
        on_vpc = mode in ("awsvpc", "fargate")
        other = neighbours["awsvpc" if on_vpc else "bridge"]
        address = address_of(other) if on_vpc else hosts_side(world.node, other)
        found[mode] = world.attempt(mode, names, environment={
            **surroundings(world, other, listener),
            "GATEWAY": f"{gateways.get(mode)}:{listener.port}",
            "OTHER_AGENT": f"{address}:51679"}, **(TRACING if mode == "fargate" else {}))
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_held(tried, mode, name):
    assert tried[mode][name].startswith("held "), f"{name} on {mode}: {tried[mode][name]}"


@pytest.mark.parametrize("mode", OWN_NETWORK)
@pytest.mark.parametrize("name", FROM_OWN_NETWORK)
def test_held_from_a_network_of_its_own(tried, mode, name):
    assert tried[mode][name].startswith("held "), f"{name} on {mode}: {tried[mode][name]}"


def test_sockets_of_the_host_without_a_file(tried):
    """They belong to the network, so only mode host has the host's."""
    assert {mode: tried[mode]["abstract-host"].split()[0] for mode in MODES} == {
        mode: "done" if mode == "host" else "held" for mode in MODES}


def test_calls_of_a_capability(tried):
    """SYS_PTRACE brings the calls that belong to it; without it they are held."""
    assert {mode: tried[mode]["process-compare"].split()[0] for mode in MODES} == {
        mode: "done" if mode == "fargate" else "held" for mode in MODES}


def test_privileged_containers_are_not_held(world, neighbours, listener):
    """What the definition asks for: all that this machine lets anybody do, from outside, too. So
    each of these attempts is one."""
    names = [*PRIVILEGED, "host-loopback"]
    environment = surroundings(world, neighbours["bridge"], listener)
    shown = subprocess.run([os.path.join(world.program, "escape"), *names], text=True, check=True,
                           env={**os.environ, **environment}, stdout=subprocess.PIPE).stdout
    possible = [line.split()[0] for line in shown.splitlines() if line.endswith(" done ")]
    assert len(possible) > len(names) * 2 / 3, shown
    found = world.attempt("host", names, privileged=True, environment=environment)
    assert [name for name in names if found[name] == "done"] == possible


TARGETS = ["target-ptrace", "target-root", "target-memory", "target-environment",
           "target-namespace", "target-descriptor"]


def test_processes_of_the_host_are_seen_and_not_touched(world):
    """pidMode host shows them; what they may do and the container may not keeps it out of them."""
    with subprocess.Popen(["sleep", "600"]) as target:
        found = world.attempt("bridge", TARGETS, environment={"TARGET": target.pid},
                              members={"pidMode": "host"})
        own = world.attempt("bridge", ["target-environment"], environment={"TARGET": "self"},
                            members={"pidMode": "host"})
        target.kill()
    assert {name: what.split()[0] for name, what in found.items()} == dict.fromkeys(TARGETS, "held")
    assert own == {"target-environment": "done"}


@pytest.mark.parametrize("sharing", [None, "task"])
def test_processes_of_another_task_are_not_there(world, neighbours, sharing):
    """Neither by name nor by number; in one's own task they are with pidMode task."""
    assert neighbours
    members = {} if sharing is None else {"pidMode": sharing}
    # What can be seen is waited for; for what must not be seen, a second.
    tries = 10 if sharing is None else 900
    arn = world.launch("none", box(
        "look() { cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; }; i=0; "
        f"while [ $i -lt {tries} ] && ! look | grep -q 'sleep 60[0]'; do i=$((i+1)); sleep 0.1; "
        "done; look"), box("exec sleep 600", name="own", essential=False), **members)
    shown = world.node.stopped(arn).output()
    assert "nc -ll" not in shown and "berth" not in shown
    assert ("sleep 600" in shown) == (sharing == "task")


def test_other_networks(world, neighbours):
    """From mode awsvpc to a container of mode bridge, and the other way."""
    ways = {"awsvpc": hosts_side(world.node, neighbours["bridge"]),
            "bridge": address_of(neighbours["awsvpc"])}
    for mode, address in ways.items():
        found = world.attempt(mode, ["other-network"],
                              environment={"OTHER_NETWORK": address + ":7000"})
        assert found["other-network"].startswith("held "), mode
    same = world.attempt("awsvpc", ["other-network"], environment={
        "OTHER_NETWORK": address_of(neighbours["awsvpc"]) + ":7000"})
    assert same == {"other-network": "done"}, "its own network it reaches"


def test_no_ipv6_of_its_own(world):
    """A link-local address would reach past every rule for IPv4."""
    for mode in ("awsvpc", "bridge"):
        arn = world.launch(mode, box("cat /proc/net/if_inet6; echo end"))
        lines = world.node.stopped(arn).lines()
        assert [line.split()[-1] for line in lines] in (["lo", "end"], ["end"]), mode


@pytest.mark.parametrize("mode", ["awsvpc", "bridge"])
def test_loopback_of_the_host_by_a_frame(world, listener, mode):
    """CVE-2020-8558: a frame to the gateway with the host's 127.0.0.1 as its destination."""
    arn = world.launch(mode, box("ip neigh; ping -c 1 $(ip route | sed -n 's/^default via //p' | "
                                 "cut -d' ' -f1) >/dev/null; cat /proc/net/arp", user="0"))
    rows = [line.split() for line in world.node.stopped(arn).lines() if ":" in line.split()[-3]]
    assert rows, "the gateway's hardware address"
    for source in ("127.0.0.1", "192.0.2.1"):
        found = world.attempt(mode, ["spoofed-datagram"], environment={
            "SPOOFED_FROM": source + ":5353", "SPOOFED_TO": f"127.0.0.1:{listener.port}",
            "SPOOFED_MAC": rows[-1][3]})
        assert found == {"spoofed-datagram": "done"}, "the frames were sent"
    assert listener.heard() is None


def listen_udp(name="ear"):
    return box("/escape/escape hear", name=name, user="0")


def hardware_of(described):
    return next(one["value"] for one in described["attachments"][0]["details"]
                if one["name"] == "macAddress")


def heard_by(world, ear):
    """What it says that it heard; at first that it listens."""
    return world.node.run("logs", ear["taskArn"], "ear", check=False).stdout.splitlines()


@pytest.fixture
def ear(world):
    """A task on awsvpc that prints what it hears on UDP port 7001."""
    arn = world.launch("awsvpc", listen_udp())
    described = world.node.until(arn, lastStatus="RUNNING")
    support.wait_for(lambda: heard_by(world, described))
    yield described
    world.node.ecs.stop_task(task=arn)
    world.node.stopped(arn)


def test_a_source_address_of_another_task(world, neighbours, ear):
    """On AWS the source of what leaves an interface is checked. The same frame with an address of
    its own arrives, which shows that it is the address that keeps it out."""
    to = {"SPOOFED_TO": address_of(ear) + ":7001", "SPOOFED_MAC": hardware_of(ear)}

    def heard():
        return "spoofed" in "".join(heard_by(world, ear))
    world.attempt("awsvpc", ["spoofed-datagram"], environment={
        **to, "SPOOFED_FROM": address_of(neighbours["awsvpc"]) + ":1"})
    assert not heard()
    arn = world.launch("awsvpc", box(
        "export SPOOFED_FROM=$(ip -4 -o addr show eth0 | sed 's/.*inet //; s,/.*,,'):1; "
        "/escape/escape spoofed-datagram", user="0",
        environment=[{"name": name, "value": value} for name, value in to.items()]))
    assert world.node.stopped(arn).output() == "spoofed-datagram done \n"
    support.wait_for(heard)


def test_to_everybody(world, ear):
    """What is sent to all of a subnet, or to a group of addresses, reaches nobody, as on AWS. What
    is sent to one arrives, which shows that it was sent."""
    address = address_of(ear)
    subnet = address.rsplit(".", 2)[0]
    arn = world.launch("awsvpc", box("/escape/escape broadcast", user="0",
        environment=[{"name": "BROADCAST", "value": f"255.255.255.255 224.0.0.1 {subnet}.255.255 "
                                                    f"172.31.15.255 {address}"}]))
    assert world.node.stopped(arn).lines() == ["broadcast done "]
    support.wait_for(lambda: len(heard_by(world, ear)) > 1)
    assert heard_by(world, ear) == ["listening", f"heard to {address}"]


def test_an_address_of_another_task_claimed(world, neighbours):
    """ARP from the wrong port: everybody goes on to find the address where it is."""
    address = address_of(neighbours["awsvpc"])
    name = neighbours["awsvpc"]["taskArn"].rsplit("/", 1)[1]
    # A third task, which asks again and again, before, during and after.
    asker = world.launch("awsvpc", box(
        f"while :; do nc -w 30 {address} 7000 </dev/null || echo nobody; sleep 0.1; done"))
    world.node.until(asker, lastStatus="RUNNING")

    def answers():
        return world.node.run("logs", asker).splitlines()
    support.wait_for(answers)
    # It stays, so that what is sent to its hardware address is lost rather than returned.
    claimer = world.launch("awsvpc", box(
        "i=0; while [ $i -lt 20 ]; do /escape/escape claim-address; sleep 0.1; i=$((i+1)); done",
        user="0", environment=[{"name": "VICTIM", "value": address}]))
    assert "claim-address done" in world.node.stopped(claimer).output()
    before = len(answers())
    support.wait_for(lambda: len(answers()) > before + 5)
    assert "nobody" not in answers(), f"{name} was not found while its address was claimed"
    world.node.ecs.stop_task(task=asker)
    world.node.stopped(asker)


# ---- files ------------------------------------------------------------------------------------

# CVE-2024-21626: a descriptor that the runtime has open, as the working directory.
DESCRIPTORS = range(3, 23)
LOOK = "/escape/escape host-file-by-cwd descriptors"


def came_out(ended):
    return "done" in ended.log()


def test_working_directory_of_a_descriptor(world):
    """Named in the definition: the container does not start."""
    arns = [world.launch("none", box(LOOK, user="0", workingDirectory=f"/proc/self/fd/{number}",
                                     environment=world.host_file())) for number in DESCRIPTORS]
    ends = [world.node.stopped(arn) for arn in arns]
    assert not any(map(came_out, ends))
    for ended in ends:
        assert ended.container()["reason"].startswith("CannotStartContainerError: chdir"), ended.task


def test_working_directory_of_an_image_that_links_to_a_descriptor(world, tmp_path):
    """Resolved in the image, where there is no such thing."""
    arns = []
    for number in DESCRIPTORS[::5]:
        path = images.derive(tmp_path / "image.tar", f"linked:{number}",
                             [images.link("work", f"/proc/self/fd/{number}")], WorkingDir="/work")
        world.node.run("image", "load", path)
        arns.append(world.launch("none", {
            **box(LOOK, user="0", environment=world.host_file()), "image": f"linked:{number}"}))
    ends = [world.node.stopped(arn) for arn in arns]
    assert not any(map(came_out, ends))
    assert [ended.reason for ended in ends] == [
        "ResourceInitializationError: container 'main': making directory '/work' in the container: "
        "No such file or directory"] * len(ends)


def test_working_directory_that_becomes_a_link(world):
    """Containers that change their working directory into a link to a descriptor: their health checks
    begin there. None of them comes to be healthy."""
    def swapping(number):
        return box(f"rm -r /work && ln -s /proc/self/fd/{number} /work && {fields.SLEEP}",
                   name=f"n{number}", user="0", workingDirectory="/work",
                   environment=world.host_file(), healthCheck={
                       "command": ["CMD-SHELL", LOOK + " >>/proc/1/fd/1"],
                       "interval": 5, "retries": 1})
    arns = [world.launch("none", *map(swapping, DESCRIPTORS[at:at + 10])) for at in (0, 10)]
    for arn in arns:
        def judged():
            """all health checks failed"""
            # A task with an unhealthy essential container goes on when no service has it.
            # pylint: disable=cell-var-from-loop
            return all(one.get("healthStatus") == "UNHEALTHY"
                       for one in world.node.describe(arn)["containers"])
        support.wait_for(judged)
        for number in DESCRIPTORS:
            shown = world.node.run("logs", arn, f"n{number}", check=False).stdout
            assert "done" not in shown, number
        world.node.ecs.stop_task(task=arn)
        world.node.stopped(arn)


def digest(path):
    return subprocess.run(["sha256sum", path], check=True, capture_output=True).stdout


def test_program_of_the_runtime(world):
    """CVE-2019-5736: what a health check brings into the container can be written by nobody. And
    a container whose program is "whatever runs me"."""
    runtimes = [path for path in ("/usr/bin/crun", "/usr/sbin/runc", "/usr/bin/runc",
                                  support.BERTH + "-task") if os.path.exists(path)]
    before = [digest(path) for path in runtimes]
    attempts = "for i in 1 2; do /escape/escape overwrite-runtime; done"
    arn = world.launch("none", box(attempts, user="0", healthCheck={
        "command": ["CMD-SHELL", "true"], "interval": 5, "retries": 1}))
    lines = world.node.stopped(arn).lines()
    assert [line.split()[:2] for line in lines] == [["overwrite-runtime", "held"]] * 2, lines
    again = world.launch("none", {**box("", user="0"), "entryPoint": ["/proc/self/exe"]})
    ended = world.node.stopped(again)
    assert ended.code() != 0
    assert [digest(path) for path in runtimes] == before


def test_who_comes_in_is_watched(world):
    """What comes in for a health check is held by a container with SYS_PTRACE, which may be had on
    Fargate, too, at each of its system calls: nothing of it leads to the host's files, and it may
    do no more than the container. Without, it is a program of the container's before it can be."""
    check = {"command": ["CMD-SHELL", "true"], "interval": 5, "timeout": 30, "retries": 10}
    watch = box("/escape/escape watch", user="0", environment=world.host_file())
    checked = box("exec sleep 600", name="checked", essential=False, healthCheck=check)
    arns = {
        ("EACCES",): world.launch("fargate", {**watch, **TRACING, "healthCheck": check}),
        ("EACCES", "of another"): world.launch("fargate", {**watch, **TRACING}, checked,
                                               pidMode="task"),
        ("EACCES", "ECHILD"): world.launch("fargate", {**watch, "healthCheck": check})}
    for names, arn in arns.items():
        lines = world.node.stopped(arn).lines()
        assert lines[-1] in [f"watch held {name}" for name in names], (names, lines)


def test_a_start_that_is_held_up(world):
    """With SYS_PTRACE and pidMode task: what is about to be a container is held up before it is a
    program of its own. Nobody goes on who could trace it; it is killed, and others can start."""
    shared = {"mountPoints": [{"sourceVolume": "shared", "containerPath": "/v"}]}
    race = box("cp /bin/busybox /v/busybox && exec /escape/escape race", user="0", **TRACING,
               environment=[*world.host_file(), {"name": "WANTED", "value": "1"},
                            {"name": "LEASE", "value": "/v/busybox"}], **shared)
    # Without a process of its own, which would be met.
    ready = box("while ! test -e /v/busybox.held; do :; done", "ready", essential=False, **shared)
    held = box("", "held", essential=False, dependsOn=after("ready"), **shared)
    held.update({"entryPoint": ["/v/busybox"], "command": ["sleep", "3"]})
    last = box("sleep 20", "last", essential=False, dependsOn=after("held"))
    arn = world.launch("fargate", race, ready, held, last, pidMode="task",
                       volumes=[{"name": "shared"}])
    ended = world.node.stopped(arn)
    lines = ended.lines()
    assert lines[-1] == "race held EACCES", lines
    assert "met 1, 0 of them early" in lines, lines
    assert ended.container("held")["exitCode"] == 137


def after(name):
    return [{"containerName": name, "condition": "COMPLETE"}]


def test_what_a_check_holds_of_the_host(world):
    """The streams of a health check are the host's /dev/null, whose mode and owner are not the
    container's to change; nor are those of what masks files of /proc."""
    tried = "chmod 666 /proc/self/fd/0 && touch /tmp/0; chown 0 /proc/self/fd/1 && touch /tmp/1; " \
        "touch /proc/self/fd/2 && touch /tmp/2; chmod 666 /proc/kcore && touch /tmp/3; touch /tmp/done"
    check = {"command": ["CMD-SHELL", tried], "interval": 5, "timeout": 30, "retries": 10}
    wait = "until test -e /tmp/done; do sleep 0.1; done; ls /tmp"
    for mode in ("fargate", "bridge"):
        arn = world.launch(mode, box(wait, user="0", healthCheck=check))
        assert world.node.stopped(arn).lines() == ["done"], mode


def test_links_in_a_volume(world, tmp_path):
    """A volume full of links to the host's files: they lead into the container, for mounts below
    them, too, and the node removes the links, not what they point to."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    mount = {"sourceVolume": "v", "containerPath": "/v"}
    arn = world.launch(
        "none",
        box(f"ln -s {kept} /v/out; ln -s / /v/root; mkdir -p /v/deep/deeper; ln -s ../../../../../../"
            f"{kept} /v/deep/deeper/up; chmod 777 /v", name="first", essential=False, user="0",
            mountPoints=[mount]),
        box(f"ls /v/out /v/root{kept}; find / -xdev -name file -path '*kept*'; touch /v/out/new; "
            "echo end", user="0",
            mountPoints=[mount, {"sourceVolume": "w", "containerPath": "/v/out/inner"},
                         {"sourceVolume": "w", "containerPath": "/v/root/made"}],
            dependsOn=[{"containerName": "first", "condition": "SUCCESS"}]),
        volumes=[{"name": "v"}, {"name": "w"}])
    ended = world.node.stopped(arn)
    assert "file" not in ended.log().split(), ended.log()
    folder = os.path.join(world.node.data, "node/tasks", arn.rsplit("/", 1)[1])
    support.wait_for(lambda: not os.path.exists(folder))
    assert [path.name for path in kept.iterdir()] == ["file"]


def test_images_with_links(world, tmp_path):
    """An image whose files lead to the host's: who its users are, what a fresh volume begins with,
    where a working directory is made and what the node writes for the task is all within it."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "passwd").write_text("stranger:x:4242:4242::/:/bin/sh\n")
    (kept / "hosts").write_text("untouched\n")
    inside = [(images.entry(str(folder)[1:], tarfile.DIRTYPE), None)
              for folder in [*reversed(kept.parents), kept] if str(folder) != "/"]
    world.node.run("image", "load", images.derive(tmp_path / "image.tar", "links", inside + [
        (images.entry(f"{kept}/hosts"[1:]), b"the image's"),
        images.link("etc/passwd", f"{kept}/passwd"), images.link("etc/hosts", f"{kept}/hosts"),
        images.link("etc/resolv.conf", f"{kept}/hosts"), images.link("leak", str(kept)),
        images.link("deep", "/")]))

    def start(script, **container):
        return world.launch("bridge", {**box(script, **container), "image": "links"},
                            volumes=[{"name": "v"}, {"name": "w"}])
    unknown = start("true", user="stranger")
    made = start("pwd", user="0", workingDirectory=f"/deep{kept}/made")
    copied = start("ls -A /leak /deep; echo container >>/etc/hosts; echo end", user="0", mountPoints=[
        {"sourceVolume": "v", "containerPath": "/leak"},
        {"sourceVolume": "w", "containerPath": f"/deep{kept}"}])
    assert "has no user 'stranger'" in world.node.stopped(unknown).reason
    assert world.node.stopped(made).lines() == [f"{kept}/made"]
    lines = world.node.stopped(copied).lines()
    assert lines[-1] == "end" and "hosts" in lines and "passwd" not in lines, lines
    assert sorted(path.name for path in kept.iterdir()) == ["hosts", "passwd"]
    assert (kept / "hosts").read_text() == "untouched\n"


def test_users_of_the_host_do_not_get_at_programs_of_containers(world):
    """A program that belongs to root and may be set so by root in a container, in its own files or
    in a volume, would make anybody of the host root there."""
    put = "cp /bin/busybox $d/up && chmod 4755 $d/up"
    arn = world.launch(
        "none", box(f"for d in /tmp /scratch /shared; do {put}; done; echo made; {fields.SLEEP}",
                    user="0", mountPoints=[{"sourceVolume": name, "containerPath": f"/{name}"}
                                           for name in ("scratch", "shared")]),
        volumes=[{"name": "scratch"}, {"name": "shared", "dockerVolumeConfiguration": {
            "scope": "shared", "autoprovision": True}}])
    support.wait_for(lambda: "made" in world.node.run("logs", arn, check=False).stdout)
    found = [os.path.join(folder, "up") for folder, _, names in os.walk(world.node.data)
             if "up" in names]
    assert len(found) == 3, found
    for path in map(pathlib.Path, found):
        assert path.stat().st_mode & 0o4000, path
        own = [one for one in path.parents if one.is_relative_to(world.node.data)]
        assert any(one.stat().st_mode & 0o077 == 0 for one in own), f"{path} is for everybody"
    world.node.ecs.stop_task(task=arn)
    world.node.stopped(arn)


def taken(path):
    """Bytes that files below a folder take."""
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, names in os.walk(path) for name in names)


def test_own_files_do_not_fill_the_hosts_memory(world):
    """/etc/hosts and its like are the container's to write. What is written there is kept with its
    other files: not below /run, where the agent has to keep its own."""
    run = f"/run/berth/{instance_of(world.node)}"
    before = taken(run)
    arn = world.launch("none", box(
        "for f in hosts hostname resolv.conf; do dd if=/dev/zero of=/etc/$f bs=1M count=16; done; "
        f"echo full; {fields.SLEEP}", user="0"))
    support.wait_for(lambda: "full" in world.node.run("logs", arn, check=False).stdout)
    folder = os.path.join(world.node.data, "node/tasks", arn.rsplit("/", 1)[1])
    assert taken(folder) >= 48 << 20
    assert taken(run) < before + (1 << 20)
    world.node.ecs.stop_task(task=arn)
    world.node.stopped(arn)
