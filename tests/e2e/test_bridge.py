"""Network modes bridge and host: ports of the host that lead to containers, links, and what a
container cannot reach."""
import json
import os
import socket
import subprocess

import pytest

import fields
import support
from fields import after, box, task
from test_crash import leftovers

# Answers each connection with the container's host name.
SERVER = "exec nc -ll -p {port} -e hostname"


def server(port=80, **members):
    return box(SERVER.format(port=port), memory=64, **members)


def ask(port, address="127.0.0.1", prefix=(), seconds=2):
    """What a TCP port answers, or None when nobody does in time."""
    done = subprocess.run([*prefix, "busybox", "timeout", str(seconds), "busybox", "nc", address,
                           str(port)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() or None


def answered(port, address="127.0.0.1", prefix=()):
    def answers():
        return ask(port, address, prefix, 20)
    answers.__doc__ = f"an answer from {address}:{port}"
    return support.wait_for(answers)


def instance_of(node):
    with open(os.path.join(node.data, "instance"), encoding="utf-8") as file:
        return file.read().strip()


def inside(node, arn, number=0):
    """Words in front of a command that shall run in a container's network."""
    name = f"task-{arn.rsplit('/', 1)[1]}-{number}"
    return ["nsenter", f"--net=/run/berth/{instance_of(node)}/netns/{name}"]


def address_of(node, arn, number=0):
    shown = subprocess.run([*inside(node, arn, number), "ip", "-j", "addr", "show", "eth0"],
                           capture_output=True, text=True, check=True).stdout
    return next(one["local"] for one in json.loads(shown)[0]["addr_info"]
                if one["family"] == "inet")


def gateway_of(node, arn):
    shown = subprocess.run([*inside(node, arn), "ip", "-j", "route", "show", "default"],
                           capture_output=True, text=True, check=True).stdout
    return json.loads(shown)[0]["gateway"]


def bindings(described, name="main"):
    return next(one for one in described["containers"] if one["name"] == name)["networkBindings"]


def binding(container_port, host_port, protocol="tcp"):
    return {"bindIP": "0.0.0.0", "containerPort": container_port, "hostPort": host_port,
            "protocol": protocol}


def launch(node, name, *containers, **members):
    definition = {"containerDefinitions": list(containers), "networkMode": "bridge", "cpu": "256",
                  "memory": "512", **members}
    return node.launch(name, definition, {"launchType": "EC2"})


@pytest.fixture
def run(node, request):
    """Runs tasks of the test's own, until it is over."""
    started = []

    def begin(*containers, status="RUNNING", **members):
        started.append(launch(node, request.function.__name__, *containers, **members))
        return node.until(started[-1], lastStatus=status)
    yield begin
    for arn in started:
        node.ecs.stop_task(task=arn)
        node.stopped(arn)


def test_static_and_dynamic_ports(node, run):
    port = support.free_port()
    arn = run(server(portMappings=[{"containerPort": 80, "hostPort": port},
                                   {"containerPort": 80, "hostPort": 0},
                                   {"containerPort": 80}]))["taskArn"]
    described = node.describe(arn)
    static, *dynamic = bindings(described)
    assert static == binding(80, port)
    assert [one | {"hostPort": 0} for one in dynamic] == [binding(80, 0)] * 2
    first, second = (one["hostPort"] for one in dynamic)
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        low, high = map(int, file.read().split())
    assert low <= first <= high and low <= second <= high and len({first, second, port}) == 3
    name = arn.rsplit("/", 1)[1][:12] + "-0"
    for one in (port, first, second):
        assert answered(one) == name
    # As an SDK does it, and as the CLI prints it.
    shown = node.aws("ecs", "describe-tasks", "--tasks", arn)
    assert bindings(shown["tasks"][0]) == bindings(described)
    # While a container has a port, no program of the host gets it.
    with pytest.raises(OSError), socket.socket() as other:
        other.bind(("0.0.0.0", first))


def test_a_port_is_free_again_after_the_task(node, run):
    port = support.free_port()
    mapping = [{"containerPort": 80, "hostPort": port}]
    arn = run(server(portMappings=mapping))["taskArn"]
    answered(port)
    node.ecs.stop_task(task=arn)
    ended = node.stopped(arn)
    assert bindings(ended.task) == [binding(80, port)]  # which it had
    assert ask(port) is None
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))
    again = run(server(portMappings=mapping))["taskArn"]
    assert answered(port) == again.rsplit("/", 1)[1][:12] + "-0"


