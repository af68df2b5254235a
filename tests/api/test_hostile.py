"""Hostile requests: always a typed 4xx, 501 by name, or a closed connection; never another 5xx, a
hang, or growth. All the while another client must be answered."""
import collections
import itertools
import json
import os
import random
import re
import socket
import struct
import threading
import xml.etree.ElementTree

import botocore.session
import pytest

import hostile
import models
import raw
import support

SEED = 20141113
WIDTH = 24            # connections of the attack
WITH_SANITIZER = b"__asan_init" in open(support.BERTH, "rb").read()
# Every how many of the generated requests is sent: which of them are mistaken a sanitizer notices
# first.
EACH = 1 if WITH_SANITIZER else 3
LEAST = 9000 // EACH  # generated requests
GROWTH_KIB = 24 << 10  # what the good ones among them leave behind, and caches that fill
RECORD_BYTES = 256 << 10
SLOW = 200
HALF_OPEN = 600       # of the thousands that the server takes


class Watcher(threading.Thread):
    """A good client. What it asks must be answered, rightly, whatever else goes on."""

    def __init__(self, berth):
        super().__init__(daemon=True)
        self.caller = raw.Caller(berth)
        self.count = 0
        self.answered = threading.Condition()
        self.ending = False
        self.failure = None

    def run(self):
        try:
            while not self.ending:
                found = self.caller("DescribeClusters", clusters=["good"])["clusters"]
                assert [cluster["status"] for cluster in found] == ["ACTIVE"], found
                self.caller("UpdateCluster", cluster="good")
                with self.answered:
                    self.count += 1
                    self.answered.notify_all()
        except BaseException as failure:  # pylint: disable=broad-except
            with self.answered:
                self.failure = failure
                self.answered.notify_all()

    def check(self):
        """Wait for a whole round that began after now."""
        with self.answered:
            wanted = self.count + 2
            while self.count < wanted and self.failure is None:
                assert self.answered.wait(support.PATIENCE), "a good client is not answered any more"
        if self.failure is not None:
            raise self.failure

    def stop(self):
        self.ending = True
        self.join(support.PATIENCE)
        self.caller.close()


class Target:
    """A server under attack, and what it answered."""

    def __init__(self, berth):
        self.berth = berth
        self.model = botocore.session.get_session().get_service_model("ecs")
        keys = berth.keys
        self.signer = raw.Signer(keys["accessKeyId"], keys["secretAccessKey"], keys["region"],
                                 f"{berth.address}:{berth.port}")
        self.counts = collections.defaultdict(collections.Counter)
        self.watcher = Watcher(berth)

    def connect(self):
        return raw.Connection(self.berth.address, self.berth.port)

    def alive(self):
        assert self.berth.process.poll() is None, self.berth.tail()
        self.watcher.check()

    def judge(self, case, answer):
        """Fail unless an answer is allowed. @return what to count it as"""
        where = f"{case.operation}: {case.data[:1500]!r} gave {answer.status} {answer.body[:300]!r}"
        assert self.signer.secret.encode() not in answer.body, where
        kind = answer.headers.get("content-type", "")
        if "x-amzn-requestid" not in answer.headers:
            # Not a request of HTTP at all: the library answers as any web server does, and closes.
            assert case.ends and b"<html>" in answer.body, where
            assert answer.headers["connection"] == "close", where
            assert answer.status in (400, 413, 414, 431, 505), where
            return f"{answer.status} of HTTP"
        assert answer.status == 200 or 400 <= answer.status < 500 or answer.status == 501, where
        if case.data.startswith(b"HEAD"):
            assert answer.status == 404 and answer.body == b"", where
        elif kind == "text/xml":
            self.judge_xml(answer, where)
        else:
            assert kind == "application/x-amz-json-1.1", where
            if case.operation is not None:
                models.check_response(self.model.operation_model(case.operation), answer.status,
                                      answer.body)
            if answer.status != 200:
                document = answer.decoded()
                assert re.fullmatch(r"[A-Z]\w+", document["__type"]) and document["message"], where
        if answer.status == 501:
            assert case.operation in answer.decoded()["message"], where
        assert not (case.refused and answer.status == 200), where
        return str(answer.status)

    def judge_xml(self, answer, where):
        root = xml.etree.ElementTree.fromstring(answer.body)
        if answer.status != 200:
            assert root.find(".//{*}Error/{*}Code").text, where
            assert root.find(".//{*}Error/{*}Message").text, where
        assert root.find(".//{*}RequestId").text, where

    def read(self, category, case, connection):
        """Read and judge what comes back. @return whether the connection can be used again"""
        answers = 0
        try:
            while True:
                answer = connection.read("HEAD" if case.data.startswith(b"HEAD") else "POST")
                # What follows the first answer is about something else than the case.
                about = case if answers == 0 else case._replace(operation=None, refused=False)
                self.counts[category][self.judge(about, answer)] += 1
                answers += 1
                if not case.ends:
                    return answer.headers.get("connection", "").lower() != "close"
        except TimeoutError:
            raise AssertionError(f"no answer to {case.data[:1500]!r}") from None
        except OSError:
            if answers == 0:
                self.counts[category]["closed"] += 1
            return False

    def attack(self, category, cases):
        """Send the cases over a few connections, and judge all answers."""
        connections = [self.connect() for _ in range(WIDTH)]
        cases = iter(cases)
        while True:
            part = [case for case, _ in zip(cases, connections)]
            for connection, case in zip(connections, part):
                try:
                    connection.send(case.data)
                    if case.ends:
                        connection.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # closed in the middle of it; there may be an answer to read all the same
            for number, case in enumerate(part):
                if not self.read(category, case, connections[number]):
                    connections[number].close()
                    connections[number] = self.connect()
            if len(part) < WIDTH:
                break
        for connection in connections:
            connection.close()
        self.alive()

    def total(self, category):
        return sum(self.counts[category].values())


