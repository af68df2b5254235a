"""What containers share or keep apart: processes, shared memory, terminals, swap."""
import os
import subprocess

import pytest

import support
from fields import PATIENT, SLEEP, box, task


def linux(**parameters):
    return {"linuxParameters": parameters}


NAMES = "for one in /proc/[0-9]*; do tr '\\0' ' ' <$one/cmdline; echo; done 2>/dev/null"
OTHER = box("exec sleep 4711", name="other", essential=False)
AFTER = [{"containerName": "other", "condition": "START"}]


# A program is a shell, before it is a program.
LOOK_UP = "look() { " + NAMES + "; }; "
BEGUN = LOOK_UP + "until look | grep -q '^sleep 4711'; do sleep 0.1; done; "


@pytest.mark.guest
@task(box(BEGUN + "look; readlink /proc/1/exe; ls /proc/1/root/", dependsOn=AFTER), OTHER,
      pidMode="task")
def test_pid_mode_task(ended):
    """Each sees the other's processes; process 1 holds the namespace and gives nothing away."""
    lines = [line.strip() for line in ended.log().splitlines()]
    assert "sleep 4711" in lines
    assert "/pause --pause" in lines
    assert ended.code() != 0, "process 1 let its root be looked at"


LOOK = ("ls -A /proc/1/root; echo x 2>&1 >>/proc/1/exe; ls /proc/1/fd | wc -l; "
        "tail -n +3 /proc/1/net/dev | wc -l; grep CapEff /proc/1/status")


@task(box(LOOK, user="0"), pidMode="task")
def test_pid_mode_task_shows_nothing(ended):
    """Not even root may look into process 1."""
    text = ended.log()
    assert "/proc/1/root: Permission denied" in text, text
    assert "/proc/1/exe: Permission denied" in text, text
    assert "CapEff:\t0000000000000000" in text, text


@task(box(LOOK, user="0", linuxParameters={"capabilities": {"add": ["SYS_PTRACE"]}}),
      pidMode="task")
def test_pid_mode_task_holds_nothing(ended):
    """One that may trace may look, and finds nothing: an empty root, a program that cannot be
    written, no descriptors, loopback alone."""
    lines = ended.lines()
    assert lines[0] == "pause", lines
    assert "Read-only file system" in lines[1] or "Text file busy" in lines[1], lines
    assert lines[2:4] == ["0", "1"], lines


@task(box(NAMES, dependsOn=AFTER), OTHER)
def test_pid_mode_absent(ended):
    """Without it a container sees its own alone."""
    assert "sleep 4711" not in ended.output()


@task(box(LOOK_UP + "(sleep 4712 &); until look | grep -q '^sleep 4712'; do sleep 0.1; done; exit 3",
          name="first", essential=False),
      box(LOOK_UP + "i=0; while [ $i -lt 300 ] && look | grep -q '^sleep 4712'; do sleep 0.1; "
          "i=$((i+1)); done; look | grep -c '^sleep 4712'; true",
          dependsOn=[{"containerName": "first", "condition": "COMPLETE"}]), pidMode="task")
def test_pid_mode_task_ends_a_container_whole(ended):
    """With a container's first process its others go as well, which the kernel does not see to."""
    assert (ended.code("first"), ended.output()) == (3, "0\n")


@task(box(NAMES), ec2=True, pidMode="host")
def test_pid_mode_host(ended):
    """All of the host: this very test among them."""
    with open("/proc/self/cmdline", encoding="utf-8") as file:
        assert file.read().split("\0")[0] in ended.output()


@task(box("ipcs -q; touch /dev/shm/of-other; stat -c %i /proc/self/ns/ipc -L; sleep 1",
          name="other", essential=False, **PATIENT),
      box("while ! ls /dev/shm/of-other; do sleep 0.05; done 2>/dev/null; "
          "df -m /dev/shm | tail -n 1; stat -c %i /proc/self/ns/ipc -L",
          linuxParameters={"sharedMemorySize": 80}), ec2=True, ipcMode="task")
def test_ipc_mode_task(ended):
    """One namespace, and one /dev/shm, as large as the greediest wants it."""
    lines = ended.lines()
    assert lines[0] == "/dev/shm/of-other"
    assert lines[1].split()[1] == "80"
    assert lines[2] == ended.output("other").splitlines()[-1]
    assert lines[2] != str(os.stat("/proc/self/ns/ipc").st_ino)


