"""Hostile requests to Secrets Manager and the Parameter Store: a typed 4xx, or 501 by name; never
another 5xx, a hang, or a value in a refusal."""
import collections
import random
import re

import botocore.session
import pytest

import hostile
import models
import raw
import support

SEED = 20171017
WIDTH = 16
SENTINEL = "sentinel-of-a-secret"
# Systems Manager has many more, of which nothing is known here.
PARAMETERS = [
    "PutParameter", "GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory",
    "DeleteParameter", "DeleteParameters", "DescribeParameters", "LabelParameterVersion",
    "UnlabelParameterVersion", "AddTagsToResource", "RemoveTagsFromResource",
    "ListTagsForResource"]


@pytest.fixture(scope="module", name="berth")
def make_berth(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("hostile"), command="server").start()
    berth.client("secretsmanager").create_secret(Name="default", SecretString=SENTINEL)
    berth.client("ssm").put_parameter(Name="default", Type="SecureString", Value=SENTINEL)
    yield berth
    assert berth.process.poll() is None, berth.tail()
    assert berth.stop() == 0


def judge(model, case, answer):
    """Fail unless an answer is allowed. @return what to count it as"""
    where = f"{case.operation}: {case.data[:1500]!r} gave {answer.status} {answer.body[:300]!r}"
    assert answer.status in (200, 501) or 400 <= answer.status < 500, where
    if answer.status != 200:
        document = answer.decoded()
        assert re.fullmatch(r"[A-Z]\w+", document["__type"]), where
        assert document.get("message") or document.get("Message"), where
        assert SENTINEL not in answer.body.decode(), where
    models.check_response(model.operation_model(case.operation), answer.status, answer.body)
    assert not (case.refused and answer.status == 200), where
    return str(answer.status)


def attack(berth, model, cases):
    """Send cases over a few connections and judge the answers. @return counts by status"""
    counts = collections.Counter()
    connections = [None] * WIDTH
    for number, case in enumerate(cases):
        at = number % WIDTH
        if connections[at] is None or connections[at].ended():
            connections[at] = raw.Connection(berth.address, berth.port)
        connection = connections[at]
        try:
            connection.send(case.data)
        except OSError:
            pass  # closed in the middle of it; there is an answer to read all the same
        try:
            answer = connection.read()
        except ConnectionError:
            counts["closed"] += 1
            connections[at] = None
            continue
        counts[judge(model, case, answer)] += 1
        if answer.headers.get("connection", "").lower() == "close":
            connection.close()
            connections[at] = None
    for connection in filter(None, connections):
        connection.close()
    assert berth.process.poll() is None, berth.tail()
    return counts


@pytest.mark.parametrize("service, names", [("secretsmanager", None), ("ssm", PARAMETERS)])
def test_generated_requests(berth, record_property, service, names):
    model = botocore.session.get_session().get_service_model(service)
    keys = berth.keys
    signer = raw.Signer(keys["accessKeyId"], keys["secretAccessKey"], keys["region"],
                        f"{berth.address}:{berth.port}", service)
    bodies = hostile.Bodies(model, signer, random.Random(SEED), raw.TARGETS[service], names)
    total = collections.Counter()
    for cases in (bodies.random_values(30), bodies.missing(), bodies.wrong_types(),
                  bodies.unknown_enums(), bodies.numbers(), bodies.large_strings(),
                  bodies.nested(), bodies.broken_utf8(), bodies.truncated(),
                  bodies.no_documents()):
        total += attack(berth, model, cases)
    record_property("report", f"{service}, seed {SEED}: {dict(total)}")
    assert sum(total.values()) > 600, total
    assert total["200"] > 0, total
    # The good ones are answered as before.
    assert berth.client("secretsmanager").list_secrets()["SecretList"] is not None
    assert berth.client("ssm").describe_parameters()["Parameters"] is not None
