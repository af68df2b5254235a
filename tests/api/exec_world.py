"""The world of tests of ECS Exec: a `berth server` and a host that is the test's, in Berth's words.

The host runs nothing. It takes `ExecuteCommandMessage` and can open the node's end of a data
channel; the client's end is data_channel.Client.
"""
import data_channel
import stock_agent
from messages import World


class Host(stock_agent.StockAgent):
    """A host of Berth's own kind."""

    def connect(self, **more):
        return super().connect(berthAgent="true", **more)

    def heard(self, frame):
        super().heard(frame)
        if frame["type"] == "ExecuteCommandMessage":
            self.session.send('{"type": "AckRequest", "message": {"messageId": "%s"}}'
                              % frame["message"]["messageId"])

    def asked(self, session_id):
        """What the server asked for a session."""
        return self.wait("ExecuteCommandMessage",
                         lambda message: message["sessionId"] == session_id)

    def channel_url(self, session_id):
        base = self.ecs.discover_poll_endpoint(containerInstance=self.arn)["endpoint"]
        return base.removesuffix("/acs/") + f"/v1/data-channel/{session_id}?role=agent"

    def channel(self, session_id, token):
        """The node's end, open; no handshake yet."""
        agent = data_channel.Agent()
        self.open_channel(agent, session_id, token)
        return agent

    def open_channel(self, agent, session_id, token):
        agent.connect(self.channel_url(session_id), token, keys=self.keys,
                      region=self.berth.keys["region"], ca_file=self.berth.keys["caFile"])


class ExecWorld(World):
    """Cluster `x` has one instance, `host`; families `one` and `two` are named by their number of
    containers."""

    def __init__(self, berth):
        super().__init__(berth)
        self.tokens = {}  # of the node's end, by session
        self.ecs.create_cluster(clusterName="x")
        self.ecs.create_cluster(clusterName="empty")
        # A server that hears nothing of several at once counts none as lost, for the fault is more
        # likely its own: so one that is never used is silent, too, when all of this stands still.
        self.ecs.create_cluster(clusterName="beside")
        self.beside = Host(berth, "beside").connect()
        self.host = Host(berth, "x").connect()
        container = {"name": "app", "image": "i", "memory": 16}
        self.ecs.register_task_definition(family="one", containerDefinitions=[container])
        self.ecs.register_task_definition(family="two", containerDefinitions=[
            container, {**container, "name": "side", "essential": False}])

    def task(self, family="one", host=None, running=True, cluster="x", **more):
        """A task that may be entered, as the host told of it; returns its ARN."""
        answer = self.ecs.run_task(cluster=cluster, taskDefinition=family,
                                   **{"enableExecuteCommand": True, **more})
        assert answer["failures"] == [], answer
        task = answer["tasks"][0]
        self.words["task"] = task["taskArn"].rsplit("/", 1)[1]
        if running:
            self.report(task, "RUNNING", host)
        return task["taskArn"]

    def report(self, task, status, host=None):
        (host or self.host).task(task["taskArn"], status, containers=[
            {"containerName": one["name"], "runtimeId": f"{task['taskArn'][-8:]}-{one['name']}",
             "status": status} for one in task["containers"]])

    def show(self, arn, cluster="x"):
        return self.ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"][0]

    @staticmethod
    def again(agent):
        """Send a message anew that the other end acknowledged already."""
        agent.socket.send(data_channel.encode(
            data_channel.OUTPUT, b"output one\n", agent.next_out - 1,
            payload_type=data_channel.DATA), data_channel.websocket.BINARY)

    def execute(self, arn, command="sh", **more):
        return self.ecs.execute_command(
            **{"cluster": "x", "task": arn, "command": command, "interactive": True, **more})

    def pair(self, arn=None, **more):
        """A session with both ends open and their handshake done: the answer, client and agent."""
        answer = self.execute(arn or self.task(), **more)
        client, agent = self.ends(answer["session"])
        return answer, client, agent

    def ends(self, session, asked=None):
        asked = asked or self.host.asked(session["sessionId"])
        self.tokens[session["sessionId"]] = asked["token"]
        agent = self.host.channel(session["sessionId"], asked["token"])
        client = data_channel.Client(session, ca_file=self.berth.keys["caFile"])
        agent.ask_handshake()
        client.until(lambda: client.session_type is not None)
        agent.until_handshake()
        client.until(lambda: client.ready)
        return client, agent
