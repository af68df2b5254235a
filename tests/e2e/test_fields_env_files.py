"""environmentFiles: objects that a folder or a server stands for, files of the node, URLs."""
import functools
import http.server
import os
import threading

import pytest

import fields
from fields import box

S3 = "arn:aws:s3:::bucket/"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """The folder of the objects; a file of the node lies beside it."""
    folder = tmp_path_factory.mktemp("files")
    write(folder / "outside.env", "OUTSIDE=1\n")
    bucket = folder / "objects" / "bucket" / "sub"
    os.makedirs(bucket)
    write(bucket / "a.env", "# A=comment\nA=1\n\nnothing\nQUOTED=\"b c\"=d\nTWICE=1\nTWICE=2\n"
                            "EMPTY=\nOWN=file\nSPACE= x\r\n")
    write(bucket / "b.env", "A=2\nB=2\n")
    write(bucket / "large.env", "A=" + "x" * 70000)
    return folder / "objects"


def write(path, text):
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)


@pytest.fixture(scope="module")
def node(tmp_path_factory, objects):
    yield from fields.make_node(tmp_path_factory.mktemp("node"), "--environment-files",
                                str(objects))


@pytest.fixture(scope="module")
def server(objects):
    handler = functools.partial(Quiet, directory=str(objects))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def far_node(tmp_path_factory, server):
    """One for which a server stands for S3."""
    yield from fields.make_node(tmp_path_factory.mktemp("node"), "--environment-files", server)


def run(node, *values, launch="EC2", **members):
    mode = {"networkMode": "host"} if launch == "EC2" else {
        "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"]}
    arn = node.launch("files", {
        **mode, "cpu": "256", "memory": "512", "containerDefinitions": [
            box("env", environmentFiles=[{"type": "s3", "value": value} for value in values],
                **members)]}, {"launchType": launch})
    return node.stopped(arn)


def variables(ended):
    return dict(line.split("=", 1) for line in ended.lines())


@pytest.mark.parametrize("launch", ["EC2", "FARGATE"])
def test_objects_in_a_folder(node, launch):
    """Lines of NAME=VALUE, read without quoting; the definition's own variables win, then the
    earlier file."""
    found = variables(run(node, S3 + "sub/a.env", S3 + "sub/b.env", launch=launch,
                          environment=[{"name": "OWN", "value": "definition"}]))
    assert (found["A"], found["B"]) == ("1", "2")
    assert found["QUOTED"] == '"b c"=d'
    assert (found["TWICE"], found["OWN"]) == ("2", "definition")
    assert "EMPTY" not in found and "# A" not in found
    assert found["SPACE"] == " x"


def test_a_file_of_the_node(node, objects):
    value = f"file://{objects.parent}/outside.env"
    assert variables(run(node, value))["OUTSIDE"] == "1"


def test_objects_of_a_server(far_node, server):
    assert variables(run(far_node, S3 + "sub/b.env"))["B"] == "2"
    assert variables(run(far_node, f"{server}/bucket/sub/b.env"))["A"] == "2"


@pytest.mark.parametrize("value, words", [
    (S3 + "sub/none.env", "sub/none.env': No such file"),
    (S3 + "../../outside.env", "is no ARN of an object"),
    (S3 + "sub/large.env", "sub/large.env"),
    ("http://127.0.0.1:1/bucket/sub/a.env", "this node does not fetch"),
    ("file:///dev/zero.env", "No such file")],
    ids=["missing", "outside", "large", "url", "file"])
def test_what_cannot_be_had(node, value, words):
    ended = run(node, value)
    assert ended.task["stopCode"] == "TaskFailedToStart"
    assert ended.reason.startswith(
        "ResourceInitializationError: failed to download env files: "), ended.reason
    assert words in ended.reason


def test_what_a_server_refuses(far_node, server):
    for value, words in ((S3 + "none.env", "none.env' is answered with status 404"),
                         (f"{server}/../outside.env", "this node does not fetch"),
                         (f"{server}.example.com/a.env", "this node does not fetch")):
        assert words in run(far_node, value).reason
