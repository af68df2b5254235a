"""`berth exec` as a person uses it: on a terminal and in pipes, against a host that the test plays."""
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading

import pytest

import data_channel
import exec_world
import stock_agent
import support
import websocket


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("server"), "--exec-idle-timeout", "90s")
    world = exec_world.ExecWorld(server)
    world.ssm = server.client("ssm")
    yield world
    world.host.disconnect()
    server.stop()


class Exec:
    """A `berth exec` that runs, and the node's end of its session."""

    def __init__(self, world, *words, family="one", terminal=True, stdin=None, before=()):
        self.world = world
        self.task = world.task(family)
        self.master = None
        arguments = [support.BERTH, "exec", "--data", world.berth.data, "--cluster", "x",
                     *before, self.task, *words]
        if terminal:
            self.master, slave = pty.openpty()
            self.resize(100, 30)
            self.modes = termios.tcgetattr(slave)
            self.slave = slave
            self.process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave,
                                            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(
                                                0, termios.TIOCSCTTY, 0))
        else:
            self.process = subprocess.Popen(arguments, stdin=stdin, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE)
        self.asked = world.host.wait("ExecuteCommandMessage",
                                     lambda message: message["taskArn"] == self.task)
        self.agent = world.host.channel(self.asked["sessionId"], self.asked["token"])
        self.agent.ask_handshake()
        self.heard = []
        self.agent.until_handshake()

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def take(self, kind):
        """The next payload of a type; others are kept."""
        while True:
            for at, (payload_type, payload) in enumerate(self.heard):
                if payload_type == kind:
                    del self.heard[at]
                    return payload
            self.heard += self.agent.hear()

    def until(self, wanted):
        """Take input until it ends with the wanted bytes; return all of it."""
        got = b""
        while not got.endswith(wanted):
            got += self.take(data_channel.DATA)
        return got

    def screen(self, wanted):
        """Read the terminal until it shows the wanted bytes."""
        shown = b""
        while wanted not in shown:
            shown += os.read(self.master, 4096)
        return shown

    def end(self, code=None, sentence=""):
        if code is not None:
            self.agent.say(str(code).encode(), data_channel.EXIT_CODE)
        self.agent.close(sentence)
        self.agent.socket.say_close(1000)

    def wait(self):
        """Exit status; the terminal must be as it was."""
        status = self.process.wait(support.PATIENCE)
        if self.master is not None:
            assert termios.tcgetattr(self.slave) == self.modes
            os.close(self.slave)
            os.close(self.master)
        return status


def test_a_terminal(world):
    run = Exec(world, "sh", "-c", "echo $A 'it is'")
    assert run.asked["command"] == """sh -c 'echo $A '\\''it is'\\'''"""
    assert run.asked["idleTimeoutMs"] == 90000  # as the server was told
    assert json.loads(run.take(data_channel.SIZE)) == {"cols": 100, "rows": 30}
    assert not termios.tcgetattr(run.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    run.agent.say(b"$ ")
    run.screen(b"$ ")
    os.write(run.master, b"ls\r\x03\x1a\x04")  # all of it is the command's to understand
    assert run.until(b"\x04") == b"ls\r\x03\x1a\x04"
    run.resize(90, 20)
    assert json.loads(run.take(data_channel.SIZE)) == {"cols": 90, "rows": 20}
    run.agent.say(b"bye\r\n")
    run.screen(b"bye\r\n")
    run.end(code=7)
    assert run.wait() == 7


@pytest.mark.parametrize("code", [0, 1, 137])
def test_the_exit_code_is_the_commands(world, code):
    run = Exec(world, "true", terminal=False, stdin=subprocess.DEVNULL)
    run.end(code)
    assert run.wait() == code
    assert run.process.communicate() == (b"", b"")


def test_what_goes_through_pipes(world):
    run = Exec(world, "cat", terminal=False, stdin=subprocess.PIPE)
    text = b"".join(b"line %d\n" % number for number in range(20000))

    def write():
        run.process.stdin.write(text)
        run.process.stdin.close()
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert run.until(b"\x04") == text + b"\x04"  # the end of input is the terminal's
    run.agent.say(b"one\r\ntwo\r\n")
    run.agent.say(b"three\r")
    run.agent.say(b"not so well\r\n", data_channel.STDERR)
    run.end(0)
    out, err = run.process.stdout.read(), run.process.stderr.read()
    assert run.wait() == 0
    assert (out, err) == (b"one\ntwo\nthree\r", b"not so well\r\n")


def test_half_a_line_takes_two_ends(world, tmp_path):
    path = tmp_path / "input"
    path.write_bytes(b"half")
    with open(path, "rb") as file:
        run = Exec(world, "cat", terminal=False, stdin=file)
    assert run.until(b"\x04\x04") == b"half\x04\x04"
    run.end(0)
    assert run.wait() == 0


def test_a_sentence_of_the_node_is_shown(world):
    run = Exec(world, "no-such", terminal=False, stdin=subprocess.DEVNULL)
    run.end(sentence="The command 'no-such' was not found in the container.")
    assert run.wait() == 1
    assert run.process.stderr.read() == (
        b"berth exec: The command 'no-such' was not found in the container.\n")


def test_a_connection_that_is_lost_comes_back(world):
    run = Exec(world, "sh")
    run.take(data_channel.SIZE)
    # A stranger takes its place and leaves: it comes back with a new token.
    session_id = run.asked["sessionId"]
    resumed = world.ssm.resume_session(SessionId=session_id)
    thief = data_channel.Channel()
    thief.connect(resumed["StreamUrl"], resumed["TokenValue"], ca_file=world.berth.keys["caFile"])
    run.screen(b"the connection was lost")
    with pytest.raises(websocket.Closed):
        while True:
            thief.socket.read()
    run.agent.say(b"welcome back")
    run.screen(b"welcome back")
    os.write(run.master, b"x")
    assert run.until(b"x") == b"x"
    run.end(0)
    assert run.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_the_session(world, number):
    run = Exec(world, "sh")
    run.take(data_channel.SIZE)
    run.process.send_signal(number)
    assert run.wait() == 128 + number
    with pytest.raises(websocket.Closed) as end:
        while True:
            run.agent.hear()
    assert end.value.code == 1000


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGQUIT, signal.SIGSEGV])
def test_the_terminal_is_restored_when_it_dies(world, number):
    run = Exec(world, "sh")
    run.take(data_channel.SIZE)
    run.process.send_signal(number)
    assert run.wait() == -number


