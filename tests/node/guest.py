#!/usr/bin/env python3
"""Run a node test on a host with pure cgroup v2: a small guest under software emulation.

Boots Debian's cloud kernel in QEMU's microvm machine, with an initramfs made of busybox, crun, the
test program and what they link. The kernel is unpacked from its package below the build directory,
never installed. KVM is not used even where it is: a /dev/kvm that opens may still hang.

Ends with the test's own status; 77 (skipped) when QEMU or the kernel cannot be had.
"""

import argparse
import glob
import os
import re
import select
import shutil
import stat
import subprocess
import sys
import time

SKIPPED = 77
META_PACKAGE = "linux-image-cloud-amd64"
MODULES = ["overlay", "veth", "bridge"]
DOWNLOAD_S = 120
EXIT_MARK = "guest test ended with status "

# The initramfs's own root cannot be left by pivot_root, as containers do: a tmpfs takes its place.
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /new
/bin/busybox mount -t tmpfs -o size=80% tmpfs /new
/bin/busybox cp -a /bin /etc /init2 /lib /lib64 /modules /opt /usr /var /new/
/bin/busybox mkdir -p /new/proc /new/sys /new/dev /new/run /new/tmp
exec /bin/busybox switch_root /new /init2
"""

INIT2 = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/usr/sbin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
for module in {modules}; do insmod /modules/$module; done
cat /proc/mounts | grep cgroup
{environment} {command}
echo "{mark}$?"
reboot -f
"""


def skip(reason):
    print("SKIP: " + reason, flush=True)
    sys.exit(SKIPPED)


def kernel_package():
    shown = subprocess.run(["apt-cache", "depends", META_PACKAGE], capture_output=True, text=True)
    found = re.search(r"Depends: (linux-image-\S+)", shown.stdout)
    return found.group(1) if found else None


def find_kernel(cache):
    """The kernel's image and the directory of its modules, fetched once."""
    unpacked = os.path.join(cache, "kernel")
    if not glob.glob(unpacked + "/boot/vmlinuz-*"):
        for tool in ("apt-cache", "apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                skip(f"{tool} is missing, and with it Debian's cloud kernel")
        package = kernel_package()
        if package is None:
            skip(f"apt knows no {META_PACKAGE}; apt-get update helps")
        os.makedirs(cache, exist_ok=True)
        try:
            subprocess.run(["apt-get", "-q", "download", package], cwd=cache, check=True,
                           timeout=DOWNLOAD_S, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        except (subprocess.SubprocessError, OSError) as error:
            skip(f"{package} cannot be downloaded: {error}")
        archives = glob.glob(os.path.join(cache, package + "_*.deb"))
        # Unpacked beside and renamed: an interrupted run leaves nothing that looks complete.
        shutil.rmtree(unpacked + ".new", ignore_errors=True)
        subprocess.run(["dpkg-deb", "-x", archives[0], unpacked + ".new"], check=True)
        os.rename(unpacked + ".new", unpacked)
        for archive in archives:
            os.remove(archive)
    return glob.glob(unpacked + "/boot/vmlinuz-*")[0], unpacked + "/lib/modules"


def module_files(modules):
    """The files of the wanted modules and of those they need, in the order to load them."""
    paths = {}
    for path in glob.glob(modules + "/**/*.ko", recursive=True):
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

    for name in MODULES:
        add(name)
    return ordered


def libraries(program):
    """Paths that a program is linked with, its loader included; empty for a static one."""
    shown = subprocess.run(["ldd", program], capture_output=True, text=True)
    return sorted(set(re.findall(r"(/\S+) \(0x", shown.stdout)))


class Initramfs:
    """An archive in cpio's newc format."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.made = set()
        self.inode = 0

    def entry(self, name, mode, data):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        body = header + name.encode() + b"\0"
        self.file.write(body + b"\0" * (-len(body) % 4))
        self.file.write(data + b"\0" * (-len(data) % 4))

    def directory(self, name):
        if name and name not in self.made:
            self.directory(os.path.dirname(name))
            self.made.add(name)
            self.entry(name, stat.S_IFDIR | 0o755, b"")

    def data(self, name, data, mode):
        name = name.lstrip("/")
        if name not in self.made:
            self.directory(os.path.dirname(name))
            self.made.add(name)
            self.entry(name, stat.S_IFREG | mode, data)

    def copy(self, source, name):
        with open(source, "rb") as file:
            self.data(name, file.read(), 0o755 if os.access(source, os.X_OK) else 0o644)

    def close(self):
        self.entry("TRAILER!!!", 0, b"")
        self.file.close()


def make_initramfs(path, options, modules):
    archive = Initramfs(path)
    for name in ("etc", "lib", "lib64", "opt", "usr/bin", "var/tmp", "modules"):
        archive.directory(name)
    programs = {"/bin/busybox": "/bin/busybox", options.crun: "/usr/bin/crun",
                options.test: "/opt/test", options.task: "/opt/berth-task"}
    for source, name in programs.items():
        archive.copy(source, name)
        for library in libraries(source):
            archive.copy(library, library)
    for module in modules:
        archive.copy(module, "modules/" + os.path.basename(module))
    archive.data("init", INIT.encode(), 0o755)
    archive.data("init2", INIT2.format(
        modules=" ".join(os.path.basename(module) for module in modules),
        environment="BERTH_TASK=/opt/berth-task BERTH_OWN_CLOCK=1", command="/opt/test",
        mark=EXIT_MARK).encode(), 0o755)
    archive.close()


def boot(kernel, initramfs, deadline_s):
    """Run the guest; returns the test's status, or None when it never told one."""
    command = ["qemu-system-x86_64", "-M", "microvm", "-accel", "tcg", "-cpu", "max",
               "-m", "768M", "-smp", "2", "-kernel", kernel, "-initrd", initramfs,
               "-append", "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=2000000",
               "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
               "-no-reboot"]
    end = time.monotonic() + deadline_s
    guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    told = b""
    try:
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([guest.stdout], [], [], left)[0]:
                print(f"the guest did not end within {deadline_s} s", flush=True)
                break
            part = os.read(guest.stdout.fileno(), 65536)
            if not part:
                break
            told += part
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
    finally:
        guest.kill()
        guest.wait()
    found = re.search(EXIT_MARK.encode() + rb"(\d+)", told)
    return int(found.group(1)) if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", required=True, help="the node test's program")
    parser.add_argument("--task", required=True, help="berth-task")
    parser.add_argument("--cache", required=True, help="directory for the kernel and initramfs")
    parser.add_argument("--deadline", type=int, default=1000, help="seconds for the guest")
    options = parser.parse_args()
    options.crun = shutil.which("crun")
    if shutil.which("qemu-system-x86_64") is None:
        skip("qemu-system-x86_64 (qemu-system-x86) is not installed")
    if options.crun is None or not os.access("/bin/busybox", os.X_OK):
        skip("crun or /bin/busybox (busybox-static) is not installed")
    kernel, modules = find_kernel(options.cache)
    initramfs = os.path.join(options.cache, "initramfs.cpio")
    make_initramfs(initramfs, options, module_files(modules))
    status = boot(kernel, initramfs, options.deadline)
    if status is None:
        print("the guest told no status", flush=True)
        sys.exit(1)
    sys.exit(status)


if __name__ == "__main__":
    main()
