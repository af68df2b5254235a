"""ECS Exec's sessions: what goes through, what ends them, and what strangers cannot do with them."""
import glob
import os
import re
import socket
import ssl
import threading
import urllib.request

import botocore.exceptions
import pytest

import data_channel
import exec_world
import stock_agent
import support
import websocket

WITH_SANITIZER = b"__asan_init" in open(support.BERTH, "rb").read()
NORMAL, UNACCEPTABLE, INVALID, POLICY, TOO_LARGE = 1000, 1003, 1007, 1008, 1009


@pytest.fixture(name="world", scope="module")
def make_world(tmp_path_factory):
    server = stock_agent.server(tmp_path_factory.mktemp("server"))
    world = exec_world.ExecWorld(server)
    world.ssm = server.client("ssm")
    yield world
    world.host.disconnect()
    server.stop()


def metric(world, name):
    context = ssl.create_default_context(cafile=world.berth.keys["caFile"])
    with urllib.request.urlopen(world.berth.endpoint + "/metrics", context=context) as answer:
        [value] = re.findall(rf"^{name} (\S+)$", answer.read().decode(), re.M)
        return float(value)


def closed(channel):
    """The code with which the other end closed; what comes before it is taken."""
    while True:
        try:
            channel.socket.read()
        except websocket.Closed as end:
            return end.code


def stranger(world, url, **more):
    return websocket.WebSocket(url, timeout=support.PATIENCE, ca_file=world.berth.keys["caFile"], **more)


def refused(world, url, **more):
    with pytest.raises(websocket.Refused) as answer:
        stranger(world, url, **more)
    return answer.value.status


def over(world, session):
    """Whether a session is over: there is nothing to resume."""
    return world.ssm.resume_session(SessionId=session["sessionId"])["TokenValue"] == ""


def test_both_ways_to_the_end(world):
    answer, client, agent = world.pair(command="sh -c 'exit 3'")
    client.say(b"echo hello\n")
    while not (heard := agent.hear()):
        pass
    assert heard == [(data_channel.DATA, b"echo hello\n")]
    client.resize(120, 40)
    while not (heard := agent.hear()):
        pass
    assert heard == [(data_channel.SIZE, b'{"cols": 120, "rows": 40}')]
    agent.say(b"hello\r\n" * 1000)
    client.until(lambda: len(client.output) == 7000)
    assert client.output == b"hello\r\n" * 1000
    agent.say(b"3", data_channel.EXIT_CODE)
    client.until(lambda: client.exit_code == 3)
    agent.close("bye")
    assert client.until_closed() == "bye"
    agent.socket.say_close(NORMAL)
    assert closed(client) == NORMAL
    assert over(world, answer["session"])


def test_the_node_is_told_what_to_run(world):
    task = world.task("two")
    session = world.execute(task, command="ls -l '/a b'", container="side")["session"]
    asked = world.host.asked(session["sessionId"])
    assert re.fullmatch(r"ecs-execute-command-[0-9a-z]{17}", session["sessionId"])
    assert asked["token"] != session["tokenValue"]
    assert {key: asked[key] for key in ("taskArn", "containerName", "command", "idleTimeoutMs")} == {
        "taskArn": task, "containerName": "side", "command": "ls -l '/a b'",
        "idleTimeoutMs": 20 * 60 * 1000}


def test_the_client_that_leaves_ends_the_session(world):
    answer, client, agent = world.pair()
    client.say(b"last words")
    client.socket.say_close(NORMAL)
    heard = []
    while not heard:
        heard = agent.hear()
    assert heard == [(data_channel.DATA, b"last words")]
    assert closed(agent) == NORMAL
    assert over(world, answer["session"])


