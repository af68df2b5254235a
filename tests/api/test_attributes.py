"""Attributes and tags of container instances through boto3."""
import botocore.exceptions
import pytest

KIND = "container-instance"


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


@pytest.fixture(name="instance", scope="module")
def make_instance(ecs):
    """A container instance as a stock agent registers it, with nothing behind it."""
    ecs.create_cluster(clusterName="attributes")
    made = ecs.register_container_instance(
        cluster="attributes", tags=[{"key": "made", "value": "1"}],
        totalResources=[{"name": name, "type": "INTEGER", "integerValue": 1024}
                        for name in ("CPU", "MEMORY")])["containerInstance"]
    yield made["containerInstanceArn"]
    ecs.deregister_container_instance(cluster="attributes", force=True,
                                      containerInstance=made["containerInstanceArn"])


def attributes(ecs, **filters):
    pages = ecs.get_paginator("list_attributes").paginate(
        cluster="attributes", targetType=KIND, PaginationConfig={"PageSize": 3}, **filters)
    return {each["name"]: each.get("value") for page in pages for each in page["attributes"]}


def test_put_list_delete(ecs, instance):
    own = attributes(ecs)
    assert own["ecs.os-type"] == "linux"
    short = instance.rsplit("/", 1)[1]
    put = ecs.put_attributes(cluster="attributes", attributes=[
        {"name": "stack", "value": "production", "targetId": instance},
        {"name": "rack", "value": "r 1", "targetType": KIND, "targetId": short}])["attributes"]
    assert put[1] == {"name": "rack", "value": "r 1", "targetId": instance}
    assert attributes(ecs) == dict(own, stack="production", rack="r 1")
    assert attributes(ecs, attributeName="stack", attributeValue="staging") == {}
    found = ecs.describe_container_instances(cluster="attributes", containerInstances=[short])
    assert {"name": "stack", "value": "production"} in found["containerInstances"][0]["attributes"]
    ecs.delete_attributes(cluster="attributes", attributes=[
        {"name": name, "targetId": instance} for name in ("stack", "rack")])
    assert attributes(ecs) == own


def test_limits_and_targets(ecs, instance):
    refused = refusal(ecs.put_attributes, cluster="attributes", attributes=[
        {"name": "a", "targetType": KIND, "targetId": "0" * 32}])
    assert refused["Code"] == "TargetNotFoundException"
    many = [{"name": f"n{n}", "value": "v", "targetId": instance} for n in range(10)]
    ecs.put_attributes(cluster="attributes", attributes=many)
    refused = refusal(ecs.put_attributes, cluster="attributes", attributes=[
        {"name": "more", "targetId": instance}])
    assert refused["Code"] == "AttributeLimitExceededException"
    ecs.delete_attributes(cluster="attributes", attributes=[
        {"name": each["name"], "targetId": instance} for each in many])


def test_tags(ecs, instance):
    made = {"key": "made", "value": "1"}
    assert ecs.list_tags_for_resource(resourceArn=instance)["tags"] == [made]
    ecs.tag_resource(resourceArn=instance, tags=[{"key": "more", "value": "2"}])
    found = ecs.describe_container_instances(
        cluster="attributes", containerInstances=[instance], include=["TAGS"])
    assert found["containerInstances"][0]["tags"] == [made, {"key": "more", "value": "2"}]
