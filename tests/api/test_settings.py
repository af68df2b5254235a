"""Account settings through boto3."""
import botocore.exceptions
import pytest

import support


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


def names(pages):
    return [setting["name"] for page in pages for setting in page["settings"]]


def knows_type(client):
    """Older SDKs drop this member from what they show."""
    return "type" in client.meta.service_model.shape_for("Setting").members


def test_effective_settings_walk_pages(ecs):
    pages = list(ecs.get_paginator("list_account_settings").paginate(
        effectiveSettings=True, PaginationConfig={"PageSize": 4}))
    assert [len(page["settings"]) for page in pages] == [4, 4, 3]
    assert names(pages) == sorted(names(pages))
    # An older SDK knows fewer, and one that AWS took back again.
    known = set(ecs.meta.service_model.shape_for("SettingName").enum) - {"dualStackIPv6"}
    assert set(names(pages)) >= known
    if knows_type(ecs):
        managed = [setting for page in pages for setting in page["settings"]
                   if setting["type"] == "aws_managed"]
        assert [setting["name"] for setting in managed] == ["guardDutyActivate"]


def test_put_list_delete(ecs):
    made = ecs.put_account_setting(name="defaultLogDriverMode", value="blocking")["setting"]
    assert made["value"] == "blocking" and made["principalArn"].endswith(":root")
    found = ecs.list_account_settings(name="defaultLogDriverMode", value="blocking")["settings"]
    assert found == [made]
    gone = ecs.delete_account_setting(name="defaultLogDriverMode")["setting"]
    assert gone["value"] == "non-blocking"
    assert ecs.list_account_settings(name="defaultLogDriverMode")["settings"] == []


def test_a_default_of_new_clusters(ecs):
    ecs.put_account_setting_default(name="containerInsights", value="enabled")
    try:
        made = ecs.create_cluster(clusterName="insights")["cluster"]
        assert made["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    finally:
        ecs.delete_account_setting(name="containerInsights")
    made = ecs.create_cluster(clusterName="insights-off")["cluster"]
    assert made["settings"] == [{"name": "containerInsights", "value": "disabled"}]


def test_settings_of_a_user(ecs):
    account = ecs.list_account_settings(effectiveSettings=True, maxResults=1)[
        "settings"][0]["principalArn"].split(":")[4]
    user = f"arn:aws:iam::{account}:user/anna"
    ecs.put_account_setting(name="awsvpcTrunking", value="enabled", principalArn=user)
    wanted = {"name": "awsvpcTrunking", "value": "enabled", "principalArn": user}
    if knows_type(ecs):
        wanted["type"] = "user"
    assert ecs.list_account_settings(principalArn=user)["settings"] == [wanted]
    assert ecs.list_account_settings(name="awsvpcTrunking")["settings"] == []


@pytest.mark.parametrize("arguments", [
    {"name": "dualStackIPv6", "value": "enabled"},
    {"name": "awsvpcTrunking", "value": "on"},
    {"name": "guardDutyActivate", "value": "on"},
    {"name": "awsvpcTrunking", "value": "enabled", "principalArn": "anna"},
])
def test_refusals(ecs, arguments):
    assert refusal(ecs.put_account_setting, **arguments)["Code"] == "InvalidParameterException"


def test_long_arns_stay(ecs):
    refused = refusal(ecs.put_account_setting_default, name="taskLongArnFormat", value="disabled")
    assert refused["Message"] == "You can no longer disable Long Arn settings"


@pytest.mark.parametrize("program", support.aws_programs())
def test_cli(berth, program):
    made = berth.aws("ecs", "put-account-setting", "--name", "awsvpcTrunking", "--value", "enabled",
                     program=program)["setting"]
    assert made["value"] == "enabled"
    found = berth.aws("ecs", "list-account-settings", "--name", "awsvpcTrunking", program=program)
    assert found["settings"][0]["value"] == "enabled"
    berth.aws("ecs", "delete-account-setting", "--name", "awsvpcTrunking", program=program)
