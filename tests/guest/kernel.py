"""Debian's cloud kernel for a guest: fetched below the build directory, never installed."""
import fcntl
import glob
import os
import re
import shutil
import subprocess

META_PACKAGE = "linux-image-cloud-amd64"
DOWNLOAD_S = 120


class Absent(Exception):
    """Why there is no guest on this machine."""


class Kernel:
    """An unpacked kernel: its image, its release, and the directory of its modules."""

    def __init__(self, folder):
        self.image = glob.glob(folder + "/boot/vmlinuz-*")[0]
        self.release = os.path.basename(self.image)[len("vmlinuz-"):]
        self.modules = os.path.join(folder, "lib/modules", self.release)

    def files(self, names):
        """The files of modules and of those they need, in the order to load them."""
        paths = {}
        for path in glob.glob(self.modules + "/**/*.ko", recursive=True):
            paths[os.path.basename(path)[:-3].replace("-", "_")] = path
        ordered = []

        def add(name):
            path = paths.get(name)
            if path is None or path in ordered:
                return
            with open(path, "rb") as file:
                found = re.search(rb"\0depends=([^\0]*)\0", file.read())
            for needed in (found.group(1).decode() if found else "").split(","):
                add(needed.replace("-", "_"))
            ordered.append(path)

        for name in names:
            add(name)
        return ordered


def package_name():
    shown = subprocess.run(["apt-cache", "depends", META_PACKAGE], capture_output=True, text=True,
                           check=False)
    found = re.search(r"Depends: (linux-image-\S+)", shown.stdout)
    if found is None:
        raise Absent(f"apt knows no {META_PACKAGE}; apt-get update helps")
    return found.group(1)


def fetch(cache, unpacked):
    for tool in ("apt-cache", "apt-get", "dpkg-deb", "depmod"):
        if shutil.which(tool) is None:
            raise Absent(f"{tool} is missing, and with it Debian's cloud kernel")
    package = package_name()
    try:
        subprocess.run(["apt-get", "-q", "download", package], cwd=cache, check=True,
                       timeout=DOWNLOAD_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (subprocess.SubprocessError, OSError) as error:
        raise Absent(f"{package} cannot be downloaded: {error}") from error
    archives = glob.glob(os.path.join(cache, package + "_*.deb"))
    # Unpacked beside and renamed: an interrupted run leaves nothing that looks complete.
    fresh = unpacked + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    subprocess.run(["dpkg-deb", "-x", archives[0], fresh], check=True)
    # So that the guest's kernel finds a module by itself when something asks for it.
    subprocess.run(["depmod", "-b", fresh, Kernel(fresh).release], check=True)
    os.rename(fresh, unpacked)
    for archive in archives:
        os.remove(archive)


def find(cache):
    """The kernel, fetched once. @raise Absent when it cannot be had"""
    os.makedirs(cache, exist_ok=True)
    unpacked = os.path.join(cache, "kernel-with-index")
    with open(os.path.join(cache, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(unpacked):
            fetch(cache, unpacked)
    return Kernel(unpacked)