@pytest.fixture(scope="module", name="target")
def make_target(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("hostile"), command="server").start()
    berth.client().create_cluster(clusterName="good")
    target = Target(berth)
    target.watcher.start()
    yield target
    target.alive()
    target.watcher.stop()
    assert berth.stop() == 0


# ---- what a server holds ----------------------------------------------------------------------

def memory_kib(pid):
    """Anonymous memory of a process, its own share."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        return int(next(line.split()[1] for line in file if line.startswith("Pss_Anon")))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Growth:
    """Memory and descriptors of the server, before and after."""

    def __init__(self, target):
        self.target, self.pid = target, target.berth.process.pid
        self.memory, self.files = memory_kib(self.pid), descriptors(self.pid)

    def report(self):
        def released():
            """no more descriptors than before"""
            return descriptors(self.pid) <= self.files
        support.wait_for(released)
        self.target.alive()
        after = memory_kib(self.pid)
        if not WITH_SANITIZER:  # which keeps what is freed for a while
            assert after - self.memory < GROWTH_KIB, f"{self.memory} KiB became {after} KiB"
        return (f"Pss_Anon {self.memory} KiB before, {after} KiB after; "
                f"{self.files} descriptors before, {descriptors(self.pid)} after")


# ---- requests ---------------------------------------------------------------------------------

def test_generated_requests(target, record_property):
    bodies = hostile.Bodies(target.model, target.signer, random.Random(SEED))
    target.attack("warming up", bodies.random_values(3))
    del target.counts["warming up"]
    growth = Growth(target)
    for category, cases in [
            ("random values", bodies.random_values()), ("missing members", bodies.missing()),
            ("wrong types", bodies.wrong_types()), ("unknown enums", bodies.unknown_enums()),
            ("numbers", bodies.numbers()), ("strings of 0.9 and 10 MB", bodies.large_strings()),
            ("nested 10,000 deep", bodies.nested()), ("broken UTF-8", bodies.broken_utf8()),
            ("truncated", bodies.truncated()), ("no documents", bodies.no_documents()),
            ("wrong lengths", bodies.wrong_lengths()),
            ("garbage behind a request", bodies.pipelined_garbage()),
            ("bad signatures", hostile.Signatures(target.model, target.signer).all())]:
        target.attack(category, itertools.islice(cases, 0, None, EACH))
    target.attack("pre-signed", hostile.Presigned(target.signer).all())
    lines = [f"{category} {target.total(category)} ({', '.join(f'{n} {what}' for what, n in sorted(counts.items()))})"
             for category, counts in target.counts.items()]
    total = sum(map(target.total, target.counts))
    record_property("report", f"seed {SEED}, {total} answers to generated requests: "
                              + "; ".join(lines))
    record_property("report", growth.report())
    assert total >= LEAST
    # Whatever was taken fits into a record, and a record into a transaction.
    largest = max(target.berth.run("debug", "dump").splitlines(), key=len)
    assert len(largest) < RECORD_BYTES, f"{len(largest)} bytes: {largest[:500]}"
    # Some of the random ones are right, and get what they ask for.
    assert target.counts["random values"]["200"] > 0


def test_a_good_presigned_request_is_answered(target):
    """What the bad ones above differ from."""
    target.attack("good", [hostile.Presigned(target.signer).good()])
    assert target.counts.pop("good") == {"200": 1}


# ---- connections ------------------------------------------------------------------------------

@pytest.mark.parametrize("data", [
    b"", b"\r\n\r\n", b"GET", b"POST / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nzz\r\n",
    b"GET /%00%ff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/0.9\r\n\r\n",
    random.Random(SEED).randbytes(4096), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 30000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA\x00B: c\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"POST http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
], ids=lambda data: f"{data[:24]!r}-{len(data)}")
def test_broken_http(target, data):
    target.attack("broken HTTP", [hostile.Case(None, data, data != b"GET", True)] * 3)


def test_slow_connections(target, record_property):
    """A byte now and then, on many at once: who goes on is answered, who stops keeps nobody out."""
    growth = Growth(target)
    good = hostile.Bodies(target.model, target.signer, None).case("ListClusters", b"{}").data
    slow = [target.connect() for _ in range(SLOW)]
    # A quarter of them stands at each of: the request line, the headers, the body, the last byte.
    places = [3, 60, good.index(b"\r\n\r\n") + 4, len(good) - 5]
    starts = [places[number % 4] for number in range(SLOW)]
    for connection, start in zip(slow, starts):
        connection.send(good[:start])
    for step in range(4):
        for connection, start in zip(slow, starts):
            if start + step < len(good):
                connection.send(good[start + step:start + step + 1])
        target.watcher.check()
    answered = 0
    for number, (connection, start) in enumerate(zip(slow, starts)):
        if number % 8 < 4:
            connection.send(good[start + 4:])
            assert connection.read().status == 200
            answered += 1
        connection.close()
    record_property("report", f"{SLOW} slow connections, {answered} went on and were answered; "
                              + growth.report())


def test_half_open_connections(target, record_property):
    growth = Growth(target)
    idle = [target.connect() for _ in range(HALF_OPEN)]
    for connection in idle[::2]:
        connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le")
    for connection in idle[::3]:
        connection.socket.shutdown(socket.SHUT_WR)
    target.alive()
    held = descriptors(growth.pid)
    for connection in idle:
        connection.close()
    record_property("report", f"{HALF_OPEN} half-open connections, {held} descriptors then; "
                              + growth.report())


def test_early_closes(target, record_property):
    """Senders that are gone before the answer, some of them with a reset."""
    growth = Growth(target)
    bodies = hostile.Bodies(target.model, target.signer, random.Random(SEED))
    count = 0
    for number in range(600):
        name = ("CreateCluster", "ListClusters", "DescribeClusters")[number % 3]
        data = bodies.case(name, {"clusterName": "early"} if number % 3 == 0 else {}).data
        connection = target.connect()
        connection.send(data if number % 2 == 0 else data[:number % len(data)])
        if number % 5 == 0:  # a reset in place of an orderly end
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                         struct.pack("ii", 1, 0))
        connection.close()
        count += 1
    target.alive()
    record_property("report", f"{count} early closes; {growth.report()}")


def test_many_requests_at_once_on_one_connection(target):
    """Pipelining: a thousand requests are sent before an answer is read."""
    data = hostile.Bodies(target.model, target.signer, None).case("ListClusters", b"{}").data
    connection = target.connect()
    sender = threading.Thread(target=connection.send, args=(data * 1000,), daemon=True)
    sender.start()
    for _ in range(1000):
        answer = connection.read()
        assert answer.status == 200 and json.loads(answer.body)["clusterArns"]
    sender.join(support.PATIENCE)
    connection.close()
    target.alive()
