"""A Berth for tests: started on free ports and a folder of its own, ended by its own pid."""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

import boto3
import botocore.config
import pytest

import models

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BERTH = os.environ.get("BERTH", os.path.join(ROOT, "build/berth"))
# Whether this is the emulated guest of tests/in_guest, and how much longer things may take there.
GUEST = "BERTH_GUEST" in os.environ
SLOW = float(os.environ.get("BERTH_SLOW", "1"))
IMAGES = os.environ.get("BERTH_IMAGES", os.path.join(ROOT, "build/images"))
# Seconds after which something will not come any more. Far longer than anything takes: no test is
# about how fast a machine is, nor about what else it does at the time.
PATIENCE = 240
# It keeps the models of services, which take longer to read than anything that is asked of a client.
SESSION = boto3.session.Session()
PORTS = iter(range(random.randrange(12000, 22000), 32000))
CLIENTS = threading.Lock()  # whose clients are made one at a time
WAITER = {"Delay": 0.2, "MaxAttempts": PATIENCE * 5}  # for boto3's waiters


def free_port(address="127.0.0.1"):
    """A port below those that connections get, so that none of them has it when it is wanted."""
    for port in PORTS:
        with socket.socket() as probe:
            try:
                probe.bind((address, port))
                return port
            except OSError:
                pass  # some program's
    raise AssertionError("no port is free")


def wait_for(what, seconds=PATIENCE, step=0.02):
    """Call until it returns something true; return that, or fail with what was waited for."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what.__doc__ or what}"
        time.sleep(step)


class Berth:
    """One `berth up` (or `berth server`) and clients for it."""

    def __init__(self, data, *arguments, command="up", address="127.0.0.1", port=None, prefix=()):
        self.data = str(data)
        self.command = command
        self.arguments = list(arguments)
        self.address = address
        self.port = port or free_port()
        self.prefix = list(prefix)
        self.process = None
        self.log = os.path.join(self.data, "test.log")

    @property
    def endpoint(self):
        scheme = "http" if self.address.startswith("127.") else "https"
        return f"{scheme}://{self.address}:{self.port}"

    def start(self, seconds=PATIENCE):
        os.makedirs(self.data, exist_ok=True)
        with open(self.log, "ab") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                [*self.prefix, BERTH, self.command, "--data", self.data, "--listen",
                 f"{self.address}:{self.port}", *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            """the line `ready URL`"""
            assert self.process.poll() is None, self.tail()
            with open(self.log, "rb") as file:
                file.seek(begin)
                return b"\nready http" in b"\n" + file.read()
        wait_for(ready, seconds)
        return self

    def tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "the log ends with:\n" + "".join(file.readlines()[-40:])

    def stop(self, how=signal.SIGTERM, seconds=PATIENCE):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(seconds * SLOW)
        status = self.process.returncode if self.process else None
        self.process = None
        return status

    def kill(self):
        self.stop(signal.SIGKILL)

    @property
    def keys(self):
        with open(os.path.join(self.data, "client.json"), encoding="utf-8") as file:
            return json.load(file)

    def client(self, service="ecs", **changes):
        """A boto3 client whose every response is checked against botocore's model."""
        keys = self.keys
        settings = {"endpoint_url": keys["endpoint"], "region_name": keys["region"],
                    "aws_access_key_id": keys["accessKeyId"],
                    "aws_secret_access_key": keys["secretAccessKey"],
                    "verify": keys.get("caFile", True),
                    "config": botocore.config.Config(retries={"max_attempts": 1},
                                                     read_timeout=PATIENCE * SLOW,
                                                     connect_timeout=PATIENCE * SLOW)}
        settings.update(changes)
        with CLIENTS:
            return models.install(SESSION.client(service, **settings))

    def environment(self):
        keys = self.keys
        names = {"AWS_ACCESS_KEY_ID": keys["accessKeyId"], "AWS_PAGER": "",
                 "AWS_SECRET_ACCESS_KEY": keys["secretAccessKey"],
                 "AWS_DEFAULT_REGION": keys["region"], "AWS_ENDPOINT_URL": keys["endpoint"],
                 "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        if "caFile" in keys:
            names["AWS_CA_BUNDLE"] = keys["caFile"]
        return dict(os.environ, **names)

    def run(self, *arguments, check=True, seconds=PATIENCE):
        """A berth command on this data directory; returns its standard output."""
        words = list(arguments)
        position = 2 if words[0] in ("image", "debug") else 1
        words[position:position] = ["--data", self.data]
        done = subprocess.run([BERTH, *words], capture_output=True, text=True,
                              timeout=seconds * SLOW, check=False)
        if check:
            assert done.returncode == 0, f"berth {' '.join(words)}: {done.stderr}\n{self.tail()}"
            return done.stdout
        return done

    def aws(self, *arguments, program="aws", seconds=120):
        """The AWS CLI; returns what it printed, decoded."""
        done = subprocess.run([program, "--endpoint-url", self.keys["endpoint"], "--output", "json",
                               *arguments], capture_output=True, text=True,
                              timeout=seconds * SLOW, env=self.environment(), check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def load(self, *names):
        for name in names:
            self.run("image", "load", os.path.join(IMAGES, name))

    def written(self, *words, text="started"):
        """Wait until `berth logs` shows a text: a task is RUNNING before its program has written
        anything. Returns the output."""
        def shown():
            output = self.run("logs", *words, check=False).stdout
            return output if text in output else None
        shown.__doc__ = f"{text!r} in the output of {words}"
        return wait_for(shown, step=0.1)

    def network(self):
        """Arguments for RunTask: the default subnets and security group."""
        out = self.run("env")
        values = dict(line[len("export "):].split("=", 1) for line in out.splitlines())
        subnets = values["BERTH_SUBNETS"].strip("'").split(",")
        groups = [values["BERTH_SECURITY_GROUP"].strip("'")]
        return {"awsvpcConfiguration": {"subnets": subnets, "securityGroups": groups}}


def needs(client, operation, member=None, value=None):
    """Skip the test, visibly, when this machine's AWS SDK is too old to know something."""
    model = client.meta.service_model
    version = client.meta.config.user_agent.split()[0]
    if operation not in model.operation_names:
        pytest.skip(f"{version} does not know {operation}")
    shape = model.operation_model(operation).input_shape
    if member is not None and member not in shape.members:
        pytest.skip(f"{version} does not know {operation}.{member}")
    if value is not None and value not in shape.members[member].enum:
        pytest.skip(f"{version} does not know {value} for {operation}.{member}")


def aws_programs():
    """Every AWS CLI on this machine: the newer one may know more operations."""
    found = []
    for program in (shutil.which("aws"), "/usr/bin/aws"):
        if program and os.path.exists(program) and os.path.realpath(program) not in map(
                os.path.realpath, found):
            found.append(program)
    return found
