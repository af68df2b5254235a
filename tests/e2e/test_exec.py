"""ECS Exec, the node's part: commands in containers, on terminals."""
import hashlib
import os
import re
import time

import pytest

import data_channel
import fields
import support
from fields import box

SHELL = "sh"
# A terminal that changes no byte, in either direction.
RAW = "stty raw -echo; echo ready; "
BIG = 10 << 20


def launch(node, name, *containers, **members):
    """Start a task that may be entered, and wait until it runs."""
    definition = {"containerDefinitions": list(containers), "cpu": "256", "memory": "512",
                  "networkMode": "awsvpc", **members}
    fargate = definition["networkMode"] == "awsvpc"
    if fargate:
        definition["requiresCompatibilities"] = ["FARGATE"]
    arn = node.launch(name, definition, {"launchType": "FARGATE" if fargate else "EC2",
                                         "enableExecuteCommand": True})
    node.until(arn, lastStatus="RUNNING")
    return arn


@pytest.fixture(scope="module")
def arn(node):
    """A task for the tests that leave no trace in it."""
    yield launch(node, "exec", box(fields.SLEEP, user="1000:1000", workingDirectory="/tmp",
                                   environment=[{"name": "GREETING", "value": "hello"}]))


@pytest.fixture
def execute(node):
    """Runs commands until the test is over."""
    clients = []

    def execute_(task, command, container="main", actions=("ExitCode",)):
        answer = node.ecs.execute_command(task=task, container=container, command=command,
                                          interactive=True)
        client = data_channel.Client(answer["session"], actions, ca_file=node.keys.get("caFile"))
        client.output = bytearray()  # which grows in place
        clients.append(client)
        return client
    yield execute_
    for client in clients:
        try:
            if client.closed is None:
                client.close()
        except OSError:
            pass
        client.socket.socket.close()


def script(text):
    """A command that runs a script without apostrophes."""
    assert "'" not in text
    return f"sh -c '{text}'"


def gone(node, task, what, container="main", seconds=support.PATIENCE):
    """Wait until no process of a container has that in its command line."""
    def none():
        return not any(what in one for one in node.commands(task, container))
    none.__doc__ = f"the end of {what}"
    support.wait_for(none, seconds)


