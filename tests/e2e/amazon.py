"""Amazon's real container agent and a Docker daemon for tests, each in the tests' own namespaces.

Neither is part of Berth, and the agent is no package of Debian's. AMAZON_ECS_AGENT names the agent's
program; `dockerd` and `docker` (Debian: docker.io) are on the PATH, or in folders that DOCKER_PATH
names. Without them what needs them is skipped.
"""
import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import urllib.request

import pytest

import support

AGENT = os.environ.get("AMAZON_ECS_AGENT")
PATH = os.environ.get("DOCKER_PATH", "") + ":" + os.environ.get("PATH", "")
BRIDGE = "172.31.77.1/24"
INTROSPECTION, ENDPOINT = 51678, 51679  # the agent's own ports


def why_not():
    """Why there is no real agent here, or None."""
    if not AGENT or not os.access(AGENT, os.X_OK):
        return "AMAZON_ECS_AGENT names no program: the real agent is not tested"
    for name in ("dockerd", "docker", "iptables"):
        if shutil.which(name, path=PATH) is None:
            return f"{name} is not here: the real agent is not tested"
    return None


def cgroups(name):
    """The folders of a cgroup, one in each hierarchy."""
    return glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}")


class Docker:
    """A daemon with folders and a cgroup of its own."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.host = f"unix://{self.folder}/docker.sock"
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("AWS_", "ECS_"))}
        self.environment.update(PATH=PATH, DOCKER_HOST=self.host)
        self.cgroup = f"/berth-test-docker-{os.getpid()}"
        self.tidy = not cgroups("ecs")  # the agent's: it makes it and leaves it
        self.process = None

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        with open(f"{self.folder}/log", "ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "-H", self.host, "--data-root", f"{self.folder}/data", "--exec-root",
                 f"{self.folder}/exec", "--pidfile", f"{self.folder}/pid", "--bip", BRIDGE,
                 "--cgroup-parent", self.cgroup],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            """the Docker daemon"""
            assert self.process.poll() is None, self.tail()
            return self.run("version", check=False).returncode == 0
        support.wait_for(ready, step=0.2)
        return self

    def tail(self):
        with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as file:
            return "the Docker daemon's log ends with:\n" + "".join(file.readlines()[-20:])

    def run(self, *arguments, check=True):
        done = subprocess.run(["docker", *arguments], env=self.environment, capture_output=True,
                              text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"docker {arguments}: {done.stderr}"
        return done

    def inspect(self, runtime_id):
        return json.loads(self.run("inspect", runtime_id).stdout)[0]

    def output(self, runtime_id):
        return self.run("logs", runtime_id).stdout

    def stop(self):
        if self.process is None:
            return
        ids = self.run("ps", "-aq", check=False).stdout.split()
        if ids:
            self.run("rm", "-f", *ids, check=False)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.process = None
        for folder in cgroups(self.cgroup.strip("/")) + (cgroups("ecs") if self.tidy else []):
            for path, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(path)


class Agent:
    """Amazon's agent, on this host, in a cluster of a server's."""

    def __init__(self, folder, berth, docker, cluster, *options, **settings):
        self.folder, self.berth, self.docker, self.cluster = str(folder), berth, docker, cluster
        self.options, self.settings = options, settings
        self.process = None

    def start(self):
        os.makedirs(f"{self.folder}/data", exist_ok=True)
        keys = self.berth.keys
        environment = {
            **self.docker.environment, "ECS_BACKEND_HOST": keys["endpoint"],
            "ECS_CLUSTER": self.cluster, "AWS_DEFAULT_REGION": keys["region"],
            "AWS_ACCESS_KEY_ID": keys["accessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["secretAccessKey"], "ECS_EXTERNAL": "true",
            "ECS_ENABLE_TASK_IAM_ROLE": "true", "ECS_CHECKPOINT": "true",
            "ECS_DATADIR": f"{self.folder}/data", "ECS_HOST_DATA_DIR": self.folder,
            "ECS_LOGFILE": f"{self.folder}/agent.log",
            "ECS_AUDIT_LOGFILE": f"{self.folder}/audit.log",
            # Images are loaded, and there is no network to pull any from.
            "ECS_IMAGE_PULL_BEHAVIOR": "prefer-cached", "ECS_DISABLE_IMAGE_CLEANUP": "true",
            "ECS_CONTAINER_STOP_TIMEOUT": "2s", **self.settings,
        }
        with open(f"{self.folder}/out", "ab") as out:
            self.process = subprocess.Popen(
                [AGENT, "-blackhole-ec2-metadata", "-loglevel", "debug", *self.options], env=environment,
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        return self

    def tail(self):
        with open(f"{self.folder}/out", encoding="utf-8", errors="replace") as file:
            return "the agent's log ends with:\n" + "".join(file.readlines()[-60:])

    def complaints(self):
        """What it said of the server that no server should make it say."""
        words = ("Unrecognized", "Could not decode", "Unable to decode", "validating",
                 "Unable to handle", "Discarding task manifest", "signature")
        with open(f"{self.folder}/out", encoding="utf-8", errors="replace") as file:
            return [line for line in file if line.startswith(("level=error", "level=warn",
                                                              "level=critical"))
                    and any(word in line for word in words)]

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            assert self.process.poll() is None, self.tail()
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def instance(self, *include):
        ecs = self.berth.client("ecs")
        arns = ecs.list_container_instances(cluster=self.cluster)["containerInstanceArns"]
        return ecs.describe_container_instances(
            cluster=self.cluster, containerInstances=arns,
            include=list(include))["containerInstances"][0] if arns else None

    def wait_connected(self, seconds=support.PATIENCE):
        def connected():
            """the real agent's session"""
            assert self.process.poll() is None, self.tail()
            instance = self.instance()
            return instance if instance and instance["agentConnected"] else None
        return support.wait_for(connected, seconds, 0.2)

    def protect(self, made):
        """A task's container, as Docker has it, asks for the protection of its task."""
        [where] = [one.partition("=")[2] for one in made["Config"]["Env"]
                   if one.startswith("ECS_AGENT_URI=")]
        path = where.partition("169.254.170.2")[2]
        request = urllib.request.Request(
            f"http://127.0.0.1:{ENDPOINT}{path}/task-protection/v1/state",
            b'{"ProtectionEnabled":true,"ExpiresInMinutes":5}', method="PUT",
            headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def credentials(self, identifier):
        """What a container gets at its endpoint."""
        with urllib.request.urlopen(
                f"http://127.0.0.1:{ENDPOINT}/v2/credentials/{identifier}", timeout=10) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    daemon = Docker(tmp_path_factory.mktemp("docker"))
    try:
        daemon.start()
        for name in ("hello.tar.gz", "redis.tar.gz"):
            daemon.run("load", "-i", os.path.join(support.IMAGES, name))
        yield daemon
    finally:
        daemon.stop()