def test_port_range(node, run):
    described = run(server(8003, portMappings=[
        {"containerPortRange": "8000-8009", "protocol": "tcp"}]))
    [one] = bindings(described)
    first, last = map(int, one.pop("hostPortRange").split("-"))
    assert one == {"bindIP": "0.0.0.0", "containerPortRange": "8000-8009", "protocol": "tcp"}
    assert last - first == 9
    assert answered(first + 3) == described["taskArn"].rsplit("/", 1)[1][:12] + "-0"


UDP_SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5353))
print("bound", flush=True)
while True:
    data, peer = s.recvfrom(100)
    s.sendto(data + sys.argv[1].encode(), peer)
"""


class Echo:
    """A datagram server in a container's network."""

    def __init__(self, node, arn, mark):
        self.process = subprocess.Popen([*inside(node, arn), "python3", "-c", UDP_SERVER, mark],
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"bound\n"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def test_udp_port_moves_with_its_sender(node, run):
    """A sender that does not pause meets the next container, not the former's address."""
    port = support.free_port()
    container = box("sleep 1000", memory=64, portMappings=[
        {"containerPort": 5353, "hostPort": port, "protocol": "udp"}])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.2)

        def reply():
            sender.sendto(b"q", ("127.0.0.1", port))
            try:
                return sender.recv(100)
            except OSError:  # nothing came, or nobody is there
                return None
        assert reply() is None  # the kernel has seen the conversation begin
        for mark in ("1", "2"):
            described = run(container)
            assert bindings(described) == [binding(5353, port, "udp")]
            with Echo(node, described["taskArn"], mark):
                # The first may be what the former still answered to an earlier question.
                wanted = b"q" + mark.encode()
                support.wait_for(lambda: reply() == wanted)  # pylint: disable=cell-var-from-loop
            node.ecs.stop_task(task=described["taskArn"])
            node.stopped(described["taskArn"])


def test_port_taken_on_the_host(node, run):
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        described = run(server(portMappings=[{"containerPort": 80, "hostPort": port}]),
                        box("sleep 100", name="b", memory=64, essential=False), status="STOPPED")
    assert described["stopCode"] == "TaskFailedToStart"
    reason = described["stoppedReason"]
    assert reason.startswith("CannotStartContainerError: driver failed programming external "
                             f"connectivity on endpoint main: listen tcp4 0.0.0.0:{port}: bind: "
                             "address already in use; ")
    main, side = described["containers"]
    assert main["reason"] == reason and main["networkBindings"] == []
    assert "reason" not in side
    told = node.run("diagnose", described["taskArn"], check=False)
    assert told.returncode == 1
    assert (f"Container main asks for a port of host {socket.gethostname()} that something else "
            f"has: listen tcp4 0.0.0.0:{port}: bind: address already in use.") in told.stdout


def test_port_of_another_task_is_told_before(node, run):
    port = support.free_port()
    container = server(portMappings=[{"containerPort": 80, "hostPort": port}])
    run(container)
    answer = node.ecs.run_task(taskDefinition="test_port_of_another_task_is_told_before",
                               launchType="EC2")
    assert [one["reason"] for one in answer["failures"]] == ["RESOURCE:PORTS"]


@task(box("exec nc -ll -p 8473 -e echo hi", memory=64, portMappings=[
    {"containerPort": 8473}, {"containerPort": 8474, "protocol": "udp"}]), ec2=True)