def test_a_reader_that_goes_ends_it(world):
    run = Exec(world, "yes", terminal=False, stdin=subprocess.DEVNULL)
    run.process.stdout.close()
    run.agent.say(b"y\r\n")
    assert run.process.wait(support.PATIENCE) == 1
    assert b"writing the output" in run.process.stderr.read()


def test_a_session_that_the_server_ends(world):
    run = Exec(world, "sh")
    run.take(data_channel.SIZE)
    world.ssm.terminate_session(SessionId=run.asked["sessionId"])
    run.screen(b"The session was terminated.")
    assert run.wait() == 1


def exec_fails(world, *arguments):
    return subprocess.run([support.BERTH, "exec", "--data", world.berth.data, *arguments],
                          capture_output=True, text=True, check=False, timeout=support.PATIENCE,
                          stdin=subprocess.DEVNULL)


def test_what_is_refused_is_said(world):
    answer = exec_fails(world, "--cluster", "x", "0" * 32, "sh")
    assert (answer.returncode, answer.stderr) == (
        1, "berth: InvalidParameterException: The referenced task was not found.\n")
    task = world.task("two")
    answer = exec_fails(world, "--cluster", "x", task, "sh")
    assert answer.returncode == 1 and "multiple containers" in answer.stderr
    for arguments in ([], ["task"], ["--nothing", "task", "sh"]):
        assert exec_fails(world, *arguments).returncode == 2, arguments


def test_options_come_before_and_behind_the_task(world):
    run = Exec(world, "--container", "side", "--", "ls", "-l", family="two", terminal=False,
               stdin=subprocess.DEVNULL)
    assert (run.asked["containerName"], run.asked["command"]) == ("side", "ls -l")
    run.end(0)
    assert run.wait() == 0
    run = Exec(world, "ls", "-l", family="two", before=("--container", "app"), terminal=False,
               stdin=subprocess.DEVNULL)
    assert (run.asked["containerName"], run.asked["command"]) == ("app", "ls -l")
    run.end(0)
    assert run.wait() == 0


def test_an_exit_code_outlives_its_session(world):
    """Last: it restarts the server, which then knows nothing of the session."""
    run = Exec(world, "true", terminal=False, stdin=subprocess.DEVNULL)
    run.agent.say(b"5", data_channel.EXIT_CODE)
    while run.agent.pending:
        run.heard += run.agent.hear()
    world.host.disconnect()
    world.berth.stop()
    world.berth.start()
    assert run.wait() == 5
    assert run.process.communicate() == (b"", b"")
