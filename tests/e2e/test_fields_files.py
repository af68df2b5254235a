"""Members about what a container sees as files."""
import os
import stat

import pytest

from fields import box, task

SCRATCH = [{"name": "shared"}]


def mount_of(ended, path):
    """Type and options of a mount, from lines of /proc/mounts."""
    fields_of = [line.split() for line in ended.lines()]
    return next((one[2], set(one[3].split(","))) for one in fields_of if len(one) > 3
                and one[1] == path)


@task(box("echo from the first > /data/file", name="first", essential=False, user="0",
          mountPoints=[{"sourceVolume": "shared", "containerPath": "/data"}]),
      box("cat /other/file", mountPoints=[{"sourceVolume": "shared", "containerPath": "/other"}],
          dependsOn=[{"containerName": "first", "condition": "SUCCESS"}]), volumes=SCRATCH)
def test_volumes_are_shared_by_containers(ended):
    """A volume with nothing but a name is the task's own: what one writes, the other reads."""
    assert ended.output() == "from the first\n"


@task(box("ls -A /data; echo mine > /data/file", user="0",
          mountPoints=[{"sourceVolume": "shared", "containerPath": "/data"}]), volumes=SCRATCH)
def test_volumes_are_of_one_task(ended, node):
    """The next task of the same definition finds it empty again."""
    assert ended.output() == ""
    again = node.stopped(node.start_of(test_volumes_are_of_one_task))
    assert again.output() == ""


@task(box("cat /proc/mounts; (echo x > /data/file) 2>/dev/null || echo refused", user="0", mountPoints=[
    {"sourceVolume": "shared", "containerPath": "/data", "readOnly": True}]), volumes=SCRATCH)
def test_mount_points_read_only(ended):
    assert "ro" in mount_of(ended, "/data")[1]
    assert ended.lines()[-1] == "refused"


@task(box("stat -c '%u:%g %a' /tmp", mountPoints=[
    {"sourceVolume": "shared", "containerPath": "/tmp"}]), volumes=SCRATCH)
def test_mount_points_keep_the_directorys_owner(ended):
    """A scratch volume begins with owner and mode of what it covers."""
    assert ended.output() == "0:0 1777\n"


@task(box("echo taken over > /data/file", name="first", essential=False, user="0",
          mountPoints=[{"sourceVolume": "shared", "containerPath": "/data"}]),
      box("cat /data/file; (echo x > /data/file) 2>&1 || true", user="0",
          volumesFrom=[{"sourceContainer": "first", "readOnly": True}],
          dependsOn=[{"containerName": "first", "condition": "SUCCESS"}]),
      volumes=SCRATCH)
def test_volumes_from(ended):
    """Another container's mount points, at the same paths."""
    read, write = ended.lines()
    assert read == "taken over" and "Read-only file system" in write


def test_volumes_host(node, tmp_path):
    """A folder of the node, both ways."""
    (tmp_path / "in").write_text("from the host\n")
    os.chmod(tmp_path, 0o777)
    definition = {
        "networkMode": "host", "volumes": [{"name": "v", "host": {"sourcePath": str(tmp_path)}}],
        "containerDefinitions": [box("cat /v/in; echo back > /v/out", user="0", memory=64,
                                     mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}])]}
    ended = node.stopped(node.launch("volumes-host", definition, {"launchType": "EC2"}))
    assert ended.output() == "from the host\n"
    assert (tmp_path / "out").read_text() == "back\n"


@task(box("cat /proc/mounts; (echo x > /tmp/file) 2>/dev/null || echo refused",
          user="0", readonlyRootFilesystem=True))
def test_readonly_root_filesystem(ended):
    assert "ro" in mount_of(ended, "/")[1]
    assert ended.lines()[-1] == "refused"


@task(box("echo x > /file && cat /file", user="0"))
def test_root_filesystem_is_writable(ended):
    """The writable layer is the container's own and goes with it."""
    assert ended.output() == "x\n"