def test_a_client_comes_back_with_a_new_token(world):
    answer, client, agent = world.pair()
    session = answer["session"]
    client.socket.close()  # no word of farewell: the line is cut
    agent.say(b"said meanwhile")
    resumed = world.ssm.resume_session(SessionId=session["sessionId"])
    assert resumed["SessionId"] == session["sessionId"]
    assert resumed["StreamUrl"] == session["streamUrl"]
    assert resumed["TokenValue"] != session["tokenValue"]
    client.connect(resumed["StreamUrl"], resumed["TokenValue"],
                   ca_file=world.berth.keys["caFile"])
    data_channel.together((client, agent), lambda: client.output == b"said meanwhile")
    client.say(b"still here")
    data_channel.together((client, agent), lambda: agent.heard)
    assert agent.heard == [(data_channel.DATA, b"still here")]

    # A second connection takes the first one's place.
    older = client.socket
    token = world.ssm.resume_session(SessionId=session["sessionId"])["TokenValue"]
    client.connect(session["streamUrl"], token, ca_file=world.berth.keys["caFile"])
    with pytest.raises(websocket.Closed) as end:
        while True:
            older.read()
    assert end.value.code == POLICY
    agent.say(b" and on")
    data_channel.together((client, agent), lambda: client.output == b"said meanwhile and on")


def test_what_was_lost_with_a_line_is_sent_again(world):
    """The server cannot know what of its frames a client took that is gone: the node hears of it."""
    answer, client, agent = world.pair()
    agent.say(b"lost")
    assert client.socket.readable(support.PATIENCE)  # it is there, and never read
    client.socket.close()
    token = world.ssm.resume_session(SessionId=answer["session"]["sessionId"])["TokenValue"]
    client.connect(answer["session"]["streamUrl"], token, ca_file=world.berth.keys["caFile"])
    while agent.told_anew == 0:
        assert agent.hear() == []
    client.until_output(b"lost")
    while agent.pending:
        agent.hear()


def test_a_node_comes_back(world):
    answer, client, agent = world.pair()
    session_id = answer["session"]["sessionId"]
    agent.socket.close()
    client.say(b"while it was away")
    # The node keeps its token for the life of the session.
    world.host.open_channel(agent, session_id, world.tokens[session_id])
    data_channel.together((client, agent), lambda: agent.heard)
    assert agent.heard == [(data_channel.DATA, b"while it was away")]
    agent.say(b"back")
    data_channel.together((client, agent), lambda: client.output == b"back")


def test_terminate_session(world):
    answer, client, agent = world.pair()
    session_id = answer["session"]["sessionId"]
    assert world.ssm.terminate_session(SessionId=session_id)["SessionId"] == session_id
    assert client.until_closed() == "The session was terminated."
    assert (closed(client), closed(agent)) == (NORMAL, NORMAL)
    assert over(world, answer["session"])
    world.ssm.terminate_session(SessionId=session_id)  # once more is no error


def test_resume_what_is_not_there(world):
    assert over(world, {"sessionId": "ecs-execute-command-" + "0" * 17})
    for name in ("user-0123", "ecs-execute-command-" + "A" * 17, "ecs-execute-command-1"):
        with pytest.raises(botocore.exceptions.ClientError) as answer:
            world.ssm.resume_session(SessionId=name)
        assert answer.value.response["Error"] == {
            "Code": "DoesNotExistException",
            "Message": f"Session '{name}' does not exist. Berth has sessions of ECS Exec only."}
    # A session is its realm's: from another region there is none.
    session = world.execute(world.task())["session"]
    elsewhere = world.berth.client("ssm", region_name="eu-west-1")
    assert elsewhere.resume_session(SessionId=session["sessionId"])["TokenValue"] == ""
    elsewhere.terminate_session(SessionId=session["sessionId"])
    assert not over(world, session)


