"""Parameter Store, asked by boto3 and by each AWS CLI of this machine."""
import time

import botocore.exceptions
import pytest

import support

VALUE = "tr0ub4dor-and-3-0931"


@pytest.fixture(scope="module")
def berth(tmp_path_factory):
    """A server without a node: nothing here runs."""
    instance = support.Berth(tmp_path_factory.mktemp("parameters"), command="server")
    instance.start()
    yield instance
    assert instance.stop() == 0, instance.tail()


@pytest.fixture(scope="module")
def ssm(berth):
    return berth.client("ssm")


def refused(call, **arguments):
    """Code and message of a refusal."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_life(ssm):
    made = ssm.put_parameter(Name="/life/a", Type="SecureString", Value="one", Description="first",
                             Tags=[{"Key": "team", "Value": "blue"}])
    assert made["Version"] == 1 and made["Tier"] == "Standard"
    assert refused(ssm.put_parameter, Name="/life/a", Type="String", Value="x") == (
        "ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the "
                                  "overwrite option in the request to true.")
    assert ssm.put_parameter(Name="/life/a", Value="two", Overwrite=True)["Version"] == 2
    got = ssm.get_parameter(Name="/life/a", WithDecryption=True)["Parameter"]
    assert (got["Value"], got["Type"], got["Version"]) == ("two", "SecureString", 2)
    assert got["ARN"].startswith("arn:aws:ssm:") and got["ARN"].endswith(":parameter/life/a")
    assert abs(got["LastModifiedDate"].timestamp() - time.time()) < 600
    for name in ("/life/a:1", got["ARN"] + ":1"):
        assert ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] == "one"
    assert ssm.get_parameter(Name="/life/a")["Parameter"]["Value"] not in ("one", "two")
    assert ssm.label_parameter_version(Name="/life/a", ParameterVersion=1,
                                       Labels=["live", "1st"])["InvalidLabels"] == ["1st"]
    assert ssm.get_parameter(Name="/life/a:live",
                             WithDecryption=True)["Parameter"]["Selector"] == ":live"
    history = ssm.get_parameter_history(Name="/life/a", WithDecryption=True)["Parameters"]
    assert [(entry["Version"], entry["Value"], entry["Labels"] if "Labels" in entry else [])
            for entry in history] == [(1, "one", ["live"]), (2, "two", [])]
    assert ssm.unlabel_parameter_version(Name="/life/a", ParameterVersion=1,
                                         Labels=["live"])["RemovedLabels"] == ["live"]
    shown = ssm.describe_parameters(
        ParameterFilters=[{"Key": "Name", "Values": ["/life/a"]}])["Parameters"]
    assert [(entry["Name"], entry["KeyId"], entry["Description"]) for entry in shown] == [
        ("/life/a", "alias/aws/ssm", "first")]
    ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId="/life/a",
                             Tags=[{"Key": "tier", "Value": "gold"}])
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId="/life/a", TagKeys=["team"])
    assert ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/life/a")[
        "TagList"] == [{"Key": "tier", "Value": "gold"}]
    ssm.delete_parameter(Name="/life/a")
    assert refused(ssm.get_parameter, Name="/life/a")[0] == "ParameterNotFound"


def test_many(ssm):
    for name in ("/many/a", "/many/b/c", "/many/b/d", "other"):
        ssm.put_parameter(Name=name, Type="String", Value=name.upper())
    got = ssm.get_parameters(Names=["/many/a", "nowhere", "other"])
    assert {entry["Name"]: entry["Value"] for entry in got["Parameters"]} == {
        "/many/a": "/MANY/A", "other": "OTHER"}
    assert got["InvalidParameters"] == ["nowhere"]
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path="/many", Recursive=True, PaginationConfig={"PageSize": 2})
    assert [[entry["Name"] for entry in page["Parameters"]] for page in pages] == [
        ["/many/a", "/many/b/c"], ["/many/b/d"]]
    pages = ssm.get_paginator("describe_parameters").paginate(
        ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": ["/many"]}],
        PaginationConfig={"PageSize": 2})
    assert [len(page["Parameters"]) for page in pages] == [2, 1]
    gone = ssm.delete_parameters(Names=["/many/a", "/many/b/c", "/many/b/d", "nowhere"])
    assert gone["DeletedParameters"] == ["/many/a", "/many/b/c", "/many/b/d"]
    assert gone["InvalidParameters"] == ["nowhere"]
    assert ssm.get_parameters_by_path(Path="/many", Recursive=True)["Parameters"] == []


@pytest.mark.parametrize("program", support.aws_programs())
def test_cli(berth, program):
    name = f"/cli/{len(program)}"
    berth.aws("ssm", "put-parameter", "--name", name, "--type", "StringList", "--value", "a,b",
              program=program)
    got = berth.aws("ssm", "get-parameters", "--names", name, "--query", "Parameters[0].Value",
                    program=program)
    assert got == "a,b"
    listed = berth.aws("ssm", "get-parameters-by-path", "--path", "/cli", program=program)
    assert name in [entry["Name"] for entry in listed["Parameters"]]
    berth.aws("ssm", "delete-parameter", "--name", name, program=program)


def test_values_are_sealed_and_survive(berth, ssm):
    ssm.put_parameter(Name="sealed", Type="String", Value=VALUE)
    dump = berth.run("debug", "dump")
    assert VALUE not in dump and "parameter_version" in dump
    assert berth.stop() == 0
    with open(berth.data + "/server/store.db", "rb") as file:
        store = file.read()
    assert VALUE.encode() not in store and b"sealed" in store
    berth.start()
    assert ssm.get_parameter(Name="sealed")["Parameter"]["Value"] == VALUE