def berth_fds(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def held_kib(pid):
    """Memory of a process that is no file's: pages of its program may come and go at any time."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"RssAnon:\s+(\d+)", file.read())[1])


@pytest.mark.guest
def test_exit_codes(arn, execute):
    for code in (0, 7, 255):
        client = execute(arn, script(f"echo out; exit {code}"))
        assert client.until_closed() == ""
        assert (client.output, client.exit_code) == (b"out\r\n", code)
    # Amazon's plugin prints what it is sent: an exit code is for those who ask.
    client = execute(arn, script("echo out; exit 7"), actions=())
    assert client.until_closed() == ""
    assert (client.output, client.exit_code) == (b"out\r\n", None)


def test_commands_are_root_with_the_containers_environment(arn, execute):
    client = execute(arn, script("id -u; pwd; tty; env; cat /proc/1/cmdline"))
    assert client.until_closed() == ""
    lines = client.output.decode().split("\r\n")
    assert lines[:2] == ["0", "/tmp"] and lines[2].startswith("/dev/pts/"), lines
    assert {"GREETING=hello", "TERM=xterm-256color", "HOME=/root"} <= set(lines)
    assert any(line.startswith("ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/")
               for line in lines), lines
    assert "trap" in lines[-1]


def test_words_are_split_as_by_a_shell_and_nothing_is_expanded(arn, execute):
    client = execute(arn, """printf '[%s]' "a b" c\\ d '$HOME' "it's" '' *""")
    assert client.until_closed() == ""
    assert client.output == b"[a b][c d][$HOME][it's][][*]"


@pytest.mark.parametrize("command, said", (
    ("no-such-program x", "Unable to start command: executable file `no-such-program` not found "
     "in $PATH: No such file or directory"),
    ("sh -c 'a", "The command has a ' without its end."),
    (script("kill -SEGV $$"), "The command ended with exit code 139 (signal 11)."),
))
def test_what_goes_wrong_is_told(arn, execute, command, said):
    assert execute(arn, command).until_closed() == said


def test_an_interactive_shell(arn, execute, node):
    client = execute(arn, SHELL)
    client.until_output(b"# ")
    client.say(b"echo $((6 * 7))\n")
    client.until_output(b"\r\n42\r\n")
    client.say(b"sleep 1236\n")
    support.wait_for(lambda: any("1236" in one for one in node.commands(arn, "main")))
    client.say(b"\x03")
    gone(node, arn, "1236")
    client.say(b"echo after\n")
    client.until_output(b"\r\nafter\r\n")
    client.say(b"exit 3\n")
    assert client.until_closed() == "" and client.exit_code == 3


def test_the_window_follows_its_size(arn, execute):
    client = execute(arn, script("trap \"stty size\" WINCH; echo ready; "
                                 "while :; do sleep 0.05; done"))
    client.resize(132, 43)
    client.until_output(b"ready")
    for columns, rows in ((80, 24), (500, 300), (200, 50)):
        client.resize(columns, rows)
        client.until_output(b"%d %d\r\n" % (rows, columns))
    client.resize(0, 70000)  # no terminal is like that: nothing happens
    client.resize(90, 30)
    client.until_output(b"30 90\r\n")
    assert b"70000" not in client.output
    client = execute(arn, script("until stty size 2>/dev/null | grep -q 132; do sleep 0.1; "
                                 "done; stty size"))
    client.resize(132, 43)  # at once: most often before the command has begun
    assert client.until_closed() == "" and client.output == b"43 132\r\n"


def test_big_output_is_intact(arn, execute):
    client = execute(arn, script(f"{RAW} yes 0123456789abcde | head -c {BIG}"))
    assert client.until_closed() == ""
    body = client.output.split(b"\n", 1)[1]
    assert len(body) == BIG
    assert body == b"0123456789abcde\n" * (BIG // 16)


def test_every_byte_in_both_directions(arn, execute):
    every = bytes(range(256)) * 16
    client = execute(arn, script(f"{RAW} head -c {len(every)}"))
    client.until_output(b"ready")
    client.say(every)
    assert client.until_closed() == ""
    assert client.output.split(b"\n", 1)[1] == every


def test_big_input_waits_for_its_reader(arn, execute, node):
    """A program that reads late gets all of it; the node keeps it meanwhile."""
    size = 3 << 20
    body = b"0123456789abcdef" * (size // 16)
    client = execute(arn, script(f"{RAW} while ! test -e /tmp/go; do sleep 0.05; done; "
                                 f"head -c {size} | sha256sum; rm /tmp/go"))
    client.until_output(b"ready")
    before = held_kib(node.process.pid)
    for at in range(0, size, data_channel.PIECE):
        client.say(body[at:at + data_channel.PIECE])
        client.until(lambda: len(client.pending) < 256)
    assert held_kib(node.process.pid) - before < 8192
    execute(arn, "touch /tmp/go").until_closed()
    assert client.until_closed() == ""
    assert hashlib.sha256(body).hexdigest().encode() in client.output


def test_a_client_that_stalls_holds_the_command_up(arn, execute, node):
    """Nothing is lost, and neither node nor server grow."""
    lines = 400000
    client = execute(arn, script(f"{RAW} touch /tmp/busy; seq 1 {lines}; rm /tmp/busy"))
    client.until_output(b"ready")
    before = held_kib(node.process.pid)
    time.sleep(3)
    assert held_kib(node.process.pid) - before < 8192
    other = execute(arn, "ls /tmp/busy")  # it has not come to its end
    assert other.until_closed() == "" and other.exit_code == 0
    assert client.until_closed() == ""
    assert client.output.split(b"\n", 1)[1] == b"".join(b"%d\n" % i for i in range(1, lines + 1))


def test_the_client_ends_the_session(arn, execute, node):
    client = execute(arn, script("trap : HUP; echo ready; while :; do sleep 0.0501; done"))
    client.until_output(b"ready")
    client.close()
    gone(node, arn, "0.0501")
    client = execute(arn, "sleep 1234")
    client.until(lambda: client.ready)
    support.wait_for(lambda: any("1234" in one for one in node.commands(arn, "main")))
    client.say(b"\0\0\0\2", data_channel.FLAG)
    assert client.until_closed() == ""
    gone(node, arn, "1234")


def test_terminate_session(arn, execute, node):
    answer = node.ecs.execute_command(task=arn, command="sleep 1235", interactive=True)
    client = data_channel.Client(answer["session"], ca_file=node.keys.get("caFile"))
    client.until(lambda: client.ready)
    support.wait_for(lambda: any("1235" in one for one in node.commands(arn, "main")))
    node.client("ssm").terminate_session(SessionId=answer["session"]["sessionId"])
    gone(node, arn, "1235")


def test_two_sessions_of_a_container(arn, execute):
    def entered():
        """a shell, once the session of a test before has given its place away"""
        client = execute(arn, SHELL)
        client.until(lambda: b"# " in client.output or client.closed is not None)
        return client if client.closed is None else None
    first, second = support.wait_for(entered), support.wait_for(entered)
    assert execute(arn, "true").until_closed() == (
        "The container main has 2 sessions already, which is the limit. Exit one of them and try "
        "again.")
    second.say(b"exit\n")
    assert second.until_closed() == ""
    third = execute(arn, "echo room")
    assert third.until_closed() == "" and third.output == b"room\r\n"
    first.say(b"exit\n")
    assert first.until_closed() == ""


def test_sessions_leave_nothing_behind(arn, execute, node):
    execute(arn, "true").until_closed()
    task_id = arn.rsplit("/", 1)[1]
    with open(os.path.join(node.data, "instance"), encoding="utf-8") as file:
        folder = f"/run/berth/{file.read().strip()}/tasks/{task_id}"
    files, fds = len(os.listdir(folder)), berth_fds(node)
    for _ in range(10):
        client = execute(arn, "echo here")
        assert client.until_closed() == "" and client.output == b"here\r\n"
        client.socket.socket.close()

    def back():
        """as many descriptors and files as before"""
        return berth_fds(node) <= fds and len(os.listdir(folder)) <= files
    support.wait_for(back)


def test_a_session_ends_with_its_container(execute, node):
    task = launch(node, "exec_stop", box(fields.SLEEP))
    client = execute(task, SHELL)
    client.until_output(b"# ")
    node.ecs.stop_task(task=task)
    assert client.until_closed() == "The container has stopped."
    task = launch(node, "exec_exit", box("while ! test -e /go; do sleep 0.05; done; exit 4"))
    client = execute(task, script("touch /go; sleep 1000"))
    assert client.until_closed() == "The container has stopped."
    assert node.stopped(task).code() == 4


def test_containers_are_told_apart(execute, node):
    task = launch(node, "exec_pair", box(fields.SLEEP, environment=[{"name": "I", "value": "1"}]),
                  box(fields.SLEEP, "other", environment=[{"name": "I", "value": "2"}]))
    for name, number in (("main", b"1\r\n"), ("other", b"2\r\n")):
        client = execute(task, script("echo $I"), name)
        assert client.until_closed() == "" and client.output == number
    node.ecs.stop_task(task=task)


def test_shared_processes(execute, node):
    task = launch(node, "exec_pid", box("exec sleep 2001"), box("exec sleep 2002", "other"),
                  pidMode="task")
    client = execute(task, "ps")
    assert client.until_closed() == ""
    assert b"sleep 2001" in client.output and b"sleep 2002" in client.output
    client = execute(task, "sleep 2003")
    client.until(lambda: client.ready)
    support.wait_for(lambda: any("2003" in one for one in node.commands(task, "main")))
    client.close()
    gone(node, task, "2003")
    node.ecs.stop_task(task=task)


@pytest.mark.parametrize("mode", ("bridge", "host", "none"))
def test_network_modes(execute, node, mode):
    task = launch(node, f"exec_{mode}", box("readlink /proc/self/ns/net >/tmp/net; " + fields.SLEEP,
                                            memory=64), networkMode=mode)
    client = execute(task, script("readlink /proc/self/ns/net; "
                                 "while ! test -s /tmp/net; do sleep 0.05; done; cat /tmp/net"))
    assert client.until_closed() == ""
    own, first = client.output.split()
    assert own == first
    assert (own.decode() == os.readlink("/proc/self/ns/net")) == (mode == "host")
    node.ecs.stop_task(task=task)


def test_memory_counts_against_the_container(execute, node):
    task = launch(node, "exec_memory", box(fields.SLEEP, memory=32))
    client = execute(task, script("x=0123456789abcdef; while :; do x=$x$x; done"))
    # Which of the processes is killed is the kernel's choice.
    assert client.until_closed() in ("The command ended with exit code 137 (signal 9).",
                                     "The container has stopped.")
    node.ecs.stop_task(task=task)


def test_nothing_outlives_the_agent(arn, execute, node):
    """Last: it kills `berth up`. The task goes on, the command does not, and the next agent can run
    some more."""
    client = execute(arn, script("trap : HUP; echo ready; while :; do sleep 0.0502; done"))
    client.until_output(b"ready")
    node.kill()
    gone(node, arn, "0.0502")
    node.start()
    support.wait_for(lambda: node.describe(arn).get("connectivity") == "CONNECTED")
    client = execute(arn, "echo again")
    assert client.until_closed() == "" and client.output == b"again\r\n"

