"""The check of responses itself: what it takes and what it refuses."""
import botocore.session
import pytest

import models

MODEL = botocore.session.get_session().get_service_model("ecs")


@pytest.mark.parametrize("operation, status, body, message", [
    ("ListClusters", 200, b'{"clusterArns":["a"]}', None),
    ("ListClusters", 200, b'{"clusterArns":"a"}', "is no list"),
    ("ListClusters", 200, b'{"clusterArns":[1]}', "is no string"),
    ("ListClusters", 200, b'{"clusterArns":[null]}', "null"),
    ("ListClusters", 200, b'{"nextToken":null}', "null"),
    ("ListClusters", 200, b'[]', "is no structure"),
    ("ListClusters", 200, b'{"clusterArns":', "no JSON"),
    ("ListClusters", 200, b'{"clusterArns":["\xff"]}', "no JSON"),
    ("CreateCluster", 200, b'{"cluster":{"runningTasksCount":1}}', None),
    ("CreateCluster", 200, b'{"cluster":{"runningTasksCount":1.5}}', "is no integer"),
    ("CreateCluster", 200, b'{"cluster":{"runningTasksCount":true}}', "is no number"),
    ("CreateCluster", 200, b'{"cluster":{"runningTasksCount":2147483648}}', "is no integer"),
    ("DescribeTasks", 200, b'{"tasks":[{"createdAt":1.5,"enableExecuteCommand":false}]}', None),
    ("DescribeTasks", 200, b'{"tasks":[{"createdAt":"2026-01-01T00:00:00Z"}]}', "is no number"),
    ("DescribeTasks", 200, b'{"tasks":[{"enableExecuteCommand":"false"}]}', "is no boolean"),
    ("ListClusters", 400, b'{"__type":"ClientException","message":"m"}', None),
    ("ListClusters", 400, b'{"__type":"ClientException","message":1}', "is no string"),
    ("ListClusters", 400, b'{"message":"m"}', "without __type"),
])
def test_check(operation, status, body, message):
    if message is None:
        models.check_response(MODEL.operation_model(operation), status, body)
        return
    with pytest.raises(models.ModelError, match=message):
        models.check_response(MODEL.operation_model(operation), status, body)


@pytest.mark.skipif(not models.NEWEST, reason="an older SDK knows fewer members and values")
@pytest.mark.parametrize("body, message", [
    (b'{"clusters":[{"name":"c"}]}', "Cluster has no member name"),
    (b'{"clusters":[{"settings":[{"name":"other"}]}]}', "is none of"),
])
def test_unknown(body, message):
    with pytest.raises(models.ModelError, match=message):
        models.check_response(MODEL.operation_model("DescribeClusters"), 200, body)


def test_a_client_is_checked(berth):
    """Every client of the tests has the hook."""
    client = berth.client("ecs")
    seen = []

    def spoil(response_dict, **_):
        seen.append(response_dict)
        response_dict.update(body=b'{"clusterArns":1}')
    client.meta.events.register_first("before-parse", spoil)
    try:
        client.list_clusters()
    except models.ModelError:
        return
    if not seen:
        pytest.skip("this botocore does not show responses before it parses them")
    pytest.fail("a response of the wrong type passed")
