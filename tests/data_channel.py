"""Both ends of an ECS Exec data channel: the protocol of AWS's session-manager-plugin.

A `Channel` is one end on a websocket: it numbers, acknowledges and orders messages. `Client` is the
plugin's end: it opens the stream URL, answers the handshake and collects what the command says.
"""
import contextlib
import hashlib
import json
import ssl
import struct
import time
import uuid

import support
import websocket

HEADER = struct.Struct(">I32sIQqQ16s32sII")
INPUT, OUTPUT, ACKNOWLEDGE, CLOSED = (
    "input_stream_data", "output_stream_data", "acknowledge", "channel_closed")
(DATA, ERROR, SIZE, PARAMETER, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE) = range(
    1, 8)
FLAG, STDERR, EXIT_CODE = 10, 11, 12
PIECE = 1024
RESEND_S = 0.5
PATIENCE_S = support.PATIENCE * support.SLOW


def encode(kind, payload=b"", sequence=0, flags=0, payload_type=0, message_id=None):
    """A message as a binary frame."""
    number = (message_id or uuid.uuid4()).bytes
    return HEADER.pack(116, kind.encode().ljust(32), 1, time.time_ns() // 1_000_000, sequence,
                       flags, number[8:] + number[:8], hashlib.sha256(payload).digest(),
                       payload_type, len(payload)) + payload


def decode(frame):
    """A frame as a dictionary; what is no message fails."""
    size, kind, version, created, sequence, flags, number, digest, payload_type, length = \
        HEADER.unpack(frame[:120])
    payload = frame[120:]
    assert (size, version, length) == (116, 1, len(payload)), (size, version, length, len(payload))
    assert created > 0 and digest == hashlib.sha256(payload).digest()
    return {"type": kind.decode().rstrip(" \0"), "sequence": sequence, "flags": flags,
            "id": uuid.UUID(bytes=number[8:] + number[:8]), "payload_type": payload_type,
            "payload": payload}


def open_input(token):
    """The first frame of both ends."""
    return json.dumps({"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4()),
                       "TokenValue": token, "ClientId": str(uuid.uuid4()),
                       "ClientVersion": "1.2.0.0"})


