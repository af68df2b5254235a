"""Members about names, addresses and kernel parameters of the network."""
import os

from fields import after, box, task


@task(box("ip -o -4 addr show dev eth0; hostname; readlink /proc/self/ns/net"))
def test_network_mode_awsvpc(ended):
    """An interface of its own, with the address that the API shows."""
    lines = ended.lines()
    interface = ended.task["attachments"][0]["details"]
    address = next(one["value"] for one in interface if one["name"] == "privateIPv4Address")
    assert f"inet {address}/20 " in lines[0]
    assert lines[1] == "ip-" + address.replace(".", "-") + ".ec2.internal"
    assert lines[2] != os.readlink("/proc/self/ns/net")


@task(box("readlink /proc/self/ns/net", **after("second")),
      box("readlink /proc/self/ns/net", name="second", essential=False))
def test_network_mode_awsvpc_is_shared_by_containers(ended):
    assert ended.output() == ended.output("second")


@task(box("readlink /proc/self/ns/net", memory=64), ec2=True, networkMode="host")
def test_network_mode_host(ended):
    assert ended.lines() == [os.readlink("/proc/self/ns/net")]


ALONE = "readlink /proc/self/ns/net; ls /sys/class/net; ping -c 1 127.0.0.1 >/dev/null && echo lo"


def assert_alone(ended):
    lines = ended.lines()
    assert lines[0] != os.readlink("/proc/self/ns/net")
    assert lines[1:] == ["lo", "lo"]


@task(box(ALONE, memory=64, user="0"), ec2=True, networkMode="none")
def test_network_mode_none(ended):
    """A namespace with loopback and nothing else."""
    assert_alone(ended)


@task(box(ALONE, memory=64, user="0", disableNetworking=True), ec2=True)
def test_disable_networking(ended):
    assert_alone(ended)


@task(box("cat /etc/resolv.conf", memory=64, dnsServers=["192.0.2.7", "192.0.2.8"]), ec2=True)
def test_dns_servers(ended):
    assert ended.lines() == ["nameserver 192.0.2.7", "nameserver 192.0.2.8"]


@task(box("cat /etc/resolv.conf", memory=64, dnsServers=["192.0.2.7"],
          dnsSearchDomains=["a.example", "b.example"]), ec2=True)
def test_dns_search_domains(ended):
    assert ended.lines() == ["nameserver 192.0.2.7", "search a.example b.example"]


@task(box("cat /etc/hosts", memory=64, extraHosts=[
    {"hostname": "db.example", "ipAddress": "192.0.2.9"}]), ec2=True)
def test_extra_hosts(ended):
    assert ended.lines()[-1].split() == ["192.0.2.9", "db.example"]


NAMES = "hostname; cat /etc/hostname; echo $HOSTNAME; awk '{print $2}' /etc/hosts | tail -1"


@task(box(NAMES, memory=64, hostname="named", **after("b", "c")),
      box(NAMES, name="b", memory=64, hostname="other", essential=False),
      box(NAMES, name="c", memory=64, essential=False), ec2=True)
def test_hostname(ended):
    """Each container's own; without one, the beginning of the task's id."""
    assert ended.lines() == ["named"] * 4
    assert ended.lines("b") == ["other"] * 4
    assert ended.lines("c") == [ended.task["taskArn"].rsplit("/", 1)[1][:12]] * 4


@task(box("cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/msgmax", systemControls=[
    {"namespace": "net.ipv4.ip_local_port_range", "value": "40000 40100"},
    {"namespace": "kernel.msgmax", "value": "12345"}]))
def test_system_controls(ended):
    assert [line.split() for line in ended.lines()] == [["40000", "40100"], ["12345"]]


@task(box("cat /proc/sys/net/ipv4/ip_unprivileged_port_start; nc -l -p 80 & sleep 0.1; kill $!"))
def test_no_port_needs_privileges(ended):
    assert ended.log().splitlines()[0] == "0"


# The one that prints is the essential one: the task does not end before it has. Its input stays
# open, else it says at once that it is done, and the other one may leave before it has spoken.
@task(box("while ! echo hello | nc 127.0.0.1 8080; do sleep 0.05; done", name="main",
          essential=False),
      box("mkfifo /tmp/open; exec 3<>/tmp/open; nc -l -p 8080 <&3", name="server",
          portMappings=[{"containerPort": 8080}]))
def test_port_mappings_in_awsvpc(ended):
    """The task's ports are its own: the containers meet at localhost."""
    assert ended.output("server") == "hello\n"