def test_host_mode_shows_its_ports(node, live):
    described = node.until(live, lastStatus="RUNNING")
    assert bindings(described) == [binding(8473, 8473), binding(8474, 8474, "udp")]
    assert answered(8473) == "hi"


LINKED = """
until nc -w 20 db 80; do sleep 0.1; done
grep -w database /etc/hosts; env | grep ^DATABASE_ | sort
"""


@task(box(LINKED, memory=64, links=["db", "db:database"]),
      server(name="db", essential=False, hostname="dbhost", portMappings=[{"containerPort": 80}],
             environment=[{"name": "MODE", "value": "fast"}]),
      ec2=True, networkMode="bridge")
def test_links(ended):
    lines = ended.lines()
    assert lines[0] == "dbhost"
    address, *names = lines[1].split()
    assert names == ["database", "db", "dbhost"]
    assert {"DATABASE_NAME=/main/database", f"DATABASE_PORT=tcp://{address}:80",
            f"DATABASE_PORT_80_TCP=tcp://{address}:80", f"DATABASE_PORT_80_TCP_ADDR={address}",
            "DATABASE_PORT_80_TCP_PORT=80", "DATABASE_PORT_80_TCP_PROTO=tcp",
            "DATABASE_ENV_MODE=fast"} <= set(lines[2:])


NAMED = "hostname; grep -w \"$(hostname)\" /etc/hosts; cat /etc/resolv.conf; tail -1 /etc/hosts"


@task(box(NAMED, memory=64, hostname="named", dnsServers=["192.0.2.7"],
          dnsSearchDomains=["a.example"],
          extraHosts=[{"hostname": "db.example", "ipAddress": "192.0.2.9"}], **after("off")),
      box("ls /sys/class/net", name="off", memory=64, essential=False, disableNetworking=True),
      ec2=True, networkMode="bridge")
def test_names_in_bridge_mode(ended):
    name, own, server_line, search, extra = ended.lines()
    assert name == "named" and own.split()[1:] == ["named"]
    assert own.startswith("172.") or own.startswith("10.")
    assert (server_line, search) == ("nameserver 192.0.2.7", "search a.example")
    assert extra.split() == ["192.0.2.9", "db.example"]
    assert ended.lines("off") == ["lo"]


def test_what_a_container_reaches(node, run):
    """Its own task's containers, ports of the host, the host: not other tasks, not loopback."""
    port = support.free_port()
    one = run(server(portMappings=[{"containerPort": 80, "hostPort": port}]),
              server(81, name="second"))["taskArn"]
    two = run(box("sleep 1000", memory=64))["taskArn"]
    target, second = address_of(node, one), address_of(node, one, 1)
    own, other = inside(node, one), inside(node, two)
    name = one.rsplit("/", 1)[1][:12]
    assert answered(81, second, own) == name + "-1"
    assert answered(80, target, inside(node, one, 1)) == name + "-0"
    assert ask(80, target, other) is None
    assert ask(81, second, other) is None
    # The gateway is the host: its ports lead to containers, the asking one's own included.
    gateway = gateway_of(node, two)
    assert answered(port, gateway, other) == name + "-0"
    assert answered(port, gateway, own) == name + "-0"
    # A service of the host on loopback is the host's alone, by whatever name it is asked for.
    with socket.socket() as loopback, socket.socket() as everywhere:
        loopback.bind(("127.0.0.1", 0))
        loopback.listen()
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        reach = ("import socket, sys; _, host, port, seconds = sys.argv; "
                 "socket.create_connection((host, int(port)), float(seconds))")

        def reaches(listener, seconds):
            return subprocess.run([*other, "python3", "-c", reach, gateway,
                                   str(listener.getsockname()[1]), str(seconds)],
                                  capture_output=True, check=False).returncode == 0
        assert reaches(everywhere, 60)
        assert not reaches(loopback, 2)
    # Nobody else's endpoint answers at the address of the task's own.
    assert ask(80, "169.254.170.2", other) is None


