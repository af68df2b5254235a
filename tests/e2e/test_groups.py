"""Security groups between running tasks: packets from the interfaces of real tasks.

Programs that ask and listen run in a task's network with nsenter: what they send leaves by the
task's interface, as what its containers send.
"""
import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import fields
import support
from test_bridge import instance_of

SLEEP = fields.SLEEP
EVERYWHERE = [{"CidrIp": "0.0.0.0/0"}]
SILENCE = 0.4  # for what must not come
DEFINITION = {"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256",
              "memory": "512", "containerDefinitions": [fields.box(SLEEP)]}

LISTEN = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
here = socket.socket(socket.AF_INET, kind)
here.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
here.bind(("0.0.0.0", int(sys.argv[2])))
if kind == socket.SOCK_STREAM:
    here.listen()
print("listening", flush=True)
import threading
def echo(peer):
    while data := peer.recv(100):
        peer.sendall(data)
while True:
    if kind == socket.SOCK_STREAM:
        threading.Thread(target=echo, args=[here.accept()[0]], daemon=True).start()
    else:
        data, peer = here.recvfrom(100)
        here.sendto(data, peer)
"""
ASK = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
here = socket.socket(socket.AF_INET, kind)
here.settimeout(float(sys.argv[4]))
try:
    here.connect((sys.argv[2], int(sys.argv[3])))
    for _ in sys.stdin if len(sys.argv) > 5 else ["once"]:
        here.sendall(b"x")
        assert here.recv(100) == b"x"
        print("answered", flush=True)
except (OSError, AssertionError) as error:
    print("silent", error, flush=True)
"""

PING = """
import os, socket, struct, sys, time
here = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
number = os.getpid() & 0xffff
words = [0x0800, number, 1]
total = sum(words)
total = (total >> 16) + (total & 0xffff)
def ask():
    here.sendto(struct.pack("!4H", 0x0800, ~total & 0xffff, number, 1), (sys.argv[1], 0))
ask()
end = time.monotonic() + float(sys.argv[2])
while (left := end - time.monotonic()) > 0:
    here.settimeout(min(1, left))
    try:
        packet = here.recv(1000)
    except OSError:
        ask()
        continue
    if packet[20] == 0 and packet[24:26] == struct.pack("!H", number):
        print("answered")
        break
"""


def pings(prefix, address, seconds=SILENCE):
    """Whether an address answers an echo request."""
    return subprocess.run([*prefix, sys.executable, "-c", PING, address, str(seconds)],
                          timeout=support.PATIENCE,
                          capture_output=True, text=True, check=False).stdout == "answered\n"

# Echo requests to all that hear on the link, and to addresses; prints who answers.
PING6 = """
import os, socket, struct, sys, time
here = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
number = struct.pack("!H", os.getpid() & 0xffff)
index = socket.if_nametoindex("eth0")
heard = set()
for address in ["ff02::1", "ff02::2", *sys.argv[2:]]:
    here.sendto(struct.pack("!BBH", 128, 0, 0) + number + b"\\0\\1", (address, 0, 0, index))
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end or (not heard and time.monotonic() < end + 30):
    here.settimeout(max(0.1, end - time.monotonic()))
    try:
        packet, peer = here.recvfrom(1000)
    except OSError:
        continue
    if packet[0] == 129 and packet[4:6] == number:
        heard.add(peer[0].partition("%")[0])
print(*sorted(heard))
"""


def link_local(prefix):
    """The address of a namespace's interface on its link, once it is usable; None before."""
    rows = subprocess.run([*prefix, "cat", "/proc/net/if_inet6"], capture_output=True, text=True,
                          check=True).stdout.split("\n")
    for row in (row.split() for row in rows):
        if row[-1:] == ["eth0"] and row[0].startswith("fe80") and not int(row[4], 16) & 0x40:
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0]))
    return None


