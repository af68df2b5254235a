"""Secrets in containers: each form of valueFrom, what cannot be had, and where values never are."""
import json
import os
import stat
import uuid

import botocore.exceptions
import pytest

import fields
import services
import support
from fields import box

VALUE = "s3cr3t-marmalade-4412"
OLDER = "s3cr3t-porridge-8023"
ROLE = "arn:aws:iam::000000000000:role/execution"
ASM = ("ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
       "retrieval failed: unable to retrieve secret from asm: service call has been retried 1 "
       "time(s): ")
SSM = ("ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
       "retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 "
       "time(s): ")


class World:
    """A node, and secrets that tests name."""

    def __init__(self, node):
        self.node = node
        self.manager = node.client("secretsmanager")
        self.ssm = node.client("ssm")
        made = self.manager.create_secret(
            Name="app/db", SecretString=json.dumps({"password": OLDER}))
        self.first = made["VersionId"]
        self.arn = made["ARN"]
        self.manager.put_secret_value(SecretId="app/db", SecretString=json.dumps(
            {"password": VALUE, "port": 5432, "nested": {"a": [1, "}"]}, "q\"uote": "\u00e9\n\\"}))
        self.manager.put_secret_value(SecretId="app/db", SecretString=json.dumps(
            {"password": "next"}), VersionStages=["AWSPENDING"])
        self.plain = self.manager.create_secret(Name="plain", SecretString=VALUE)["ARN"]
        self.binary = self.manager.create_secret(Name="binary", SecretBinary=b"\x00\x01")["ARN"]
        self.ssm.put_parameter(Name="/app/key", Type="SecureString", Value=VALUE)
        self.ssm.put_parameter(Name="/app/key", Value="newer", Overwrite=True)
        self.ssm.put_parameter(Name="flag", Type="String", Value="on")
        self.parameter = self.ssm.get_parameter(Name="/app/key")["Parameter"]["ARN"]

    def launch(self, secrets, script="env", launch="FARGATE", **members):
        mode = {"networkMode": "host"} if launch == "EC2" else {
            "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"]}
        return self.node.launch("secrets", {
            **mode, "cpu": "256", "memory": "512", "executionRoleArn": ROLE,
            "containerDefinitions": [
                box(script, secrets=[{"name": name, "valueFrom": value}
                                     for name, value in secrets.items()], **members)]},
            {"launchType": launch})

    def run(self, secrets, script="env", launch="FARGATE", **members):
        return self.node.stopped(self.launch(secrets, script, launch, **members))

    def variables(self, secrets, launch="FARGATE", **members):
        ended = self.run(secrets, "for n in " + " ".join(secrets) + "; do eval \"v=\\$$n\"; "
                         "printf '%s=%s\\0' \"$n\" \"$v\"; done", launch, **members)
        return dict(one.split("=", 1) for one in ended.output().split("\0") if one)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    for node in fields.make_node(tmp_path_factory.mktemp("node")):
        yield World(node)


@pytest.mark.parametrize("launch", ["FARGATE", "EC2"])
def test_forms_of_value_from(world, launch):
    arn = world.arn
    wanted = {
        "PLAIN": (world.plain, VALUE),
        "PARTIAL": (world.plain[:-7], VALUE),
        "KEY": (f"{arn}:password::", VALUE),
        "NUMBER": (f"{arn}:port::", "5432"),
        "OBJECT": (f"{arn}:nested::", '{"a": [1, "}"]}'),
        "ESCAPED": (f"{arn}:q\"uote::", "\u00e9\n\\"),
        "STAGE": (f"{arn}:password:AWSPREVIOUS:", OLDER),
        "PENDING": (f"{arn}:password:AWSPENDING:", "next"),
        "VERSION": (f"{arn}:password::{world.first}", OLDER),
        "WHOLE": (f"{arn}::AWSPREVIOUS:", json.dumps({"password": OLDER})),
        "NAME": ("/app/key", "newer"),
        "PARAMETER": (world.parameter, "newer"),
        "OLD": ("/app/key:1", VALUE),
        "OLD_ARN": (world.parameter + ":1", VALUE),
        "STRING": ("flag", "on"),
    }
    found = world.variables({name: value for name, (value, _) in wanted.items()}, launch)
    assert found == {name: value for name, (_, value) in wanted.items()}


def test_a_secret_wins_over_an_environment_file(world, tmp_path):
    """Names of secrets and of a definition's own variables differ; a file may name one."""
    (tmp_path / "a.env").write_text("A=off\nB=b\n", encoding="utf-8")
    ended = world.run({"A": "flag"}, "echo $A $B", "EC2", environmentFiles=[
        {"type": "s3", "value": f"file://{tmp_path}/a.env"}])
    assert ended.output() == "on b\n"


