"""Members that a node cannot honour: the task stops with a sentence that names the member."""
import pytest

from fields import box

SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:s"
IN_HOST = {"networkMode": "host"}
AWSVPC = {"networkMode": "awsvpc"}


def linux(**parameters):
    return {"linuxParameters": parameters}


def volume(**kind):
    return {"volumes": [{"name": "v", **kind}]}


# Name of the case: members of the container, members of the task, words of the reason.
REFUSED = {
    "dockerSecurityOptions": ({"dockerSecurityOptions": ["label:user:me"]}, IN_HOST,
                              "dockerSecurityOptions"),
    "firelensConfiguration": ({"firelensConfiguration": {"type": "fluentbit"}}, IN_HOST,
                              "firelensConfiguration"),
    "credentialSpecs": ({"credentialSpecs": ["credentialspec:arn:aws:s3:::b/spec"]}, IN_HOST,
                        "credentialSpecs"),
    "inferenceAccelerator": (
        {"resourceRequirements": [{"type": "InferenceAccelerator", "value": "d"}]},
        {**IN_HOST, "inferenceAccelerators": [{"deviceName": "d", "deviceType": "t"}]},
        "resourceRequirements"),
    "operatingSystemFamily": ({}, {**IN_HOST, "runtimePlatform": {
        "operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}, "operatingSystemFamily"),
    "efsVolumeConfiguration": (
        {}, {**IN_HOST, **volume(efsVolumeConfiguration={"fileSystemId": "fs-1"})},
        "volume 'v' asks for efsVolumeConfiguration"),
    "fsxWindowsFileServerVolumeConfiguration": (
        {}, {**IN_HOST, **volume(fsxWindowsFileServerVolumeConfiguration={
            "fileSystemId": "fs-1", "rootDirectory": "/", "authorizationConfig": {
                "credentialsParameter": SECRET, "domain": "example.com"}})},
        "volume 'v' asks for fsxWindowsFileServerVolumeConfiguration"),
    "s3filesVolumeConfiguration": (
        {}, {**IN_HOST, **volume(s3filesVolumeConfiguration={
            "fileSystemArn": "arn:aws:s3files:us-east-1:000000000000:file-system/fs-1"})},
        "volume 'v' asks for s3filesVolumeConfiguration"),
    "configuredAtLaunch": ({}, {**IN_HOST, **volume(configuredAtLaunch=True)},
                           "volume 'v' asks for configuredAtLaunch"),
}


@pytest.fixture(scope="module")
def refused(node):
    """Every case's task, all of which have stopped."""
    found = {}
    for name, (container, members, _) in REFUSED.items():
        definition = {**members, "containerDefinitions": [
            box("echo ran", memory=64, **container),
            box("echo ran", name="other", memory=64, essential=False)]}
        try:
            found[name] = node.launch(name, definition, {"launchType": "EC2"})
        except (Exception, pytest.skip.Exception) as error:  # pylint: disable=broad-except
            found[name] = error
    node.wait_all([arn for arn in found.values() if isinstance(arn, str)])
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_refused(node, refused, name):
    arn = refused[name]
    if not isinstance(arn, str):
        raise arn
    ended = node.stopped(arn)
    assert ended.task["stopCode"] == "TaskFailedToStart"
    assert ended.reason.startswith("ResourceInitializationError: "), ended.reason
    assert REFUSED[name][2] in ended.reason, ended.reason
    assert "which this version of Berth does not have" in ended.reason
    assert ended.code() is None and ended.code("other") is None
