"""Hostile requests, generated from botocore's model: always a typed 4xx, 501 by name, or a closed
connection; never another 5xx, a hang, or growth."""
import http.client
import json
import os
import random
import socket

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session
import pytest

import support

TARGET = "AmazonEC2ContainerServiceV20141113."
SEED = 20141113
PER_OPERATION = 60


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


class Generator:
    """Random values for the shapes of a service, mostly right, sometimes wrong on purpose."""

    def __init__(self, dice):
        self.dice = dice

    def wrong(self):
        return self.dice.choice([
            None, True, -1, 0, 2**31, 2**63, -2**63 - 1, 1e308, 0.5, "", "x" * 300, "\u0000",
            "\U0001f433" * 40, "../../etc/passwd", "arn:aws:ecs:::", [], {}, [None], [[]],
            {"": ""}, "a" * 100000, "%s%n", "-1", "1 vCPU", "\ud7ff"])

    def value(self, shape, depth=0):
        if self.dice.random() < 0.12 or depth > 8:
            return self.wrong()
        kind = shape.type_name
        if kind == "structure":
            names = list(shape.members)
            chosen = [name for name in names if self.dice.random() < 0.5]
            return {name: self.value(shape.members[name], depth + 1) for name in chosen}
        if kind == "list":
            return [self.value(shape.member, depth + 1) for _ in range(self.dice.randrange(4))]
        if kind == "map":
            return {f"k{i}":
                    self.value(shape.value, depth + 1) for i in range(self.dice.randrange(4))}
        if kind == "string":
            if shape.enum:
                return self.dice.choice(shape.enum + ["NO_SUCH_VALUE"])
            return self.dice.choice(["default", "hello", "x", "a-b_c", "256", "512", "awsvpc",
                                     "hello:1", "0" * 32, "a" * 256, "no such thing", "é"])
        if kind in ("integer", "long"):
            return self.dice.choice([0, 1, 2, 10, 80, 256, 512, 70000, -5, 2**31 - 1])
        if kind in ("float", "double"):
            return self.dice.choice([0.0, 1.5, -3.25, 1e30])
        if kind == "boolean":
            return self.dice.choice([True, False])
        return self.dice.choice([0, 1700000000, "x"])


class Target:
    """A server under attack."""

    def __init__(self, berth):
        keys = berth.keys
        self.berth = berth
        self.endpoint = keys["endpoint"]
        self.signer = botocore.auth.SigV4Auth(
            botocore.credentials.Credentials(keys["accessKeyId"], keys["secretAccessKey"]), "ecs",
            keys["region"])
        self.counts = {}
        self.connection = None

    def send(self, operation, body):
        request = botocore.awsrequest.AWSRequest(
            "POST", self.endpoint + "/", data=body,
            headers={"X-Amz-Target": TARGET + operation,
                     "Content-Type": "application/x-amz-json-1.1"})
        self.signer.add_auth(request)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.berth.address, self.berth.port,
                                                         timeout=20)
        try:
            self.connection.request("POST", "/", body, dict(request.headers))
            answer = self.connection.getresponse()
            text = answer.read()
        except (ConnectionError, http.client.HTTPException):
            self.connection = None
            self.count("closed")
            return
        self.count(answer.status)
        decoded = json.loads(text)
        if answer.status == 501:
            assert operation in decoded["message"]
        else:
            assert answer.status == 200 or (400 <= answer.status < 500 and decoded["__type"]), (
                operation, answer.status, text[:200], body[:300])
        if answer.getheader("Connection", "") == "close":
            self.connection = None

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def alive(self):
        assert self.berth.process.poll() is None, self.berth.tail()


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmRSS")))


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("hostile"), command="server").start()
    berth.client().create_cluster(clusterName="default")
    yield Target(berth)
    assert berth.stop() == 0