class World:
    """Tasks and groups of a test; all of them end with it."""

    def __init__(self, node):
        self.node = node
        self.ec2 = node.client("ec2")
        self.arns, self.groups = [], []
        node.register("groups", DEFINITION)

    def group(self, name, *ingress):
        made = self.ec2.create_security_group(GroupName=name, Description=name)["GroupId"]
        self.groups.append(made)
        self.allow(made, *ingress)
        return made

    def allow(self, group, *rules):
        if rules:
            self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(rules))

    def revoke(self, group, *rules):
        self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=list(rules))

    def run(self, *groups):
        """A running task in groups; in none named, when there are none."""
        network = {"subnets": self.node.network_arguments["awsvpcConfiguration"]["subnets"][:1]}
        if groups:
            network["securityGroups"] = list(groups)
        [task] = self.node.ecs.run_task(
            taskDefinition="groups", launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": network})["tasks"]
        self.arns.append(task["taskArn"])
        return Task(self.node, self.node.until(task["taskArn"], lastStatus="RUNNING"))

    def stop(self, task):
        self.node.ecs.stop_task(task=task.arn)
        self.node.stopped(task.arn)
        self.arns.remove(task.arn)

    def end(self):
        for arn in self.arns:
            self.node.ecs.stop_task(task=arn)
        for arn in self.arns:
            self.node.stopped(arn)
        for group in self.groups:
            owned = self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
            if owned["IpPermissions"]:
                rules = [{key: value for key, value in rule.items() if value}
                         for rule in owned["IpPermissions"]]
                self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
        for group in self.groups:
            self.ec2.delete_security_group(GroupId=group)


class Task:
    """A running task, and programs in its network."""

    def __init__(self, node, described):
        self.arn = described["taskArn"]
        details = {one["name"]: one["value"] for one in described["attachments"][0]["details"]}
        self.address, self.eni = details["privateIPv4Address"], details["networkInterfaceId"]
        self.inside = ["nsenter",
                       f"--net=/run/berth/{instance_of(node)}/netns/{self.eni}"]

    @contextlib.contextmanager
    def listening(self, protocol, port):
        with subprocess.Popen([*self.inside, sys.executable, "-c", LISTEN, protocol, str(port)],
                              stdout=subprocess.PIPE, text=True) as listener:
            try:
                assert listener.stdout.readline() == "listening\n"
                yield
            finally:
                listener.kill()

    def asks(self, other, protocol, port, seconds=SILENCE):
        """Whether another task, or an address, answers."""
        address = getattr(other, "address", other)
        done = subprocess.run([*self.inside, sys.executable, "-c", ASK, protocol, address, str(port),
                               str(seconds)], capture_output=True, text=True,
                              timeout=support.PATIENCE, check=True)
        return done.stdout.startswith("answered")

    def pings(self, other, seconds=SILENCE):
        return pings(self.inside, other.address, seconds)

    def soon(self, other, protocol, port, wanted=True):
        """Until it answers, or does so no more."""
        def so():
            return self.asks(other, protocol, port, 10 if wanted else SILENCE) == wanted
        so.__doc__ = f"{other.address} {protocol} {port} answers: {wanted}"
        support.wait_for(so)


@pytest.fixture
def world(node):
    made = World(node)
    yield made
    made.end()


def tcp(port, **peers):
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port,
            **(peers or {"IpRanges": EVERYWHERE})}


def members_of(group):
    return {"UserIdGroupPairs": [{"GroupId": group}]}


