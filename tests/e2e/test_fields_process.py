"""Members about a container's first process, seen from inside."""
import os
import re
import resource

import pytest

import support
from fields import PATIENT, after, box, task

CAPABILITIES = {"CHOWN": 0, "KILL": 5, "NET_RAW": 13, "SYS_PTRACE": 19, "SYS_TIME": 25}


def capabilities(ended, line="CapEff"):
    mask = int(next(one for one in ended.lines() if one.startswith(line)).split()[1], 16)
    return {name for name, bit in CAPABILITIES.items() if mask >> bit & 1}


def limit(ended, name):
    line = next(one for one in ended.lines() if one.startswith(name))
    return tuple(line[26:].split()[:2])


@task(box("echo one", **after("second")), box("echo two", name="second", essential=False))
def test_container_definitions(ended):
    """Every container runs, on its own: two outputs."""
    assert (ended.log("main"), ended.log("second")) == ("one\n", "two\n")


GROUPS = ("grep cgroup /proc/mounts; cat /proc/self/cgroup; cd /sys/fs/cgroup; "
          "test -d memory && cd memory; cat memory.max memory.limit_in_bytes 2>/dev/null; mkdir own")


@pytest.mark.guest
@task(box(GROUPS, memory=96, user="0"))
def test_control_groups(ended):
    """A container sees its own alone, with its limits, and changes nothing there."""
    lines = ended.log().splitlines()
    mounts = [line.split() for line in lines if " cgroup ro" in line or " cgroup2 ro" in line]
    assert mounts and not any(kind in ended.log() for kind in (" cgroup rw", " cgroup2 rw")), lines
    own = [line.split(":")[2] for line in lines if re.match(r"\d+:[^:]*:/", line)]
    assert own and set(own) == {"/"}, lines
    assert str(96 << 20) in lines
    assert lines[-1] == "mkdir: can't create directory 'own': Read-only file system", lines


@task(box("echo here", name="some_Name-1"))
def test_name(ended, node):
    assert [one["name"] for one in ended.task["containers"]] == ["some_Name-1"]
    assert node.run("logs", ended.task["taskArn"], "some_Name-1") == "here\n"


@task(box("test -x /usr/local/bin/hello && grep -c ^redis: /etc/passwd"))
def test_image(ended):
    assert ended.output() == "1\n"
    assert ended.container()["imageDigest"].startswith("sha256:")


@task({"name": "main", "image": "hello", "entryPoint": ["/bin/echo", "entry", "point"]})
def test_entry_point(ended):
    """The definition's replaces the image's, and drops the image's command."""
    assert ended.output() == "entry point\n"


@task({"name": "main", "image": "hello", "entryPoint": ["/bin/echo"],
       "command": ["a  b", "$HOME", ""]})
def test_command(ended):
    """Each word is one argument: no shell reads it."""
    assert ended.output() == "a  b $HOME \n"


@task(box("env", environment=[{"name": "WORD", "value": "a b=c"}, {"name": "EMPTY", "value": ""},
                              {"name": "PATH", "value": "/bin"}]))
def test_environment(ended):
    lines = ended.lines()
    assert "WORD=a b=c" in lines and "EMPTY=" in lines
    assert [line for line in lines if line.startswith("PATH=")] == ["PATH=/bin"]


@task(box("id -u; id -g; id -G", user="redis"))
def test_user(ended):
    """By name, looked up in the image: 999, with its group 1000; the image says 65534."""
    assert ended.lines() == ["999", "1000", "1000"]


@task(box("id -u; id -g", user="12:34"))
def test_user_by_number(ended):
    assert ended.lines() == ["12", "34"]


@task(box("pwd; stat -c %F .", user="0", workingDirectory="/made/for/this"))
def test_working_directory(ended):
    assert ended.lines() == ["/made/for/this", "directory"]


@task(box("cat /proc/self/limits", ulimits=[
    {"name": "nofile", "softLimit": 1000, "hardLimit": 2000}]))
def test_ulimits(ended):
    assert limit(ended, "Max open files") == ("1000", "2000")


@task(box("cat /proc/self/limits", ulimits=[
    {"name": "nofile", "softLimit": 1000, "hardLimit": (1 << 31) - 1}]))
def test_ulimits_that_are_cut(node, ended):
    """Whoever looks at the task is told."""
    most = str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    assert limit(ended, "Max open files") == ("1000", most)
    note = (f"container 'main' has a hard limit 'nofile' of {most}, which is the most that its host "
            f"may set, instead of {(1 << 31) - 1}")
    arn = ended.task["taskArn"]
    support.wait_for(lambda: note in node.run("ps", arn))
    assert "note     " + note in node.run("diagnose", arn)


