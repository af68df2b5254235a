"""ECS Exec as its clients have it: commands in real containers, through the server and the node.

The client is tests/data_channel.py, `berth exec`, and, where there is a session-manager-plugin, the
AWS CLI with it: docs/exec-clients.md tells how to build one.
"""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time

import pytest

import data_channel
import support
import websocket
from fields import SLEEP, box, make_node

CONTAINERS = [box(SLEEP), box(SLEEP, name="side", essential=False,
                              environment=[{"name": "WORD", "value": "of the side"}])]
PLUGIN = shutil.which("session-manager-plugin")


@pytest.fixture(name="node", scope="module")
def start_node(tmp_path_factory):
    yield from make_node(tmp_path_factory.mktemp("node"))


@pytest.fixture(name="arn", scope="module")
def start_task(node):
    arn = node.launch("exec", {
        "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256",
        "memory": "512", "containerDefinitions": CONTAINERS},
        {"launchType": "FARGATE", "enableExecuteCommand": True})
    node.until(arn, lastStatus="RUNNING")
    return arn


def session_of(node, arn, command, container="main"):
    return node.ecs.execute_command(task=arn, container=container, command=command,
                                    interactive=True)


def client_of(node, arn, command, container="main", **more):
    return data_channel.Client(session_of(node, arn, command, container)["session"], **more)


def words_of(node, arn, container="main"):
    """Command lines in a container, words by blanks."""
    return [one.replace("\0", " ").strip() for one in node.commands(arn, container)]


def test_the_agent_is_there(node, arn):
    for container in node.describe(arn)["containers"]:
        [agent] = container["managedAgents"]
        assert (agent["name"], agent["lastStatus"]) == ("ExecuteCommandAgent", "RUNNING")
        assert agent["lastStartedAt"] and container["runtimeId"]


def test_a_session_as_the_plugin_has_it(node, arn):
    client = client_of(node, arn, "/bin/sh", "side")
    client.until(lambda: client.ready)
    assert client.session_type == "InteractiveCommands"
    client.resize(123, 45)
    client.say(b'echo "word $WORD"; stty size; id -u\r')
    client.until(lambda: re.search(rb"word of the side\r\n45 123\r\n0\r\n", client.output))
    client.say(b"exit 3\r")
    assert client.until_closed() == ""
    # Amazon's plugin would print it.
    assert client.exit_code is None


def test_a_client_that_says_so_gets_the_exit_code(node, arn):
    client = client_of(node, arn, "sh -c 'exit 42'", actions=["ExitCode"])
    client.until_closed()
    assert client.exit_code == 42


def test_much_output_and_a_cut_line(node, arn):
    """A client that loses its connection in the middle goes on where it was."""
    client = client_of(node, arn, "seq 1 20000")
    client.until_output(b"500\r\n")
    client.socket.close()
    session_id = client.session_id
    resumed = node.client("ssm").resume_session(SessionId=session_id)
    client.connect(resumed["StreamUrl"], resumed["TokenValue"])
    client.until_closed()
    assert client.output == b"".join(b"%d\r\n" % number for number in range(1, 20001))


def test_what_the_node_refuses_is_said(node, arn):
    client = client_of(node, arn, "no-such-program")
    assert "no-such-program" in client.until_closed()
    client = client_of(node, arn, "sh -c 'unfinished")
    assert client.until_closed() != ""


def test_a_client_that_leaves_ends_the_command(node, arn):
    client = client_of(node, arn, "sleep 4321")
    client.until(lambda: client.ready)
    support.wait_for(lambda: "sleep 4321" in words_of(node, arn))
    client.socket.say_close(1000)
    support.wait_for(lambda: "sleep 4321" not in words_of(node, arn))


def test_terminate_session_ends_the_command(node, arn):
    client = client_of(node, arn, "sleep 4322")
    client.until(lambda: client.ready)
    support.wait_for(lambda: "sleep 4322" in words_of(node, arn))
    node.client("ssm").terminate_session(SessionId=client.session_id)
    assert client.until_closed() == "The session was terminated."
    support.wait_for(lambda: "sleep 4322" not in words_of(node, arn))


# ---- berth exec

def run(node, arn, *words, **more):
    return subprocess.run([support.BERTH, "exec", "--data", node.data, arn, "--container", "main",
                           *words], capture_output=True,
                          timeout=support.PATIENCE, check=False, **more)