@task(box("stat -c %i /proc/self/ns/ipc -L; df -m /dev/shm | tail -n 1"), ec2=True, ipcMode="host")
def test_ipc_mode_host(ended):
    lines = ended.lines()
    assert lines[0] == str(os.stat("/proc/self/ns/ipc").st_ino)
    info = os.statvfs("/dev/shm")
    assert lines[1].split()[1] == str(-(-info.f_blocks * info.f_frsize >> 20))


@task(box("stat -c %i /proc/self/ns/ipc -L; grep -c ' /dev/shm ' /proc/mounts"), ec2=True,
      ipcMode="none")
def test_ipc_mode_none(ended):
    """Its own namespace, and no /dev/shm."""
    lines = ended.log().splitlines()
    assert lines[0] != str(os.stat("/proc/self/ns/ipc").st_ino)
    assert lines[1] == "0"


@task(box("test -t 0 && test -t 1 && test -t 2 && tty; echo $TERM; (echo to stderr >&2)",
          pseudoTerminal=True))
def test_pseudo_terminal(ended):
    """All three streams are one, and what is written there is the output."""
    assert ended.lines() == ["/dev/pts/0", "xterm", "to stderr"]


@task(box("i=0; while test $i -lt 4000; do echo line $i of a terminal; i=$((i+1)); done",
          pseudoTerminal=True))
def test_pseudo_terminal_loses_nothing(ended):
    assert ended.output() == "".join(f"line {i} of a terminal\n" for i in range(4000))


@task(box("timeout 0.5 cat; echo $?", pseudoTerminal=True, interactive=True))
def test_pseudo_terminal_interactive(ended):
    """Nothing comes from it, and it does not end."""
    assert int(ended.lines()[-1]) > 100


def limits(node, arn):
    v2 = not os.path.isdir("/sys/fs/cgroup/memory")
    name = "memory.memsw.limit_in_bytes"
    if not v2 and not os.path.exists(f"/sys/fs/cgroup/memory/{name}"):
        pytest.skip("this kernel does not account for swap")
    text = node.control(arn, "memory.swap.max", f"memory/{name}", "main")
    return int(text) + (node.memory_limit(arn, "main") if v2 else 0)


@pytest.mark.guest
@task(box(SLEEP, memory=64, **linux(maxSwap=32)), ec2=True)
def test_max_swap(node, live):
    """Memory and swap together are limited to the sum; the task's limit leaves room for it."""
    node.until(live, lastStatus="RUNNING")
    assert limits(node, live) == 96 << 20


@task(box(SLEEP, memory=64, **linux(maxSwap=0)), ec2=True)
def test_max_swap_none(node, live):
    node.until(live, lastStatus="RUNNING")
    assert limits(node, live) == 64 << 20


@pytest.fixture
def swap():
    """Swap on the host, in memory; only in the guest is the host the tests' own."""
    if not support.GUEST:
        pytest.skip("it turns on swap, which it does in the guest of tests/in_guest alone")
    subprocess.run(["modprobe", "zram"], check=True)
    with open("/sys/block/zram0/disksize", "w", encoding="ascii") as size:
        size.write("128M")
    for command in ("mkswap", "swapon"):
        subprocess.run([command, "/dev/zram0"], check=True, capture_output=True)
    yield
    subprocess.run(["swapoff", "/dev/zram0"], check=True)
    with open("/sys/block/zram0/reset", "w", encoding="ascii") as again:
        again.write("1")


@pytest.mark.guest
@pytest.mark.parametrize("size, ends", [(64, "held\n"), (0, "")])
def test_max_swap_is_used(node, swap, size, ends):
    """What does not fit into the memory goes there, and where there is none the container ends."""
    held = box("dd if=/dev/zero of=/dev/shm/held bs=1M count=48 2>/dev/null && echo held",
               memory=32, **linux(maxSwap=size, sharedMemorySize=64))
    ended = node.stopped(node.launch(
        "swapped", {"networkMode": "host", "containerDefinitions": [held]}, {"launchType": "EC2"}))
    assert ended.log() == ends, ended.task


@pytest.mark.guest
@task(box(SLEEP, memory=64, **linux(maxSwap=32, swappiness=7)), ec2=True)
def test_swappiness(node, live):
    """On v1; on v2 the node says that it cannot."""
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        assert "cgroup v1" in node.stopped(live).reason
        return
    node.until(live, lastStatus="RUNNING")
    assert node.control(live, "", "memory/memory.swappiness", "main") == "7"


@task(box("echo ran", **linux(swappiness=7)), ec2=True)
def test_swappiness_without_max_swap(ended):
    """It means nothing then, as in ECS."""
    assert ended.output() == "ran\n"