def test_what_rules_allow_and_deny(world):
    client, server = world.group("client"), None
    server = world.group("server", tcp(80, **members_of(client)),
                         {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": EVERYWHERE},
                         {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, **members_of(client)})
    asker, asked, stranger = world.run(client), world.run(server), world.run(server)
    with asked.listening("tcp", 80), asked.listening("tcp", 81), asked.listening("udp", 53):
        assert asker.asks(asked, "tcp", 80, 30)
        assert not asker.asks(asked, "tcp", 81)
        assert not stranger.asks(asked, "tcp", 80)
        assert asker.asks(asked, "udp", 53, 30) and stranger.asks(asked, "udp", 53, 30)
        assert asker.pings(asked, 30) and not stranger.pings(asked)
        # A task itself needs no rule, nor for the addresses of its endpoints.
        assert asked.asks("127.0.0.1", "tcp", 81, 30) and asked.asks(asked, "tcp", 81, 30)


def test_the_default_group_is_as_in_aws(world):
    """Tasks that name no group hear each other, and neither the host nor anybody else."""
    one, two = world.run(), world.run()
    other = world.run(world.group("other"))
    assert not pings([], two.address)
    with two.listening("tcp", 80):
        assert one.asks(two, "tcp", 80, 30)
        assert not other.asks(two, "tcp", 80)


def test_the_group_of_the_tour_lets_the_host_in(world):
    named = world.node.network_arguments["awsvpcConfiguration"]["securityGroups"]
    one, two = world.run(*named), world.run(*named)
    assert pings([], one.address, 30)
    assert one.pings(two, 30)


def test_an_operator_can_look_at_the_rules(world):
    """Those of Debian's nft, too, which does not know all that the kernel does."""
    group = world.group("seen", tcp(80), tcp(81, **members_of(world.group("named"))))
    task = world.run(group)
    folder = f"/run/berth/{instance_of(world.node)}/netns"
    [router] = [name for name in os.listdir(folder) if name.startswith("vpc-")]
    shown = subprocess.run(["nsenter", f"--net={folder}/{router}", "nft", "list", "ruleset"],
                           capture_output=True, text=True, check=True).stdout
    assert f"{task.address} : jump in-" in shown and "tcp dport 80" in shown


def test_rules_change_while_tasks_run(world):
    group = world.group("web")
    asker, asked = world.run(group), world.run(group)
    with asked.listening("tcp", 80):
        assert not asker.asks(asked, "tcp", 80)
        begin = time.monotonic()
        world.allow(group, tcp(80))
        asker.soon(asked, "tcp", 80)
        print(f"allowed after {time.monotonic() - begin:.3f} s")
        # What was let through goes on; what begins after the rule is gone does not.
        with subprocess.Popen([*asker.inside, sys.executable, "-c", ASK, "tcp", asked.address, "80",
                               "60", "more"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True, bufsize=1) as running:
            running.stdin.write("go\n")
            assert running.stdout.readline() == "answered\n"
            world.revoke(group, tcp(80))
            asker.soon(asked, "tcp", 80, False)
            running.stdin.write("go\n")
            assert running.stdout.readline() == "answered\n"
            running.stdin.close()


def test_members_come_and_go(world):
    client = world.group("clients")
    server = world.group("servers", tcp(80, **members_of(client)))
    asked = world.run(server)
    with asked.listening("tcp", 80):
        asker = world.run(client)
        assert asker.asks(asked, "tcp", 80, 30)
        world.stop(asker)
        late = world.run(server, client)
        assert late.asks(asked, "tcp", 80, 30)


def test_egress(world):
    group = world.group("inward", {"IpProtocol": "-1", "IpRanges": EVERYWHERE})
    world.ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[
        {"IpProtocol": "-1", "IpRanges": EVERYWHERE}])
    world.ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(80)])
    one, two = world.run(group), world.run(group)
    with two.listening("tcp", 80), two.listening("tcp", 81):
        assert one.asks(two, "tcp", 80, 30)
        assert not one.asks(two, "tcp", 81) and not one.pings(two)


def test_groups_stay_while_nobody_is_there(world):
    """Neither the server nor the agent, and the next ones take over."""
    client = world.group("kept-client")
    server = world.group("kept", tcp(80, **members_of(client)))
    asker, asked, stranger = world.run(client), world.run(server), world.run(server)
    with asked.listening("tcp", 80):
        world.node.stop(signal.SIGKILL)
        assert asker.asks(asked, "tcp", 80, 30) and not stranger.asks(asked, "tcp", 80)
        world.node.start()
        assert asker.asks(asked, "tcp", 80, 30) and not stranger.asks(asked, "tcp", 80)
        late = world.run(client)
        assert late.asks(asked, "tcp", 80, 30)
        world.revoke(server, tcp(80, **members_of(client)))
        late.soon(asked, "tcp", 80, False)


