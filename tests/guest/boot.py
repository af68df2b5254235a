#!/usr/bin/env python3
"""Run a command on a host with pure cgroup v2: a small guest under software emulation.

    tests/in_guest [--deadline SECONDS] [--keep FOLDER]... [--] COMMAND...

The guest is Debian's cloud kernel in QEMU's microvm machine with this machine's own files, which it
reads through virtiofs and cannot change but below the folders to keep; what it writes elsewhere is
in memory and goes with it. It has loopback alone. The kernel loads modules as they are asked for: a
test that wants network emulation just runs `tc`, or `modprobe sch_netem` to know whether it is had.
The command gets this environment and folder, BERTH_GUEST, and BERTH_SLOW: how many times longer
things may take.
KVM is not used even where it is: a /dev/kvm that opens may still hang.

Ends with the command's own status; 77 (skipped) when there can be no guest here.
"""
import argparse
import os
import re
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import initramfs
import kernel

SKIPPED = 77
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Until modules can be found where they are.
MODULES = ["virtio_mmio", "virtiofs", "overlay"]
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", VIRTIOFSD: "qemu-system-common",
            "/bin/busybox": "busybox-static", "setpriv": "util-linux"}
# How much slower emulated work is; tests wait that much longer.
SLOW = "4"
MARK = "guest command ended with status "
BEGIN = """
modprobe virtio_console
modprobe loop
ip link set lo up
port=$(ls /dev/vport*)
exec 3>"$port"
(
{exports}
cd {folder} && exec {command}
) </dev/null >&3 2>&3
echo "{mark}$?"
sync
exec /bin/busybox reboot -f
"""
# Of no use or misleading in the guest.
DROPPED = ("TMPDIR", "OLDPWD", "PWD", "SHLVL", "_")


def exported():
    names = {name: value for name, value in os.environ.items()
             if name not in DROPPED and name.isidentifier()}
    names.setdefault("BERTH_SLOW", SLOW)
    names["BERTH_GUEST"] = "1"
    names["BERTH_OWN_CLOCK"] = "1"  # the guest's may be set
    names["PYTHONDONTWRITEBYTECODE"] = "1"
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in names.items())


class Guest:
    """One run, with its files in a folder that goes with it."""

    def __init__(self, options, found, scratch):
        self.options = options
        self.kernel = found
        self.scratch = scratch
        self.console = os.path.join(scratch, "console")
        self.socket = os.path.join(scratch, "socket")

    def make_initramfs(self):
        archive = initramfs.Initramfs(os.path.join(self.scratch, "initramfs"))
        archive.copy("/bin/busybox", "bin/busybox")
        for number, path in enumerate(self.kernel.files(MODULES)):
            archive.copy(path, f"modules/{number:02}-{os.path.basename(path)}")
        archive.copy(os.path.join(HERE, "init.sh"), "init")
        folders = [(folder, folder) for folder in {ROOT, os.getcwd(), *self.options.keep}]
        folders.append((self.kernel.modules, f"/lib/modules/{self.kernel.release}"))
        archive.data("folders", "".join(f"{one} {two}\n" for one, two in folders).encode())
        archive.data("begin.sh", BEGIN.format(
            exports=exported(), folder=shlex.quote(os.getcwd()),
            command=shlex.join(self.options.command), mark=MARK).encode())
        archive.close()

    def share(self):
        """Start what gives the guest this machine's files."""
        tree = os.path.join(self.scratch, "tree")
        os.mkdir(tree)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)

        def many_files():
            # It holds one open for each file that the guest has seen.
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
             os.path.join(HERE, "share.sh"), VIRTIOFSD, self.socket, tree, *self.options.keep],
            preexec_fn=many_files, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not os.path.exists(self.socket):
            if process.poll() is not None:
                raise kernel.Absent("virtiofsd does not start: " + process.stderr.read().strip())
            time.sleep(0.02)
        return process

    def machine(self):
        memory = f"{self.options.memory}M"
        return ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
                "-M", "microvm,memory-backend=memory", "-accel", "tcg,thread=multi,tb-size=512",
                "-cpu", "max,la57=off", "-smp", "2", "-m", memory,
                "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
                "-kernel", self.kernel.image, "-initrd", os.path.join(self.scratch, "initramfs"),
                "-append", "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=2000000 "
                "mitigations=off",
                "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-global", "virtio-mmio.force-legacy=off",
                "-chardev", f"socket,id=files,path={self.socket}",
                "-device", "vhost-user-fs-device,chardev=files,tag=host",
                "-chardev", f"file,id=console,path={self.console}",
                "-serial", "chardev:console", "-chardev", "stdio,id=output,signal=off",
                "-device", "virtio-serial-device", "-device", "virtserialport,chardev=output"]

    def told(self):
        with open(self.console, encoding="utf-8", errors="replace") as file:
            return file.read()

    def run(self):
        """@return the command's status, or None when it never told one"""
        self.make_initramfs()
        files = self.share()
        # Its input stays open: at its end QEMU would take the output for closed, too.
        machine = subprocess.Popen(self.machine(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if not pass_on(machine.stdout, self.options.deadline):
                print(f"the guest did not end within {self.options.deadline} s", flush=True)
        finally:
            for process in (machine, files):
                process.kill()
                process.wait()
        found = re.search(MARK + r"(\d+)", self.told())
        return int(found.group(1)) if found else None


def pass_on(stream, deadline_s):
    """Show what comes until its end. @return false when that is not within the deadline"""
    end = time.monotonic() + deadline_s
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            return False
        part = os.read(stream.fileno(), 65536)
        if not part:
            return True
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deadline", type=int, default=600, help="seconds for all of it")
    parser.add_argument("--memory", type=int, default=2048, help="MiB that the guest has")
    parser.add_argument("--keep", action="append", default=[], type=os.path.abspath,
                        help="a folder where the guest may write")
    parser.add_argument("--cache", type=os.path.abspath, default=os.path.join(ROOT, "build/guest"),
                        help="where the kernel is kept")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    options.command = options.command[options.command[:1] == ["--"]:]
    if not options.command:
        parser.error("there is no command")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for program, package in PROGRAMS.items():
            if shutil.which(program) is None:
                raise kernel.Absent(f"{program} ({package}) is not installed")
        found = kernel.find(options.cache)
        with tempfile.TemporaryDirectory(prefix="berth-guest-") as scratch:
            guest = Guest(options, found, scratch)
            status = guest.run()
            if status is None:
                print("the guest told no status; its console:\n" + guest.told()[-8000:], flush=True)
                status = 1
    except kernel.Absent as why:
        print(f"SKIP: {why}", flush=True)
        sys.exit(SKIPPED)
    sys.exit(status)


if __name__ == "__main__":
    main()