@pytest.mark.parametrize("form, fargate, instance", [
    ("{plain}x", ASM + "failed to fetch secret {plain}x from secrets manager: "
     "ResourceNotFoundException: Secrets Manager can't find the specified secret.",
     "Fetching secret data from AWS Secrets Manager in region {region}: secret {plain}x: "
     "ResourceNotFoundException: Secrets Manager can't find the specified secret."),
    ("{arn}:user::", ASM + "retrieved secret from Secrets Manager did not contain json key user",
     "Fetching secret data from AWS Secrets Manager in region {region}: retrieved secret from "
     "Secrets Manager did not contain json key user"),
    ("{arn}:password:mine:", ASM + "failed to fetch secret {arn} from secrets manager: "
     "ResourceNotFoundException: Secrets Manager can't find the specified secret value for "
     "staging label: mine",
     "Fetching secret data from AWS Secrets Manager in region {region}: secret {arn}: "
     "ResourceNotFoundException: Secrets Manager can't find the specified secret value for "
     "staging label: mine"),
    ("{plain}:key::", ASM + "retrieved secret from Secrets Manager is no JSON object, so it has no "
     "json key key",
     "Fetching secret data from AWS Secrets Manager in region {region}: retrieved secret from "
     "Secrets Manager is no JSON object, so it has no json key key"),
    ("{binary}", ASM + "the secret has a binary value, which cannot be an environment variable",
     "Fetching secret data from AWS Secrets Manager in region {region}: the secret has a binary "
     "value, which cannot be an environment variable"),
    ("{arn}:password", ASM + "unexpected ARN format with parameters when trying to retrieve ASM "
     "secret",
     "Fetching secret data from AWS Secrets Manager in region {region}: unexpected ARN format with "
     "parameters when trying to retrieve ASM secret"),
    ("/app/none", SSM + "invalid ssm parameters: /app/none",
     "Fetching secret data from SSM Parameter Store in {region}: invalid parameters: /app/none"),
    ("/app/key:9", SSM + "invalid ssm parameters: /app/key:9",
     "Fetching secret data from SSM Parameter Store in {region}: invalid parameters: /app/key:9"),
], ids=["missing", "key", "stage", "no object", "binary", "ARN", "parameter", "version"])
def test_what_cannot_be_had(world, form, fargate, instance):
    names = {"plain": world.plain, "arn": world.arn, "binary": world.binary,
             "region": world.plain.split(":")[3]}
    for launch, wanted in (("FARGATE", fargate), ("EC2", instance)):
        ended = world.run({"A": form.format(**names)}, launch=launch)
        assert ended.reason == wanted.format(**names)
        assert ended.task["stopCode"] == "TaskFailedToStart"
        assert all("exitCode" not in one for one in ended.task["containers"])


def test_all_missing_parameters_are_told(world):
    ended = world.run({"A": "/none/a", "B": "flag", "C": "/none/c"})
    assert ended.reason == SSM + "invalid ssm parameters: /none/a,/none/c"


@pytest.mark.parametrize("launch", ["FARGATE", "EC2"])
def test_diagnose(world, launch):
    gone = world.plain[:-7] + "-gone"
    ended = world.run({"A": gone}, launch=launch)
    told = world.node.run("diagnose", ended.task["taskArn"], check=False).stdout
    assert "needs a secret" in told and gone in told, told
    assert "secretsmanager list-secrets" in told and "ssm describe-parameters" in told, told


def test_a_missing_secret_can_be_put_and_tried_again(world):
    name = f"later-{uuid.uuid4().hex}"
    region = world.plain.split(":")[3]
    arn = f"arn:aws:secretsmanager:{region}:000000000000:secret:{name}"
    assert "can't find the specified secret" in world.run({"A": arn}).reason
    world.manager.create_secret(Name=name, SecretString="here")
    assert world.variables({"A": arn}) == {"A": "here"}


def test_values_are_those_of_the_start(world):
    """A restart of the container has them again; a new value is for the next task."""
    world.manager.create_secret(Name="moving", SecretString="before")
    arn = world.manager.describe_secret(SecretId="moving")["ARN"]
    script = ('echo "$A"; [ -e /tmp/again ] && exit 0; touch /tmp/again; '
              'until [ -e /tmp/go ]; do sleep 0.1; done; exit 1')
    task = world.launch({"A": arn}, script, restartPolicy={
        "enabled": True, "ignoredExitCodes": [0], "restartAttemptPeriod": 60})
    world.node.until(task, lastStatus="RUNNING")
    world.manager.put_secret_value(SecretId="moving", SecretString="after")
    with open(f"/proc/{services.container(task)}/root/tmp/go", "w", encoding="ascii"):
        pass
    ended = world.node.stopped(task)
    assert set(ended.log().split()) == {"before"}, ended.log()
    assert world.variables({"A": arn}) == {"A": "after"}