def test_who_may_open_a_channel(world):
    session = world.execute(world.task())["session"]
    asked = world.host.asked(session["sessionId"])
    url = session["streamUrl"]
    base = url.split("?")[0]
    unknown = url.replace(session["sessionId"], "ecs-execute-command-" + "0" * 17)
    assert refused(world, unknown) == 404
    assert refused(world, base) == 400
    assert refused(world, base + "?role=root") == 400
    assert refused(world, base + "/more?role=publish_subscribe") == 404
    agent_url = world.host.channel_url(session["sessionId"])
    region = world.berth.keys["region"]
    user = (world.berth.keys["accessKeyId"], world.berth.keys["secretAccessKey"])
    other = exec_world.Host(world.berth, "x")
    assert refused(world, agent_url) == 403
    assert refused(world, agent_url, keys=user, region=region) == 403
    assert refused(world, agent_url, keys=other.keys, region=region) == 403
    assert refused(world, agent_url, keys=(world.host.keys[0], "wrong"), region=region) == 403

    for first, code in [
            (data_channel.open_input("wrong"), POLICY),
            (data_channel.open_input(asked["token"]), POLICY),  # the other side's
            (data_channel.open_input(session["tokenValue"] + "0"), POLICY),
            (data_channel.open_input(session["tokenValue"][:-1]), POLICY),
            (data_channel.open_input(""), POLICY), ("{}", POLICY), ("no json", INVALID),
            (data_channel.open_input(session["tokenValue"]).encode(), INVALID),
            ('{"TokenValue":' * 50, INVALID), ('"' + "x" * 70000 + '"', TOO_LARGE)]:
        end = data_channel.Channel()
        end.socket = stranger(world, url)
        end.socket.send(first, websocket.BINARY if isinstance(first, bytes) else websocket.TEXT)
        assert closed(end) == code, first
    agent = data_channel.Agent()
    agent.socket = stranger(world, agent_url, keys=world.host.keys, region=region)
    agent.socket.send(data_channel.open_input(session["tokenValue"]))
    assert closed(agent) == POLICY

    # None of that harmed the session; its token is good, once.
    client, agent = world.ends(session, asked)
    second = data_channel.Channel()
    second.connect(url, session["tokenValue"], ca_file=world.berth.keys["caFile"])
    assert closed(second) == POLICY
    agent.say(b"fine")
    client.until_output(b"fine")


def test_frames_that_are_none(world):
    for bad, opcode, code in [("text", websocket.TEXT, UNACCEPTABLE),
                              (b"x" * 70000, websocket.BINARY, TOO_LARGE)]:
        answer, client, agent = world.pair()
        client.socket.send(bad, opcode)
        assert closed(client) == code
        # It may come back, as after any other loss.
        token = world.ssm.resume_session(SessionId=answer["session"]["sessionId"])["TokenValue"]
        client.connect(answer["session"]["streamUrl"], token,
                       ca_file=world.berth.keys["caFile"])
        agent.say(b"on")
        client.until_output(b"on")
        agent.socket.send(bad, opcode)
        assert closed(agent) == code


def test_what_is_no_message_reaches_the_other_end_as_it_is(world):
    _, client, agent = world.pair()
    for frame in (b"\0", b"x" * 120, data_channel.encode("strange", b"?")):
        client.socket.send(frame, websocket.BINARY)
        while (heard := agent.socket.read()) != frame:
            assert heard == b"{}" or data_channel.decode(heard)["type"] == data_channel.ACKNOWLEDGE


