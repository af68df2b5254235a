"""dockerVolumeConfiguration: volumes of a task, volumes that tasks share, and the driver local."""
import json
import os

import pytest

import support
from fields import box, task

MOUNT = {"user": "0", "mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}


def docker(name="v", **members):
    return {"volumes": [{"name": name, "dockerVolumeConfiguration": members}]}


def mount(name):
    return {"user": "0", "mountPoints": [{"sourceVolume": name, "containerPath": "/v"}]}


@task(box("echo mine >/v/file", name="first", essential=False, **MOUNT),
      box("while ! cat /v/file; do sleep 0.05; done 2>/dev/null", **MOUNT), ec2=True,
      **docker(scope="task"))
def test_scope_task(node, ended):
    """Shared by the containers of the task, and gone with it."""
    assert ended.output() == "mine\n"
    folder = os.path.join(node.data, "node/tasks", ended.task["taskArn"].rsplit("/", 1)[1])
    support.wait_for(lambda: not os.path.exists(folder))


@task(box("stat -c %u:%a /etc/ssl; ls /v | head -n 1", user="0", mountPoints=[
    {"sourceVolume": "v", "containerPath": "/v"}]), ec2=True, **docker())
def test_scope_absent(ended):
    """That of the task: empty, as the image has nothing there."""
    assert len(ended.lines()) == 1


@task(box("ls /etc/passwd && grep -c ^redis: /etc/passwd; touch /etc/new", user="0", mountPoints=[
    {"sourceVolume": "v", "containerPath": "/etc"}]), ec2=True, **docker(scope="task"))
def test_begins_with_what_the_image_has(ended):
    assert ended.output() == "/etc/passwd\n1\n"


def touch(path):
    with open(path, "w", encoding="utf-8"):
        pass


@pytest.fixture
def rounds(node):
    """Runs a task of one definition, again and again."""
    def run(family, script, **volume):
        arn = node.launch(family, {
            "networkMode": "host", "cpu": "128", "memory": "64", **volume,
            "containerDefinitions": [box(script, **mount(volume["volumes"][0]["name"]))]},
            {"launchType": "EC2"})
        return node.stopped(arn)
    return run


def test_scope_shared(rounds):
    """What one task has written the next one finds."""
    volume = docker("kept", scope="shared", autoprovision=True, labels={"team": "a"})
    counts = [rounds("shared", "echo x >>/v/file; grep -c x /v/file", **volume).output()
              for _ in range(2)]
    assert counts == ["1\n", "2\n"]


def test_autoprovision(node, rounds):
    """Without it the node must have the volume: the reason says where it is looked for."""
    volume = docker("provided", scope="shared")
    reason = rounds("provided", "ls /v", **volume).reason
    assert reason.startswith("ResourceInitializationError: "), reason
    assert "shared volume 'provided' is not on this node" in reason
    folder = os.path.join(node.data, "node/volumes/provided")
    assert f"make the folder '{folder}'" in reason
    os.makedirs(folder)
    touch(os.path.join(folder, "file"))
    assert rounds("provided", "ls /v", **volume).output() == "file\n"


@task(box("grep ' /v ' /proc/mounts; stat -c %u:%a /v; echo x >/v/file", **MOUNT),
      box("while ! test -s /v/file; do sleep 0.05; done; cat /v/file", name="other",
          essential=False, stopTimeout=30, **MOUNT), ec2=True,
      **docker(scope="task", driver="local", driverOpts={
          "type": "tmpfs", "device": "tmpfs", "o": "size=3m,uid=1000,mode=750"}))
def test_driver_opts_tmpfs(ended):
    """Memory of that size, one for all containers."""
    kind, owner = ended.lines()
    assert kind.startswith("tmpfs /v tmpfs ") and "size=3072k" in kind
    assert owner == "1000:750"


def test_driver_opts_bind(rounds, tmp_path):
    """A folder of the host, which must be there."""
    options = {"type": "none", "o": "bind", "device": str(tmp_path / "folder")}
    volume = docker("bound", driver="local", driverOpts=options)
    assert "is not on this node" in rounds("bound", "ls /v", **volume).reason
    os.makedirs(tmp_path / "folder")
    touch(tmp_path / "folder" / "file")
    assert rounds("bound", "ls /v", **volume).output() == "file\n"


@pytest.mark.parametrize("members, words", [
    ({"driverOpts": {"type": "nfs", "o": "addr=10.0.0.1"}}, "'nfs'"),
    ({"driverOpts": {"type": "tmpfs", "o": "suid"}}, "'suid'"),
    ({"scope": "shared", "driverOpts": {"type": "tmpfs"}}, "scope must be task")],
    ids=["type", "option", "scope"])
def test_what_it_cannot(rounds, members, words):
    """What the driver local of a node does not do it names."""
    assert words in rounds("cannot", "true", **docker(**members)).reason


def test_driver(node):
    """Nodes say which drivers they have: local."""
    node.register("driver", {"networkMode": "host", "cpu": "128", "memory": "64",
                             **docker(driver="rexray"),
                             "containerDefinitions": [box("true", **MOUNT)]})
    answer = node.ecs.run_task(taskDefinition="driver", launchType="EC2")
    assert answer["tasks"] == []
    assert "ecs.capability.docker-plugin.rexray" in answer["failures"][0]["detail"]


def test_host_file(rounds, tmp_path):
    """A file of the host can be mounted as well as a folder; what cannot be made is named."""
    path = tmp_path / "file"
    with open(path, "w", encoding="utf-8") as file:
        file.write("theirs\n")
    os.chmod(path, 0o644)
    volume = {"volumes": [{"name": "v", "host": {"sourcePath": str(path)}}]}
    assert rounds("file", "cat /v", **volume).output() == "theirs\n"
    volume = {"volumes": [{"name": "v", "host": {"sourcePath": f"{path}/below"}}]}
    ended = rounds("file", "cat /v", **volume)
    assert ended.reason.startswith("ResourceInitializationError: "), ended.reason
    assert "sourcePath of volume 'v'" in ended.reason
    told = json.loads(ended.node.run("diagnose", "--json", ended.task["taskArn"],
                                     check=False).stdout)
    assert told["cause"] == "VolumeMissing", told