def test_generated_requests(target):
    dice = random.Random(SEED)
    model = botocore.session.get_session().get_service_model("ecs")
    generator = Generator(dice)
    began = None
    for round_number in range(PER_OPERATION):
        for name in model.operation_names:
            shape = model.operation_model(name).input_shape
            # What cannot be written as JSON at all is another test's.
            body = json.dumps(generator.value(shape)).encode("utf-8", "surrogatepass")
            target.send(name, body)
        target.alive()
        began = began or (memory_kib(target.berth.process.pid) if round_number == 10 else None)
    grown = memory_kib(target.berth.process.pid) - began
    print(f"seed {SEED}: {sum(target.counts.values())} requests, answers {target.counts}, "
          f"grown by {grown} KiB")
    assert grown < 64 * 1024


@pytest.mark.parametrize("body", [
    b"", b"null", b"1", b'"x"', b"{", b"}", b'{"a"', b'{"a":1,}', b'{"a":1}{"b":2}', b"\xff\xfe",
    b'{"cluster":"\xc0\x80"}', b'{"cluster":"\\ud800"}', b'{"cluster":"a","cluster":"b"}',
    nested(10000), b"[" * 10000 + b"]" * 10000, b'{"maxResults":' + b"9" * 5000 + b"}",
    b'{"maxResults":1e999}', b'{"cluster":"' + b"x" * 900000 + b'"}', b"\x00" * 1000,
], ids=lambda body: f"{body[:12]!r}-{len(body)}")
def test_broken_documents(target, body):
    for operation in ("ListTasks", "RunTask", "RegisterTaskDefinition", "DescribeClusters"):
        target.send(operation, body)
    target.alive()


def test_a_body_over_the_limit_is_refused(target):
    target.send("ListTasks", b'{"cluster":"' + b"x" * (10 << 20) + b'"}')
    target.alive()


@pytest.mark.parametrize("raw", [
    b"", b"\r\n\r\n", b"GET", b"POST / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n"
    b"Content-Length: 10\r\n\r\nabc", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", os.urandom(4096),
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n", b"GET /" + b"a" * 100000 +
    b" HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
], ids=lambda raw: f"{raw[:16]!r}-{len(raw)}")
def test_broken_http(target, raw):
    with socket.create_connection((target.berth.address, target.berth.port), 5) as connection:
        connection.settimeout(10)
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            head = connection.recv(64)
        except TimeoutError:
            raise
        except OSError:  # it was closed in our face, which is an answer, too
            head = b""
    status = head.split(b" ")[1][:3] if head.startswith(b"HTTP/") else b""
    assert not status.startswith(b"5") or status == b"505", head
    target.alive()


def test_half_open_connections_do_not_keep_others_out(target):
    idle = [socket.create_connection((target.berth.address, target.berth.port), 5)
            for _ in range(300)]
    for connection in idle[::2]:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le")
    assert "clusterArns" in target.berth.client().list_clusters()
    for connection in idle:
        connection.close()
    target.alive()


def test_bad_signatures(target):
    dice = random.Random(SEED)
    keys = target.berth.keys
    for _ in range(200):
        request = botocore.awsrequest.AWSRequest(
            "POST", target.endpoint + "/", data=b"{}",
            headers={"X-Amz-Target": TARGET + "ListClusters",
                     "Content-Type": "application/x-amz-json-1.1"})
        target.signer.add_auth(request)
        headers = dict(request.headers)
        text = list(headers["Authorization"])
        position = dice.randrange(len(text))
        # Names of headers are compared without case, so a change of case alone is none.
        text[position] = dice.choice([c for c in "abcXYZ019=/, "
                                      if c.lower() != text[position].lower()])
        headers["Authorization"] = "".join(text)
        connection = http.client.HTTPConnection(target.berth.address, target.berth.port, timeout=10)
        connection.request("POST", "/", b"{}", headers)
        answer = connection.getresponse()
        assert 400 <= answer.status < 500, (headers["Authorization"], answer.status)
        assert keys["secretAccessKey"].encode() not in answer.read()
        connection.close()
    target.alive()