@task(box("cat /proc/self/limits"))
def test_ulimits_default(ended):
    """65535 open files, or what this machine may give."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    want = str(65535 if most == resource.RLIM_INFINITY else min(65535, most))
    assert limit(ended, "Max open files") == (want, want)


@task(box("cat /proc/self/limits", memory=64, ulimits=[
    {"name": "core", "softLimit": 0, "hardLimit": 4096},
    {"name": "cpu", "softLimit": 100, "hardLimit": 200},
    {"name": "stack", "softLimit": 1 << 20, "hardLimit": 2 << 20}]), ec2=True)
def test_ulimits_of_other_names(ended):
    assert limit(ended, "Max core file size") == ("0", "4096")
    assert limit(ended, "Max cpu time") == ("100", "200")
    assert limit(ended, "Max stack size") == (str(1 << 20), str(2 << 20))


@task(box("cat /proc/self/status", user="0",
          linuxParameters={"capabilities": {"add": ["SYS_PTRACE"]}}))
def test_capabilities_add(ended):
    assert capabilities(ended) == {"CHOWN", "KILL", "NET_RAW", "SYS_PTRACE"}
    assert capabilities(ended, "CapBnd") == capabilities(ended)


@task(box("cat /proc/self/status; chown 1:1 /tmp && echo changed; true", user="0",
          linuxParameters={"capabilities": {"drop": ["CHOWN", "NET_RAW"]}}))
def test_capabilities_drop(ended):
    assert capabilities(ended) == {"KILL"}
    assert capabilities(ended, "CapBnd") == {"KILL"}
    assert "changed" not in ended.lines()


@task(box("cat /proc/self/status", user="0", memory=64, linuxParameters={
    "capabilities": {"add": ["SYS_TIME"], "drop": ["ALL"]}}), ec2=True)
def test_capabilities_add_over_drop_all(ended):
    assert capabilities(ended) == {"SYS_TIME"}


def own_capabilities():
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(line.split()[1] for line in file if line.startswith("CapBnd"))


# Of the container's own IPC namespace, and with the value it has.
WRITE_PARAMETER = "(cd /proc/sys/kernel; echo $(cat msgmax) >msgmax) && echo open"


@pytest.mark.guest
@task(box("grep CapEff /proc/self/status; mount -t tmpfs none /tmp && echo mounted; "
          + WRITE_PARAMETER + "; ls -d /dev/kmsg", user="0", memory=64, privileged=True), ec2=True)
def test_privileged(ended):
    """All that the node itself may: capabilities, mounts, /proc and /sys, devices."""
    lines = ended.lines() if os.path.exists("/dev/kmsg") else ended.log().splitlines()
    assert lines[0].split() == ["CapEff:", own_capabilities()]
    assert lines[1:3] == ["mounted", "open"]


@task(box("mount -t tmpfs none /tmp; " + WRITE_PARAMETER + "; echo end", user="0"))
def test_not_privileged(ended):
    mount, write, end = ended.lines()
    assert "permission denied" in mount and "Read-only file system" in write and end == "end"


@task(box("grep NoNewPrivs /proc/self/status", memory=64,
          dockerSecurityOptions=["no-new-privileges", "seccomp=unconfined"]), ec2=True)
def test_docker_security_options(ended):
    assert ended.output().split() == ["NoNewPrivs:", "1"]


INIT = {"linuxParameters": {"initProcessEnabled": True}}


# Without one, the orphan would stay.
@task(box("tr '\\0' ' ' </proc/1/cmdline; echo; echo $$; (sleep 0.1 &); sleep 0.5; i=0; "
          "while [ $i -lt 600 ] && cat /proc/[0-9]*/stat | grep -q ') Z '; do sleep 0.1; "
          "i=$((i+1)); done; cat /proc/[0-9]*/stat | grep -c ') Z '; exit 3", **INIT))
def test_init_process_enabled(ended):
    """An init is process 1: it runs the program, takes orphans, and passes the status on."""
    first, own, zombies = ended.log().splitlines()
    assert first.startswith("/dev/init --init /bin/sh -c ") and own != "1" and zombies == "0"
    assert ended.code() == 3


@task(box("trap 'echo asked; exit 4' TERM; echo up; while :; do sleep 0.1; done", **PATIENT,
          **INIT))
def test_init_process_passes_signals_on(node, live):
    def up():
        """the program has its trap"""
        return "up" in node.run("logs", live, check=False).stdout
    support.wait_for(up)
    node.ecs.stop_task(task=live)
    ended = node.stopped(live)
    assert (ended.log(), ended.code()) == ("up\nasked\n", 4)


@task(box("cat; echo end"))
def test_standard_input_is_empty(ended):
    """Nothing is there to read without `interactive`."""
    assert ended.output() == "end\n"


MOUNT = {"user": "0", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}


@task(box("echo begin; touch /v/up; cat; echo end", name="reader", essential=False,
          interactive=True, **MOUNT),
      box("until test -e /v/up; do sleep 0.1; done; sleep 0.5", **MOUNT), volumes=[{"name": "v"}])
def test_interactive(ended):
    """Standard input stays open: who reads it waits, until the task ends."""
    assert ended.log("reader") == "begin\n"
    assert ended.code("reader") == 137


# What root may do with its default capabilities, were it not for the filter: a user namespace of
# its own, in which it has all of them.
UNSHARE = "grep Seccomp: /proc/self/status; unshare -U true && echo made"


@task(box(UNSHARE, user="0"))
def test_seccomp_default(ended):
    """Docker's default profile: a filter (2), and no new namespaces."""
    assert "Seccomp:\t2\n" in ended.log()
    assert "made" not in ended.log()


@task(box(UNSHARE, user="0", dockerSecurityOptions=["seccomp=unconfined"]), ec2=True)
def test_seccomp_unconfined(ended):
    assert "Seccomp:\t0\n" in ended.log()
    assert "made" in ended.log()


@task(box(UNSHARE, user="0", privileged=True), ec2=True)
def test_seccomp_privileged(ended):
    assert "Seccomp:\t0\n" in ended.log()
