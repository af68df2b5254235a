"""Amazon's real agent and a server that speaks TLS: see amazon.py for what it needs."""
import amazon
import stock_agent
from amazon import docker  # noqa: F401  (a fixture)


def test_a_task_over_tls(tmp_path, docker):  # noqa: F811
    """Certificates of Berth's CA are for its API; of its websockets the agent would want one for
    host and port, so it does not look at them."""
    server = stock_agent.server(tmp_path / "server")
    ecs = server.client("ecs")
    ecs.create_cluster(clusterName="tls")
    agent = amazon.Agent(tmp_path, server, docker, "tls", "-k",
                         SSL_CERT_FILE=server.keys["caFile"]).start()
    try:
        agent.wait_connected()
        ecs.register_task_definition(family="f", containerDefinitions=[
            {"name": "a", "image": "redis:6-alpine", "memory": 64, "command": ["true"]}])
        answer = ecs.run_task(cluster="tls", taskDefinition="f")
        assert not answer["failures"], answer["failures"]
        task = stock_agent.wait_status(ecs, "tls", answer["tasks"][0]["taskArn"], "STOPPED")
        assert task["containers"][0]["exitCode"] == 0
        assert not agent.complaints()
    finally:
        agent.stop()
        assert server.stop() == 0, server.tail()