@task(box("cat /proc/mounts; df -k /fast | tail -1", memory=64, linuxParameters={"tmpfs": [
    {"containerPath": "/fast", "size": 7, "mountOptions": ["ro", "mode=755"]}]}), ec2=True)
def test_tmpfs(ended):
    kind, options = mount_of(ended, "/fast")
    assert kind == "tmpfs"
    assert {"size=7168k", "mode=755", "ro", "nosuid", "nodev", "noexec"} <= options
    assert ended.lines()[-1].split()[1] == "7168"


@pytest.mark.guest
@task(box("cat /proc/mounts", memory=64, linuxParameters={"sharedMemorySize": 5}), ec2=True)
def test_shared_memory_size(ended):
    assert "size=5120k" in mount_of(ended, "/dev/shm")[1]


@task(box("cat /proc/mounts"))
def test_shared_memory_size_default(ended):
    assert "size=65536k" in mount_of(ended, "/dev/shm")[1]


def test_writes_stay_out_of_the_image(node):
    definition = {"networkMode": "host", "containerDefinitions": [
        box("ls /once 2>/dev/null; touch /once", user="0", memory=64)]}
    for _ in range(2):
        ended = node.stopped(node.launch("writes", definition, {"launchType": "EC2"}))
        assert ended.output() == ""


# A character device whose driver knows no such number: opening it fails in the driver, and where
# the container may not even open it, before.
ABSENT, DENIED = "No such device or address", "Operation not permitted"


def device_errors(node, name, path, **device):
    definition = {"networkMode": "host", "containerDefinitions": [box(
        "cat /dev/own/node; echo x > /dev/own/node", user="0", memory=64,
        linuxParameters={"devices": [{"hostPath": path, **device}]})]}
    arn = node.launch(name, definition, {"launchType": "EC2"})
    return node.stopped(arn)


def make_device(folder):
    os.mknod(folder / "node", stat.S_IFCHR | 0o666, os.makedev(1, 99))


def test_devices(node, tmp_path):
    """A node of the host's, at a path of the container's."""
    make_device(tmp_path)
    ended = device_errors(node, "device", str(tmp_path / "node"), containerPath="/dev/own/node")
    assert ended.log().count(ABSENT) == 2, ended.log()


def test_devices_of_a_folder(node, tmp_path):
    make_device(tmp_path)
    ended = device_errors(node, "devices", str(tmp_path), containerPath="/dev/own")
    assert ended.log().count(ABSENT) == 2, ended.log()


@pytest.mark.guest
def test_devices_permissions(node, tmp_path):
    make_device(tmp_path)
    ended = device_errors(node, "permitted", str(tmp_path / "node"),
                          containerPath="/dev/own/node", permissions=["read"])
    read, write = ended.log().splitlines()
    assert ABSENT in read and DENIED in write


def test_devices_that_are_none(node, tmp_path):
    ended = device_errors(node, "none", str(tmp_path / "nothing"))
    assert f"linuxParameters.devices names '{tmp_path}/nothing'" in ended.reason


STORAGE = "df -kP / | tail -n 1; df -kP /v | tail -n 1; stat -c %d / /v; touch / /v/file && echo written"


@task(box(STORAGE, user="0", mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}]),
      volumes=[{"name": "v"}], ephemeralStorage={"sizeInGiB": 21})
def test_ephemeral_storage(ended):
    """Layer and scratch volumes are on a file system of that size, less its own tables."""
    root, volume, *_, last = ended.lines()
    assert last == "written"
    for line in (root, volume):
        size_gib = int(line.split()[1]) / (1 << 20)
        assert 20 < size_gib <= 21, line


@task(box("fallocate -l 30000000000 /file || dd if=/dev/zero of=/file bs=1M seek=30000 count=1; "
          "ls -l /file | grep -c 30000000000", user="0"), ephemeralStorage={"sizeInGiB": 21})
def test_ephemeral_storage_is_a_limit(ended):
    """There is no room for more."""
    assert "No space left" in ended.log() or ended.log().splitlines()[-1] == "0", ended.log()
