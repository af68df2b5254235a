"""Secrets Manager, asked by boto3 and by each AWS CLI of this machine."""
import os
import stat
import time

import botocore.exceptions
import pytest

import support

VALUE = "correct-horse-battery-staple-7461"


@pytest.fixture(scope="module")
def berth(tmp_path_factory):
    """A server without a node: nothing here runs."""
    instance = support.Berth(tmp_path_factory.mktemp("secrets"), command="server")
    instance.start()
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture(scope="module")
def manager(berth):
    return berth.client("secretsmanager")


def refused(call, **arguments):
    """Code and message of a refusal."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def files_with(directory, needle):
    """Files below a directory that hold some bytes."""
    found = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            with open(path, "rb") as file:
                if needle.encode() in file.read():
                    found.append(path)
    return found


def test_life(manager):
    made = manager.create_secret(Name="life/a", SecretString="one", Description="first",
                                 Tags=[{"Key": "team", "Value": "blue"}])
    arn = made["ARN"]
    assert arn.startswith("arn:aws:secretsmanager:") and arn[:-7].endswith(":secret:life/a"), arn
    for name in ("life/a", arn, arn[:-7]):
        got = manager.get_secret_value(SecretId=name)
        assert got["SecretString"] == "one" and got["VersionId"] == made["VersionId"]
        assert got["VersionStages"] == ["AWSCURRENT"] and got["ARN"] == arn
    second = manager.put_secret_value(SecretId="life/a", SecretBinary=b"\x00\xff\x01")
    assert manager.get_secret_value(SecretId=arn)["SecretBinary"] == b"\x00\xff\x01"
    assert manager.get_secret_value(SecretId=arn,
                                    VersionStage="AWSPREVIOUS")["SecretString"] == "one"
    assert manager.get_secret_value(SecretId=arn,
                                    VersionId=made["VersionId"])["SecretString"] == "one"
    third = manager.update_secret(SecretId=arn, SecretString="three", Description="second")
    shown = manager.describe_secret(SecretId="life/a")
    assert shown["Description"] == "second" and shown["Tags"] == [{"Key": "team", "Value": "blue"}]
    assert shown["VersionIdsToStages"] == {second["VersionId"]: ["AWSPREVIOUS"],
                                           third["VersionId"]: ["AWSCURRENT"]}
    assert abs(shown["CreatedDate"].timestamp() - time.time()) < 600
    manager.update_secret_version_stage(SecretId=arn, VersionStage="AWSCURRENT",
                                        RemoveFromVersionId=third["VersionId"],
                                        MoveToVersionId=made["VersionId"])
    assert manager.get_secret_value(SecretId=arn)["SecretString"] == "one"
    ids = {entry["VersionId"]: entry.get("VersionStages") for entry in
           manager.list_secret_version_ids(SecretId=arn, IncludeDeprecated=True)["Versions"]}
    assert ids == {made["VersionId"]: ["AWSCURRENT"], second["VersionId"]: None,
                   third["VersionId"]: ["AWSPREVIOUS"]}
    manager.tag_resource(SecretId=arn, Tags=[{"Key": "tier", "Value": "gold"}])
    manager.untag_resource(SecretId=arn, TagKeys=["team"])
    assert manager.describe_secret(SecretId=arn)["Tags"] == [{"Key": "tier", "Value": "gold"}]
    gone = manager.delete_secret(SecretId=arn, RecoveryWindowInDays=7)
    assert 6.9 < (gone["DeletionDate"].timestamp() - time.time()) / 86400 < 7.1
    assert refused(manager.get_secret_value, SecretId=arn) == (
        "InvalidRequestException",
        "You can't perform this operation on the secret because it was marked for deletion.")
    manager.restore_secret(SecretId=arn)
    assert manager.get_secret_value(SecretId=arn)["SecretString"] == "one"
    manager.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert refused(manager.get_secret_value, SecretId=arn) == (
        "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def test_pages(manager):
    for i in range(5):
        manager.create_secret(Name=f"page/{i}", SecretString=str(i))
    pages = manager.get_paginator("list_secrets").paginate(
        Filters=[{"Key": "name", "Values": ["page/"]}], PaginationConfig={"PageSize": 2})
    found = [[entry["Name"] for entry in page["SecretList"]] for page in pages]
    assert found == [["page/0", "page/1"], ["page/2", "page/3"], ["page/4"]]
    for i in range(12):
        manager.put_secret_value(SecretId="page/0", SecretString=f"again {i}",
                                 VersionStages=["AWSCURRENT", f"label-{i}"])
    sizes, token = [], {}
    while token is not None:
        page = manager.list_secret_version_ids(SecretId="page/0", MaxResults=5, **token)
        sizes.append(len(page["Versions"]))
        token = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert sizes == [5, 5, 2]


def test_limits(manager):
    big = "x" * 65536
    manager.create_secret(Name="limits", SecretString=big)
    assert manager.get_secret_value(SecretId="limits")["SecretString"] == big
    code, message = refused(manager.put_secret_value, SecretId="limits", SecretString="é" * 40000)
    assert code == "ValidationException" and "80000 bytes" in message
    # An SDK checks lengths before it asks, so only names tell what the server says.
    assert refused(manager.create_secret, Name="a b")[0] == "ValidationException"
    assert refused(manager.create_secret, Name="n" * 513)[0] == "ValidationException"


def test_what_is_not_built_says_so(manager):
    code, message = refused(manager.rotate_secret, SecretId="limits")
    assert code == "NotImplementedException", message
    assert "RotateSecret of secretsmanager is not built" in message
    # No secret has a policy, which tools ask for each time; none can be given one.
    assert "ResourcePolicy" not in manager.get_resource_policy(SecretId="limits")
    assert manager.delete_resource_policy(SecretId="limits")["Name"] == "limits"
    assert refused(manager.put_resource_policy, SecretId="limits", ResourcePolicy="{}")[0] == (
        "NotImplementedException")


def test_password(manager):
    word = manager.get_random_password(PasswordLength=20, ExcludePunctuation=True)["RandomPassword"]
    assert len(word) == 20 and word.isalnum()
    assert word != manager.get_random_password(PasswordLength=20)["RandomPassword"]


@pytest.mark.parametrize("program", support.aws_programs())
def test_cli(berth, tmp_path, program):
    name = f"cli/{len(program)}"
    made = berth.aws("secretsmanager", "create-secret", "--name", name, "--secret-string", "one",
                     program=program)
    got = berth.aws("secretsmanager", "get-secret-value", "--secret-id", made["ARN"],
                    program=program)
    assert got["SecretString"] == "one"
    (tmp_path / "blob").write_bytes(b"\x80two")
    berth.aws("secretsmanager", "put-secret-value", "--secret-id", name, "--secret-binary",
              f"fileb://{tmp_path}/blob", program=program)
    assert berth.aws("secretsmanager", "get-secret-value", "--secret-id", name,
                     program=program)["SecretBinary"] == "gHR3bw=="
    listed = berth.aws("secretsmanager", "list-secrets", "--filters",
                       f"Key=name,Values={name}", program=program)["SecretList"]
    assert [entry["ARN"] for entry in listed] == [made["ARN"]]
    berth.aws("secretsmanager", "delete-secret", "--secret-id", name,
              "--force-delete-without-recovery", program=program)


def test_values_are_sealed_on_disk_and_in_dumps(berth, manager):
    manager.create_secret(Name="sealed", SecretString=VALUE)
    code, message = refused(manager.create_secret, Name="sealed", SecretString=VALUE)
    assert code == "ResourceExistsException" and VALUE not in message
    manager.get_secret_value(SecretId="sealed")
    assert VALUE not in berth.run("debug", "dump")
    assert '"sealed":"***"' in berth.run("debug", "dump")
    key = os.path.join(berth.data, "server/secrets.key")
    assert stat.S_IMODE(os.stat(key).st_mode) == 0o600
    assert berth.stop() == 0
    assert files_with(berth.data, VALUE) == []
    # The same look finds what is not sealed.
    assert files_with(berth.data, "sealed") != []
    dump = berth.run("debug", "dump")
    assert VALUE not in dump and '"sealed":"***"' in dump
    berth.start()
    assert manager.get_secret_value(SecretId="sealed")["SecretString"] == VALUE


def test_a_lost_key_is_told_at_start(berth, manager):
    manager.create_secret(Name="lost", SecretString="gone")
    assert berth.stop() == 0
    key = os.path.join(berth.data, "server/secrets.key")
    os.rename(key, key + ".away")
    berth.start()
    with open(berth.log, encoding="utf-8") as log:
        lines = [line for line in log if "values of secrets and parameters cannot be read" in line]
    assert len(lines) == 1 and key in lines[0] and "made just now" in lines[0], lines
    code, message = refused(manager.get_secret_value, SecretId="lost")
    assert code == "DecryptionFailure" and "put that key file back" in message
    manager.create_secret(Name="new", SecretString="readable")
    assert manager.get_secret_value(SecretId="new")["SecretString"] == "readable"
    assert berth.stop() == 0
    os.rename(key + ".away", key)
    berth.start()
    assert manager.get_secret_value(SecretId="lost")["SecretString"] == "gone"


def test_a_key_that_others_can_read_is_refused(berth):
    assert berth.stop() == 0
    key = os.path.join(berth.data, "server/secrets.key")
    os.chmod(key, 0o644)
    with pytest.raises(AssertionError, match="can be read by others than its owner: chmod 600"):
        berth.start()
    os.chmod(key, 0o600)
    berth.start()