class Channel:
    """One end. It outlives its connection: `connect` again and what was not acknowledged is sent
    anew. What goes out on a line that is cut may be lost without anyone's knowing, so an end that
    listens also sends again from time to time, as every end of this protocol does."""

    sends, takes = INPUT, OUTPUT

    def __init__(self):
        self.socket = None
        self.next_out = self.next_in = 0
        self.pending = {}  # by number: frames that were not acknowledged
        self.early = {}
        self.told_anew = 0  # how often the server said so
        self.closed = None  # the other end's channel_closed

    def __str__(self):
        return (f"{type(self).__name__} waits for number {self.next_in} and the acknowledgement of "
                f"{sorted(self.pending)}")

    def connect(self, url, token, **more):
        self.socket = websocket.WebSocket(url, timeout=PATIENCE_S, **more)
        self.socket.send(open_input(token))
        self.again()

    def again(self):
        """Send what was not acknowledged."""
        for frame in self.pending.values():
            self.answer(frame)

    def answer(self, frame):
        """Send to an end that may have gone by now: who reads hears that, and what it said before."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.socket.send(frame, websocket.BINARY)

    def say(self, payload, payload_type=DATA):
        """Send stream data, in pieces as everyone does."""
        for at in range(0, len(payload), PIECE):
            frame = encode(self.sends, payload[at:at + PIECE], self.next_out,
                           1 if self.next_out == 0 else 0, payload_type)
            self.pending[self.next_out] = frame
            self.next_out += 1
            self.socket.send(frame, websocket.BINARY)

    def say_json(self, value, payload_type):
        self.say(json.dumps(value).encode(), payload_type)

    def hear(self):
        """The next messages of the stream in order, each as (payload type, payload); none when what
        came was something else. Raises websocket.Closed."""
        until = time.monotonic() + PATIENCE_S
        while not self.socket.readable(RESEND_S):
            if time.monotonic() > until:
                raise TimeoutError(f"nothing came for {PATIENCE_S} s: {self}")
            self.again()
        frame = self.socket.read()
        if frame.startswith(b"{"):
            return self.told(json.loads(frame))
        message = decode(frame)
        if message["type"] == ACKNOWLEDGE:
            self.pending.pop(json.loads(message["payload"])["AcknowledgedMessageSequenceNumber"],
                             None)
        elif message["type"] == CLOSED:
            self.closed = json.loads(message["payload"])
        elif message["type"] == self.takes:
            self.acknowledge(message)
            self.early[message["sequence"]] = (message["payload_type"], message["payload"])
        ready = []
        while self.next_in in self.early:
            ready.append(self.early.pop(self.next_in))
            self.next_in += 1
        for old in [number for number in self.early if number < self.next_in]:
            del self.early[old]
        return ready

    def told(self, word):
        """The server says to a node, as text, that it is there, and when its client came anew."""
        if word.get("ClientConnectedAnew"):
            self.told_anew += 1
            self.again()
        return []

    def acknowledge(self, message):
        self.answer(encode(ACKNOWLEDGE, json.dumps({
            "AcknowledgedMessageType": message["type"],
            "AcknowledgedMessageId": str(message["id"]),
            "AcknowledgedMessageSequenceNumber": message["sequence"],
            "IsSequentialMessage": True}).encode(), flags=3))

    def close(self, output=""):
        """Say that the channel is closed."""
        number = uuid.uuid4()
        self.socket.send(encode(CLOSED, json.dumps({
            "MessageId": str(number), "CreatedDate": "0", "DestinationId": "d", "SessionId": "s",
            "MessageType": CLOSED, "SchemaVersion": 1, "Output": output}).encode(),
            message_id=number), websocket.BINARY)


def together(ends, wanted):
    """Let the ends take what comes to either of them until the function says so. What is lost with
    a line comes only when its sender is listening, too: so it is for tests that cut lines."""
    until = time.monotonic() + PATIENCE_S
    again = time.monotonic() + RESEND_S
    while not wanted():
        for end in ends:
            if end.socket.readable(0.02):
                end.take()
        if time.monotonic() > until:
            raise TimeoutError(f"not within {PATIENCE_S} s: " + "; ".join(map(str, ends)))
        if time.monotonic() > again:
            again = time.monotonic() + RESEND_S
            for end in ends:
                end.again()


class Client(Channel):
    """The plugin's end. `actions` are the handshake's that it says it did besides."""

    def __init__(self, session, actions=(), **more):
        super().__init__()
        self.output = b""
        self.exit_code = None
        self.actions = actions
        self.session_type = None
        self.ready = False
        self.session_id = session["sessionId"]
        self.connect(session["streamUrl"], session["tokenValue"], **more)

    def take(self):
        """Wait for a frame and what it brings."""
        for payload_type, payload in self.hear():
            if payload_type == HANDSHAKE_REQUEST:
                self.shake(json.loads(payload))
            elif payload_type == HANDSHAKE_COMPLETE:
                self.ready = True
            elif payload_type in (DATA, STDERR):
                self.output += payload
            elif payload_type == EXIT_CODE:
                self.exit_code = int(payload)

    def shake(self, request):
        done = []
        for action in request["RequestedClientActions"]:
            assert action["ActionType"] == "SessionType", action
            parameters = action["ActionParameters"]
            self.session_type = parameters["SessionType"]
            done.append({"ActionType": "SessionType", "ActionStatus": 1, "ActionResult": None,
                         "Error": ""})
        done += [{"ActionType": name, "ActionStatus": 1} for name in self.actions]
        self.say_json({"ClientVersion": "1.2.0.0", "ProcessedClientActions": done, "Errors": []},
                      HANDSHAKE_RESPONSE)

    def until(self, wanted):
        """Take frames until the function says so."""
        while not wanted():
            self.take()

    def until_output(self, text):
        self.until(lambda: text in self.output)

    def until_closed(self):
        """The sentence of the other end's channel_closed."""
        self.until(lambda: self.closed is not None)
        return self.closed["Output"]

    def resize(self, columns, rows):
        self.say_json({"cols": columns, "rows": rows}, SIZE)


class Agent(Channel):
    """The node's end, for tests of what is between."""

    sends, takes = OUTPUT, INPUT

    def __init__(self):
        super().__init__()
        self.heard = []  # by take

    def take(self):
        self.heard += self.hear()

    def ask_handshake(self):
        self.say_json({"AgentVersion": "3.1.0.0", "RequestedClientActions": [
            {"ActionType": "SessionType", "ActionParameters": {
                "SessionType": "InteractiveCommands", "Properties": {}}}]}, HANDSHAKE_REQUEST)

    def until_handshake(self):
        while True:
            for payload_type, _ in self.hear():
                if payload_type == HANDSHAKE_RESPONSE:
                    self.say_json({"HandshakeTimeToComplete": 1, "CustomerMessage": ""},
                                  HANDSHAKE_COMPLETE)
                    return
