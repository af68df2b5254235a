"""A small file system in memory, and what fills it."""
import contextlib
import os
import subprocess

import botocore.exceptions

import support

MIB = 1 << 20


@contextlib.contextmanager
def small_disk(folder, size_mib):
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "none", folder], check=True)
    try:
        yield Filler(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def free_bytes(path):
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


class Filler:
    """A file that leaves as much room as is asked for."""

    def __init__(self, folder):
        self.folder, self.path = folder, os.path.join(folder, "filler")

    def leave(self, left):
        # The agent's own files come and go meanwhile.
        support.wait_for(lambda: self.fill(left))

    def fill(self, left):
        self.remove()
        # In blocks that are really taken; a tmpfs gives pages one by one.
        with open(self.path, "wb") as file:
            try:
                while free_bytes(self.folder) > left:
                    room = free_bytes(self.folder) - left
                    file.write(b"x" * min(MIB, max(4096, room)))
                    file.flush()
            except OSError:
                pass  # nothing is left
        return free_bytes(self.folder) <= left

    def remove(self):
        if os.path.exists(self.path):
            os.remove(self.path)


# What a client sees of a server that begins anew, or that has a full disk.
UNANSWERED = (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)


def fill_store(ecs):
    """Make clusters until the server says that its disk is full. Returns the names of those that it
    promised."""
    made, names = [], (f"cluster-{number}" for number in range(100000))

    def full():
        """the server says that its disk is full"""
        try:
            for name in names:
                ecs.create_cluster(clusterName=name, tags=[
                    {"key": f"{name}-{number}", "value": "x" * 256} for number in range(50)])
                made.append(name)
        except UNANSWERED as error:
            return str(error) if "disk is full" in str(error) else None
    return made, support.wait_for(full, step=0.1)