# ---- crashes, and two side by side --------------------------------------------------------

@pytest.fixture
def start(tmp_path):
    """Starts Berths whose nodes are container instances, and ends those that a failing test
    leaves."""
    started = []

    def begin(name, *options):
        started.append(fields.Node(tmp_path / name, *options))
        started[-1].begin()
        return started[-1]
    yield begin
    for berth in started:
        berth.stop()


def run_servers(berth, count=1):
    arns = [launch(berth, "web", server(portMappings=[{"containerPort": 80}]))
            for _ in range(count)]
    return [berth.until(arn, lastStatus="RUNNING") for arn in arns]


def host_port(described):
    return bindings(described)[0]["hostPort"]


def test_ports_outlive_a_killed_berth(start):
    berth = start("one")
    [before] = run_servers(berth)
    port = host_port(before)
    answered(port)
    berth.kill()
    answered(port)
    berth.start()
    assert bindings(berth.describe(before["taskArn"])) == bindings(before)
    answered(port)
    with pytest.raises(OSError), socket.socket() as other:
        other.bind(("0.0.0.0", port))
    # The next one does not get what is taken.
    [another] = run_servers(berth)
    assert host_port(another) != port
    assert answered(host_port(another)) != answered(port)
    assert berth.stop() == 0
    assert leftovers(berth) == []
    assert not os.path.exists(f"/run/berth/{instance_of(berth)}")
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True)
    assert instance_of(berth) not in rules.stdout


def test_bridges_side_by_side(start):
    one, two = start("one"), start("two")
    tasks = {berth: run_servers(berth, 2) for berth in (one, two)}
    ports = {host_port(described) for found in tasks.values() for described in found}
    assert len(ports) == 4
    for port in ports:
        answered(port)
    first, second = tasks[one][0]["taskArn"], tasks[two][0]["taskArn"]
    target = address_of(two, second)
    assert target.split(".")[:2] != address_of(one, first).split(".")[:2]
    assert ask(80, target, inside(one, first)) is None
    # A port of the host is everybody's.
    assert answered(host_port(tasks[two][0]), gateway_of(one, first), inside(one, first)) == second.rsplit("/", 1)[1][:12] + "-0"
    assert one.stop() == 0
    assert leftovers(one) == []
    for described in tasks[two]:
        assert answered(host_port(described))


def test_ranges_of_addresses_and_ports(start):
    berth = start("one", "--bridge-cidr", "10.77.16.0/20", "--dynamic-host-ports", "11000-11001")
    tasks = run_servers(berth, 2)
    assert {host_port(described) for described in tasks} == {11000, 11001}
    assert address_of(berth, tasks[0]["taskArn"]) == "10.77.16.16"
    assert gateway_of(berth, tasks[0]["taskArn"]) == "10.77.16.1"
    third = berth.stopped(launch(berth, "web", server(portMappings=[{"containerPort": 80}])))
    assert third.reason == ("ResourceInitializationError: failed to set up the task's network: no 1 "
                            "tcp ports in a row are free of 11000 to 11001 of the host")


@pytest.mark.parametrize("option, value, said", [
    ("--dynamic-host-ports", "11000", "takes the first and the last port"),
    ("--dynamic-host-ports", "11001-11000", "takes the first and the last port"),
    ("--bridge-cidr", "10.0.0.0/8", "'10.0.0.0/8' is no range for the bridge network"),
])
def test_ranges_are_checked(tmp_path, option, value, said):
    done = subprocess.run([support.BERTH, "up", "--data", str(tmp_path), "--listen",
                           f"127.0.0.1:{support.free_port()}", option, value],
                          capture_output=True, text=True, timeout=support.PATIENCE, check=False)
    assert done.returncode != 0 and said in done.stderr