def test_berth_exec(node, arn):
    done = run(node, arn, "sh", "-c", "echo it\\'s; exit 9", stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (9, b"it's\n", b"")
    done = run(node, arn, "echo one two", stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (0, b"one two\n")
    done = run(node, arn, "sh", "-c", "kill -9 $$", stdin=subprocess.DEVNULL)
    assert done.returncode == 137
    done = run(node, arn, "wc -l", input=b"".join(b"%d\n" % n for n in range(3000)))
    assert done.returncode == 0 and done.stdout.split()[-1] == b"3000"
    done = run(node, arn, "no-such-program", stdin=subprocess.DEVNULL)
    assert done.returncode != 0 and b"no-such-program" in done.stderr


def test_a_server_at_one_of_a_names_addresses(node, arn, tmp_path):
    """The first address of the name is one at which nobody listens."""
    (tmp_path / "hosts").write_text("::1 several.test\n127.0.0.1 several.test\n", encoding="utf-8")
    with open(f"{node.data}/client.json", encoding="utf-8") as file:
        config = json.load(file)
    assert "//127.0.0.1:" in config["endpoint"]
    config["endpoint"] = config["endpoint"].replace("127.0.0.1", "several.test")
    (tmp_path / "client.json").write_text(json.dumps(config), encoding="utf-8")
    see = 'mount --bind "$0" /etc/hosts && getent ahosts several.test >&2 && exec "$@"'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", see, tmp_path / "hosts", support.BERTH,
                           "exec", "--data", tmp_path, arn, "--container", "main", "echo", "here"],
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=support.PATIENCE,
                          check=False)
    if not done.stderr.startswith(b"::1 "):
        pytest.skip(f"this machine prefers another address: {done.stderr}")
    assert (done.returncode, done.stdout) == (0, b"here\n"), done


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, arguments, environment=None):
        self.shown = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
            os.execvpe(arguments[0], arguments, environment or os.environ)

    def until(self, wanted, seconds=support.PATIENCE):
        """Read until it shows something; fail with what it showed instead."""
        end = time.monotonic() + seconds
        while re.search(wanted, self.shown) is None:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {wanted} within {seconds} s: {self.shown}"
            try:
                more = os.read(self.fd, 4096)
            except OSError:
                more = b""
            assert more, f"it ended without {wanted}: {self.shown}"
            self.shown += more

    def type(self, keys):
        os.write(self.fd, keys)

    def status(self):
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def talk(terminal):
    """A shell on a terminal: output, the window, an interrupt. Amazon's plugin has the terminal turn
    each line's end into one more."""
    terminal.until(rb"# ")
    terminal.type(b'echo wo""rks $((6*7)); stty size\r')
    terminal.until(rb"works 42\r+\n33 111\r+\n")
    terminal.type(b"sh -c 'echo beg\"\"un; exec sleep 1000'\r")
    terminal.until(rb"begun\r+\n")
    terminal.type(b"\x03")
    terminal.until(rb"\^C\r+\n/ # ")  # an interrupt throws away what is typed before it is taken
    terminal.type(b'echo still he""re\r')
    terminal.until(rb"still here\r+\n")


def test_berth_exec_on_a_terminal(node, arn):
    terminal = Terminal([support.BERTH, "exec", "--data", node.data, "--container", "main", arn,
                         "sh"])
    talk(terminal)
    terminal.type(b"exit 6\r")
    assert terminal.status() == 6


# ---- the AWS CLI

@pytest.mark.skipif(PLUGIN is None, reason="there is no session-manager-plugin: see docs/exec-clients.md")
@pytest.mark.parametrize("program", support.aws_programs())
def test_the_aws_cli_with_amazons_plugin(node, arn, program):
    terminal = Terminal([program, "--endpoint-url", node.keys["endpoint"], "ecs",
                         "execute-command", "--cluster", "default", "--task", arn, "--container",
                         "main", "--interactive", "--command", "/bin/sh"], node.environment())
    talk(terminal)
    terminal.type(b"exit\r")
    terminal.until(rb"Exiting session with sessionId: ecs-execute-command-[0-9a-z]{17}\.")
    assert terminal.status() == 0


@pytest.mark.skipif(PLUGIN is None, reason="there is no session-manager-plugin: see docs/exec-clients.md")
def test_amazons_plugin_comes_back(node, arn):
    """The server closes its connection; it asks for a new token at our endpoint."""
    answer = session_of(node, arn, "/bin/sh")
    session = answer["session"]
    runtime = next(one["runtimeId"] for one in node.describe(arn)["containers"]
                   if one["name"] == "main")
    terminal = Terminal(
        [PLUGIN, json.dumps({"SessionId": session["sessionId"], "StreamUrl": session["streamUrl"],
                             "TokenValue": session["tokenValue"]}),
         node.keys["region"], "StartSession", "", json.dumps({
             "Target": f"ecs:default_{arn.rsplit('/', 1)[1]}_{runtime}"}), node.keys["endpoint"]],
        node.environment())
    terminal.until(rb"# ")
    ssm = node.client("ssm")
    resumed = ssm.resume_session(SessionId=session["sessionId"])
    thief = data_channel.Channel()
    thief.connect(resumed["StreamUrl"], resumed["TokenValue"])
    with pytest.raises(websocket.Closed):  # the plugin takes its place back
        while True:
            thief.socket.read()
    terminal.type(b'echo ba""ck\r')
    terminal.until(rb"back\r+\n")
    ssm.terminate_session(SessionId=session["sessionId"])
    terminal.until(rb"The session was terminated\.")
    terminal.status()
