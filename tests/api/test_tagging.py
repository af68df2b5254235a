"""Tags through boto3: on create, and by ARN on clusters, definitions and tasks."""
import botocore.exceptions
import pytest

import support


def refusal(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        call(**arguments)
    return refused.value.response["Error"]


def tags(ecs, arn):
    return {tag["key"]: tag["value"] for tag in ecs.list_tags_for_resource(resourceArn=arn)["tags"]}


def walk(ecs, arn):
    """Change the tags of something that was made with the tag made=1."""
    assert tags(ecs, arn) == {"made": "1"}
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "made", "value": "2"},
                                            {"key": "später", "value": ""}])
    assert tags(ecs, arn) == {"made": "2", "später": ""}
    ecs.untag_resource(resourceArn=arn, tagKeys=["made", "none"])
    assert tags(ecs, arn) == {"später": ""}
    ecs.untag_resource(resourceArn=arn, tagKeys=["später"])
    assert tags(ecs, arn) == {}


MADE = [{"key": "made", "value": "1"}]


def test_cluster(ecs):
    made = ecs.create_cluster(clusterName="tagged", tags=MADE)["cluster"]
    walk(ecs, made["clusterArn"])
    ecs.delete_cluster(cluster="tagged")
    refused = refusal(ecs.list_tags_for_resource, resourceArn=made["clusterArn"])
    assert refused["Message"] == ("The specified cluster is inactive. Specify an active cluster and "
                                  "try again.")


def hello(ecs, **changes):
    return ecs.register_task_definition(
        family="tagged", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[{"name": "hello", "image": "hello",
                                             "stopTimeout": 2}],
        **changes)["taskDefinition"]["taskDefinitionArn"]


def test_definition(ecs):
    arn = hello(ecs, tags=MADE)
    walk(ecs, arn)
    ecs.tag_resource(resourceArn=arn, tags=MADE)
    assert ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])["tags"] == MADE


def test_task(berth, ecs):
    run = {"cluster": "default", "taskDefinition": hello(ecs, tags=MADE), "launchType": "FARGATE",
           "networkConfiguration": berth.network()}
    task = ecs.run_task(propagateTags="TASK_DEFINITION", **run)["tasks"][0]["taskArn"]
    walk(ecs, task)
    ecs.stop_task(cluster="default", task=task)
    ecs.get_waiter("tasks_stopped").wait(cluster="default", tasks=[task], WaiterConfig=support.WAITER)
    refused = refusal(ecs.tag_resource, resourceArn=task, tags=MADE)
    assert refused["Message"] == ("The specified task is stopped. Specify a running task and try "
                                  "again.")


def test_refusals(ecs):
    arn = ecs.create_cluster(clusterName="full")["cluster"]["clusterArn"]
    ecs.tag_resource(resourceArn=arn, tags=[{"key": f"k{n}", "value": "v"} for n in range(50)])
    refused = refusal(ecs.tag_resource, resourceArn=arn, tags=[{"key": "more", "value": "v"}])
    assert refused == {"Code": "LimitExceededException",
                       "Message": "The maximum number of tags is 50."}
    refused = refusal(ecs.tag_resource, resourceArn="nonsense", tags=MADE)
    assert refused["Code"] == "InvalidParameterException"
    refused = refusal(ecs.tag_resource, resourceArn=arn, tags=[{"key": "aws:x", "value": "v"}])
    assert refused["Code"] == "InvalidParameterException"
    missing = arn.replace(":cluster/full", ":task/full/" + "0" * 32)
    assert refusal(ecs.tag_resource, resourceArn=missing,
                   tags=MADE)["Code"] == "ResourceNotFoundException"


@pytest.mark.parametrize("program", support.aws_programs())
def test_cli(berth, ecs, program):
    arn = ecs.create_cluster(clusterName="cli-tags")["cluster"]["clusterArn"]
    berth.aws("ecs", "tag-resource", "--resource-arn", arn, "--tags", "key=a,value=b",
              program=program)
    assert berth.aws("ecs", "list-tags-for-resource", "--resource-arn", arn, program=program) == {
        "tags": [{"key": "a", "value": "b"}]}
    berth.aws("ecs", "untag-resource", "--resource-arn", arn, "--tag-keys", "a", program=program)
    assert tags(ecs, arn) == {}
