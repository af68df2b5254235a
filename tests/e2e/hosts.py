"""Hosts for tests: network namespaces on a common bridge, each with an agent of its own."""
import os
import signal
import subprocess

import support


def sh(*words):
    subprocess.run(words, check=True, capture_output=True)


class Host:
    """A network namespace with a link to a common bridge."""

    def __init__(self, name, address):
        self.name, self.address = name, address
        sh("ip", "netns", "add", name)
        sh("ip", "link", "add", f"{name}-u", "type", "veth", "peer", "name", "eth0", "netns", name)
        sh("ip", "link", "set", f"{name}-u", "master", "lan", "up")
        for words in (("link", "set", "lo", "up"), ("link", "set", "eth0", "up"),
                      ("addr", "add", f"{address}/24", "dev", "eth0"),
                      ("route", "add", "default", "via", "198.18.0.1")):
            sh("ip", "-n", name, *words)
        # Not `ip netns exec`: that hides the cgroups behind a /sys of its own.
        self.prefix = ["nsenter", f"--net=/run/netns/{name}"]

    def remove(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


class Agent:
    """A `berth agent` on a host."""

    def __init__(self, host, data, token, zone, *arguments):
        self.host, self.data = host, str(data)
        self.log = os.path.join(self.data, "agent.log")
        os.makedirs(self.data, exist_ok=True)
        self.arguments = ["--zone", zone, "--name", host.name, *arguments]
        self.start("--join", token)

    def start(self, *join):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.host.prefix, support.BERTH, "agent", "--data", self.data, *join,
                 *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def end(self, seconds=support.PATIENCE):
        """Wait for its own end. @return its status and output"""
        self.process.wait(seconds)
        return self.process.returncode, self.output()

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.end()


class Lan:
    """The bridge that hosts are on; the test's own namespace is 198.18.0.1 there."""

    def __init__(self):
        sh("ip", "link", "add", "lan", "type", "bridge")
        sh("ip", "link", "set", "lan", "up")
        sh("ip", "addr", "add", "198.18.0.1/24", "dev", "lan")

    def remove(self):
        sh("ip", "link", "del", "lan")