def test_a_group_in_use_stays(world):
    group = world.group("used")
    world.run(group)
    with pytest.raises(world.ec2.exceptions.ClientError) as caught:
        world.ec2.delete_security_group(GroupId=group)
    assert caught.value.response["Error"] == {
        "Code": "DependencyViolation", "Message": f"resource {group} has a dependent object"}
    [interface] = world.ec2.describe_network_interfaces(
        Filters=[{"Name": "group-id", "Values": [group]}])["NetworkInterfaces"]
    assert [one["GroupId"] for one in interface["Groups"]] == [group]
    assert interface["Status"] == "in-use" and interface["PrivateIpAddress"].startswith("172.")


@pytest.mark.parametrize("mode", ["awsvpc", "bridge"])
def test_ipv6_that_a_task_turns_on_leads_nowhere(world, mode):
    """Rules are IPv4's alone: what a task gives itself on its link must reach nobody."""
    turned_on = [{"namespace": "net.ipv6.conf.all.disable_ipv6", "value": "0"}]
    definition = {"containerDefinitions": [
        fields.box(SLEEP, memory=32, systemControls=turned_on)]}
    if mode == "awsvpc":
        definition = {**DEFINITION, **definition}
    world.node.register(f"ipv6-{mode}", definition)
    everything = {"IpProtocol": "-1", "IpRanges": EVERYWHERE, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
    network = {"subnets": world.node.network_arguments["awsvpcConfiguration"]["subnets"][:1],
               "securityGroups": [world.group(f"open-{mode}", everything)]}
    more = {"launchType": "EC2"} if mode == "bridge" else {
        "launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": network}}
    tasks = world.node.ecs.run_task(taskDefinition=f"ipv6-{mode}", count=2, **more)["tasks"]
    world.arns += [task["taskArn"] for task in tasks]
    prefixes = []
    for task in tasks:
        task = world.node.until(task["taskArn"], lastStatus="RUNNING")
        name = "task-" + task["taskArn"].rpartition("/")[2] + "-0"
        if mode == "awsvpc":
            name = Task(world.node, task).eni
        prefixes.append(["nsenter", f"--net=/run/berth/{instance_of(world.node)}/netns/{name}"])
    addresses = [support.wait_for(functools.partial(link_local, prefix))
                 for prefix in prefixes]
    for prefix, own in zip(prefixes, addresses):
        answer = subprocess.run([*prefix, sys.executable, "-c", PING6, "1", *addresses],
                                capture_output=True, text=True, check=True,
                                timeout=support.PATIENCE).stdout
        assert answer.split() == [own], "it hears itself, and nobody else"


def test_a_service_has_its_groups(world):
    client = world.group("of-clients")
    server = world.group("of-service", tcp(80, **members_of(client)))
    subnets = world.node.network_arguments["awsvpcConfiguration"]["subnets"][:1]
    world.node.ecs.create_service(
        serviceName="grouped", taskDefinition="groups", desiredCount=1, launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": subnets,
                                                      "securityGroups": [server]}})

    def running():
        """the service's task"""
        arns = world.node.ecs.list_tasks(serviceName="grouped")["taskArns"]
        tasks = world.node.ecs.describe_tasks(tasks=arns)["tasks"] if arns else []
        return next((one for one in tasks if one["lastStatus"] == "RUNNING"), None)
    asked = Task(world.node, support.wait_for(running))
    asker, stranger = world.run(client), world.run(server)
    with asked.listening("tcp", 80):
        assert asker.asks(asked, "tcp", 80, 30) and not stranger.asks(asked, "tcp", 80)
    world.node.ecs.delete_service(service="grouped", force=True)
    world.node.stopped(asked.arn)
