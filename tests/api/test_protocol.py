"""What holds for every operation: protocols, signatures, errors, request ids."""
import datetime
import http.client
import json
import subprocess
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.exceptions
import pytest

import support

TARGET = "AmazonEC2ContainerServiceV20141113."


def signed(berth, operation, body, service="ecs", skew_s=0, secret=None, headers=None):
    """Headers of a signed JSON 1.1 request."""
    keys = berth.keys
    credentials = botocore.credentials.Credentials(keys["accessKeyId"],
                                                   secret or keys["secretAccessKey"])
    request = botocore.awsrequest.AWSRequest(
        "POST", keys["endpoint"] + "/", data=body,
        headers={"X-Amz-Target": TARGET + operation,
                 "Content-Type": "application/x-amz-json-1.1", **(headers or {})})
    botocore.auth.SigV4Auth(credentials, service, keys["region"]).add_auth(request)
    assert skew_s == 0
    return dict(request.headers)


def post(berth, headers, body):
    connection = http.client.HTTPConnection(berth.address, berth.port, timeout=support.PATIENCE)
    connection.request("POST", "/", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, json.loads(text)


def test_caller_identity_over_query_and_xml(berth):
    identity = berth.client("sts").get_caller_identity()
    assert identity["Account"] == "000000000000"
    assert identity["Arn"] == "arn:aws:iam::000000000000:root"


def test_known_but_unbuilt_operation_answers_501_by_name(berth, ecs):
    support.needs(ecs, "ListDaemons")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ecs.list_daemons(clusterArn="arn:aws:ecs:us-east-1:000000000000:cluster/default")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "ListDaemons" in refused.value.response["Error"]["Message"]


def test_every_unbuilt_operation_is_a_501_and_never_a_500(berth, ecs):
    built, unbuilt = [], []
    for name in ecs.meta.service_model.operation_names:
        headers = signed(berth, name, b"{}")
        answer, body = post(berth, headers, b"{}")
        assert answer.status in (200, 400, 501), (name, answer.status, body)
        (unbuilt if answer.status == 501 else built).append(name)
    assert len(built) + len(unbuilt) == len(ecs.meta.service_model.operation_names)
    assert {"CreateCluster", "RunTask", "StopTask", "DescribeTasks"} <= set(built)


def test_unknown_operation(berth):
    answer, body = post(berth, signed(berth, "MakeCoffee", b"{}"), b"{}")
    assert answer.status == 400
    assert body["__type"].endswith("UnknownOperationException")


def test_unsigned_request_is_refused(berth):
    answer, body = post(berth, {"X-Amz-Target": TARGET + "ListClusters",
                                "Content-Type": "application/x-amz-json-1.1"}, b"{}")
    assert answer.status in (400, 403)
    assert body["__type"].endswith("MissingAuthenticationTokenException")


def test_wrong_secret_is_refused(berth):
    answer, body = post(berth, signed(berth, "ListClusters", b"{}", secret="wrong"), b"{}")
    assert answer.status in (400, 403)
    assert body["__type"].endswith("InvalidSignatureException")


def test_changed_body_is_refused(berth):
    answer, body = post(berth, signed(berth, "ListClusters", b"{}"), b'{"maxResults":1}')
    assert body["__type"].endswith("InvalidSignatureException")


def test_unknown_key_is_refused(berth):
    stranger = berth.client(aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        stranger.list_clusters()
    assert refused.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_broken_json_is_a_serialization_error(berth):
    for body in (b"{", b"[]", b'{"clusters":"x"}', b'{"clusters":["\xff"]}', b"[" * 100000):
        answer, decoded = post(berth, signed(berth, "DescribeClusters", body), body)
        assert answer.status == 400, body[:40]
        assert decoded["__type"].endswith(("SerializationException", "InvalidParameterException")), decoded


def test_request_ids_are_there_and_differ(ecs):
    ids = {ecs.list_clusters()["ResponseMetadata"]["RequestId"] for _ in range(3)}
    assert len(ids) == 3


def test_healthz_and_metrics(berth):
    assert urllib.request.urlopen(berth.endpoint + "/healthz", timeout=support.PATIENCE).status == 200
    text = urllib.request.urlopen(berth.endpoint + "/metrics", timeout=support.PATIENCE).read().decode()
    assert "# TYPE" in text
    for line in text.splitlines():
        if line and not line.startswith("#"):
            float(line.rsplit(" ", 1)[1])


@pytest.mark.parametrize("program", support.aws_programs())
def test_aws_cli(berth, program):
    assert "clusterArns" in berth.aws("ecs", "list-clusters", program=program)
    assert berth.aws("sts", "get-caller-identity", program=program)["Account"] == "000000000000"


def test_berth_env_and_berth_aws(berth):
    script = f'eval "$({support.BERTH} env --data {berth.data})" && echo $AWS_ENDPOINT_URL $BERTH_SUBNETS'
    out = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True).stdout
    assert out.startswith(berth.endpoint) and out.count("subnet-") == 3
    done = subprocess.run([support.BERTH, "aws", "--data", berth.data, "ecs", "list-clusters"],
                          capture_output=True, text=True, check=True)
    assert "clusterArns" in json.loads(done.stdout)


def test_clock_skew_is_refused(berth):
    keys = berth.keys
    credentials = botocore.credentials.Credentials(keys["accessKeyId"], keys["secretAccessKey"])
    request = botocore.awsrequest.AWSRequest(
        "POST", keys["endpoint"] + "/", data=b"{}",
        headers={"X-Amz-Target": TARGET + "ListClusters",
                 "Content-Type": "application/x-amz-json-1.1"})
    signer = botocore.auth.SigV4Auth(credentials, "ecs", keys["region"])
    # An hour ago, signed by hand with the signer's own steps.
    then = datetime.datetime.utcnow() - datetime.timedelta(hours=1)
    request.context["timestamp"] = then.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    canonical = signer.canonical_request(request)
    to_sign = signer.string_to_sign(request, canonical)
    signer._inject_signature_to_request(request, signer.signature(to_sign, request))
    answer, body = post(berth, dict(request.headers), b"{}")
    assert answer.status in (400, 403)
    assert body["__type"].endswith(("InvalidSignatureException", "RequestExpired"))
    assert "xpired" in body.get("message", body.get("Message", ""))