def test_a_server_that_starts_again(world):
    """Killed between tasks and while one runs: values are there as before."""
    node = world.node
    task = world.launch({"A": world.plain}, fields.SLEEP)
    node.until(task, lastStatus="RUNNING")
    node.kill()
    node.start()
    assert world.variables({"A": world.plain}) == {"A": VALUE}
    assert node.describe(task)["lastStatus"] == "RUNNING"
    node.ecs.stop_task(task=task)
    node.stopped(task)


def test_who_may_ask_for_a_tasks_secrets(world):
    """Only the node that runs it, only while it is to run."""
    node = world.node
    with open(os.path.join(node.data, "node/identity.json"), encoding="utf-8") as file:
        identity = json.load(file)
    task = world.launch({"A": world.plain}, fields.SLEEP)
    node.until(task, lastStatus="RUNNING")
    keys = node.keys
    own = (identity["accessKeyId"], identity["secretAccessKey"])
    root = (keys["accessKeyId"], keys["secretAccessKey"])
    assert ask(node, own, task)["secrets"][0]["value"] == VALUE
    assert ask(node, root, task)["__type"] == "AccessDeniedException"
    assert ask(node, own, task[:-4] + "0000")["__type"] == "ResourceNotFoundException"
    # A node's key reads no secret that no task of its own names.
    manager = node.client("secretsmanager", aws_access_key_id=own[0], aws_secret_access_key=own[1])
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        manager.get_secret_value(SecretId=world.plain)
    node.ecs.stop_task(task=task)
    node.stopped(task)
    assert ask(node, own, task)["__type"] == "ResourceNotFoundException"


def ask(node, keys, task):
    """Call GetTaskSecrets as the holder of some keys."""
    import http.client
    import raw
    host = f"{node.address}:{node.port}"
    signer = raw.Signer(keys[0], keys[1], node.keys["region"], host, "berth")
    body = json.dumps({"task": task}).encode()
    headers = signer.sign({"x-amz-target": "Berth.GetTaskSecrets",
                           "content-type": "application/x-amz-json-1.1"}, body)
    connection = http.client.HTTPConnection(host, timeout=support.PATIENCE)
    connection.request("POST", "/", body, headers)
    return json.loads(connection.getresponse().read())


def holders(folder, needle):
    """Files that hold a value, and whether others than their owner can read them."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            try:
                mode = os.lstat(path).st_mode
                if not stat.S_ISREG(mode):
                    continue
                with open(path, "rb") as file:
                    if needle.encode() in file.read():
                        found[path] = stat.S_IMODE(mode)
            except OSError:
                continue  # it went
    return found


def test_where_values_are(world):
    """While a task with secrets runs: in what its runtime reads, for root only, below /run."""
    node = world.node
    needle = f"needle-{uuid.uuid4().hex}"
    world.manager.create_secret(Name=needle[:20], SecretString=needle)
    arn = world.manager.describe_secret(SecretId=needle[:20])["ARN"]
    world.ssm.put_parameter(Name="/" + needle[:20], Type="SecureString", Value=needle)
    script = ('[ "$A" = "$B" ] && [ -n "$A" ] || exit 1; '
              'wget -q -O /tmp/meta "$ECS_CONTAINER_METADATA_URI_V4/task" && '
              'grep -c "$A" /tmp/meta; grep -c MAIN_MARK /tmp/meta; ' + fields.SLEEP)
    task = world.launch({"A": arn, "B": "/" + needle[:20]}, script)
    node.until(task, lastStatus="RUNNING")
    assert needle not in json.dumps(node.describe(task), default=str)
    assert needle not in json.dumps(node.ecs.describe_task_definition(
        taskDefinition="secrets"), default=str)
    assert needle not in node.run("debug", "dump")
    assert holders(node.data, needle) == {}
    with open(os.path.join(node.data, "instance"), encoding="utf-8") as file:
        run = os.path.join("/run/berth", file.read().strip())
    found = holders(run, needle)
    assert found and not any(mode & 0o077 for mode in found.values()), found
    node.written(task, text="0\n0\n")
    node.ecs.stop_task(task=task)
    ended = node.stopped(task)
    assert ended.log().split() == ["0", "0"], ended.log()
    support.wait_for(lambda: holders(run, needle) == {})
    assert holders(node.data, needle) == {}


def test_an_agent_that_is_killed_asks_again(world):
    """Ended while tasks with secrets start: each has its values, or was never started."""
    node = world.node
    tasks = [world.launch({"A": world.plain}, 'echo "$A"; sleep 1') for _ in range(6)]
    node.kill()
    node.start()
    for task in tasks:
        ended = node.stopped(task)
        assert ended.log() == VALUE + "\n", ended.task