def test_a_reader_that_does_not_read_costs_little(world):
    """The sender has to wait; the server keeps some frames, and none is lost."""
    _, client, agent = world.pair()
    piece = bytes(range(256)) * 4
    total = 32 << 20
    before = held_kib(world.berth.process.pid)
    sent = []

    def talk():
        for number in range(total // len(piece)):
            agent.socket.send(data_channel.encode(data_channel.OUTPUT, piece, agent.next_out + number,
                                                  payload_type=data_channel.DATA), websocket.BINARY)
            sent.append(number)

    agent.socket.socket.settimeout(None)
    talker = threading.Thread(target=talk, daemon=True)
    talker.start()

    def stuck():
        """the sender waits"""
        first = len(sent)
        threading.Event().wait(0.5)
        return len(sent) == first
    support.wait_for(stuck)
    assert len(sent) < total // len(piece) // 2, "nobody had to wait"
    if not WITH_SANITIZER:  # which keeps what is freed for a while
        assert held_kib(world.berth.process.pid) - before < 4096, "KiB that the server took"
    expected = client.next_in
    got = 0
    while got < total // len(piece):
        message = data_channel.decode(client.socket.read())
        if message["type"] == data_channel.OUTPUT:
            assert (message["sequence"], message["payload"]) == (expected, piece)
            expected += 1
            got += 1
    talker.join(support.PATIENCE)
    assert not talker.is_alive()


def held_kib(pid):
    """Memory of a process that is no file's: pages of its program may come and go at any time."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return int(re.search(r"RssAnon:\s+(\d+)", status.read()).group(1))


def test_sockets_that_never_speak(world):
    """They are few, and not for long; the session is not harmed."""
    session = world.execute(world.task())["session"]
    asked = world.host.asked(session["sessionId"])
    silent = []
    with pytest.raises(websocket.Refused) as answer:
        for _ in range(20):
            silent.append(stranger(world, session["streamUrl"]))
    assert answer.value.status == 503
    assert len(silent) == 4
    agent = world.host.channel(session["sessionId"], asked["token"])
    agent.ask_handshake()
    for one in silent:
        one.socket.settimeout(support.PATIENCE)
        with pytest.raises(websocket.Closed):
            one.read()
    client = data_channel.Client(session, ca_file=world.berth.keys["caFile"])
    client.until(lambda: client.session_type == "InteractiveCommands")


def test_a_node_that_does_not_come(world):
    session = world.execute(world.task())["session"]
    client = data_channel.Client(session, ca_file=world.berth.keys["caFile"])
    assert re.fullmatch(r"Node \S+ did not begin the session\. Try again later\.",
                        client.until_closed())
    assert closed(client) == NORMAL
    assert over(world, session)


def test_sessions_of_a_task_are_limited(world):
    task = world.task()
    sessions = [world.execute(task)["session"] for _ in range(20)]
    with pytest.raises(botocore.exceptions.ClientError) as answer:
        world.execute(task)
    assert answer.value.response["Error"] == {
        "Code": "ThrottlingException",
        "Message": "Rate exceeded: too many sessions of ECS Exec are open in this task."}
    open_now = metric(world, "berth_exec_sessions")
    for session in sessions:
        world.ssm.terminate_session(SessionId=session["sessionId"])
    # Those of other tests may have come to their end as well.
    assert metric(world, "berth_exec_sessions") <= open_now - 20
    world.execute(task)


def test_transcripts_are_kept_where_the_cluster_wants_them(world):
    folder = os.path.join(world.berth.data, "server", "exec")

    def files(session):
        return glob.glob(os.path.join(folder, f"*{session['sessionId']}*"))

    def configure(**execute):
        world.ecs.update_cluster(cluster="x", configuration={"executeCommandConfiguration": execute})

    def talk():
        answer, client, agent = world.pair(command="date")
        agent.say(b"output one\n")
        client.until_output(b"one\n")
        client.say(b"never in a transcript\n")
        world.again(agent)  # what was sent is sent once more
        agent.say(b"output two\n", data_channel.STDERR)
        client.until_output(b"two\n")
        agent.close()
        client.until_closed()
        agent.socket.say_close(NORMAL)
        assert closed(client) == NORMAL
        support.wait_for(lambda: over(world, answer["session"]))
        return answer

    configure(logging="NONE")
    assert files(talk()["session"]) == []
    configure(logging="DEFAULT")  # that of the container, which has no awslogs
    assert files(talk()["session"]) == []
    configure(logging="OVERRIDE", logConfiguration={"cloudWatchLogGroupName": "g"})
    answer = talk()
    [path] = files(answer["session"])
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path, encoding="utf-8") as file:
        text = file.read()
    account = world.words["account"]
    assert re.fullmatch(
        rf"session {answer['session']['sessionId']}\ntask {answer['taskArn']}\ncontainer app\n"
        rf"caller arn:aws:iam::{account}:root\ncommand date\nbegan \d{{8}}T\d{{6}}Z\n\n"
        r"output one\noutput two\n\nended \d{8}T\d{6}Z\n", text), text
    configure(logging="DEFAULT")


def test_a_server_that_starts_again_has_no_sessions(world):
    """Last: it restarts the server."""
    answer, client, agent = world.pair()
    world.host.disconnect()
    world.berth.stop()
    with pytest.raises((websocket.Closed, socket.error)):
        while True:
            client.socket.read()
    world.berth.start()
    assert over(world, answer["session"])
    url = world.host.channel_url(answer["session"]["sessionId"])
    assert refused(world, url, keys=world.host.keys, region=world.berth.keys["region"]) == 404
