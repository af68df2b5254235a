"""An agent of Amazon's that carries out what it is told, without containers.

It reports as the real one does: PENDING with the digests of the images while it pulls, RUNNING with
runtime ids and the ports of the host, STOPPED with exit codes. What the real one refuses it
refuses: a task it cannot read is reported STOPPED, and its payload not acknowledged.
"""
import datetime
import json
import os
import queue
import threading

import stock_agent

FIRST_DYNAMIC_PORT = 32768
DIGEST = "sha256:" + "ab" * 32


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class RunningAgent(stock_agent.StockAgent):
    """`refuses` are families that it says it cannot read."""

    def __init__(self, berth, cluster, refuses=(), **more):
        super().__init__(berth, cluster, joins=False, **more)
        self.refuses = refuses
        self.running = {}   # by ARN: containers by name, with what was reported of them
        self.reports = []   # (ARN, status) of all that was reported
        self.next_port = FIRST_DYNAMIC_PORT
        self.jobs = queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()

    def on_PayloadMessage(self, session, message):
        refused = [task for task in message["tasks"] if task.get("family") in self.refuses]
        for task in refused:
            self.jobs.put((self.refuse, task["arn"]))
        if refused:
            return
        new = [task for task in message["tasks"]
               if task["desiredStatus"] == "RUNNING" and task["arn"] not in self.known]
        super().on_PayloadMessage(session, message)
        for task in new:
            self.jobs.put((self.start, task))
        for task in message["tasks"]:
            if task["desiredStatus"] == "STOPPED":
                self.jobs.put((self.stop, task["arn"]))

    def on_TaskStopVerificationAck(self, session, message):
        for task in message["stopTasks"]:
            self.known[task["taskArn"]]["desiredStatus"] = "STOPPED"
            self.jobs.put((self.stop, task["taskArn"]))

    def work(self):
        while True:
            job, what = self.jobs.get()
            try:
                job(what)
            except Exception as error:  # of a server that ended; a test looks at the task
                print(f"agent {self.arn}: {error}")

    def report(self, arn, status, **members):
        self.reports.append((arn, status))
        answer = self.task(arn, status, cluster=self.cluster, **members)
        assert answer["acknowledgment"]

    # ---- what it does ---------------------------------------------------------------------

    def refuse(self, arn):
        self.report(arn, "STOPPED", reason="UnrecognizedTaskError: Unrecognized task: as asked")

    def binding(self, port):
        host = port["hostPort"]
        if host == 0:
            host, self.next_port = self.next_port, self.next_port + 1
        return {"bindIP": "0.0.0.0", "containerPort": port["containerPort"], "hostPort": host,
                "protocol": port["protocol"]}

    def start(self, task):
        arn = task["arn"]
        containers = {container["name"]: {
            "containerName": container["name"], "runtimeId": os.urandom(32).hex(),
            "imageDigest": DIGEST, "status": "RUNNING", "networkBindings": [
                self.binding(port) for port in container.get("portMappings", ())
                if task["networkMode"] == "bridge" and "containerPort" in port]}
            for container in task["containers"]}
        began = now()
        self.report(arn, "PENDING", pullStartedAt=began, containers=[
            {"containerName": name, "imageDigest": DIGEST, "status": "PENDING"}
            for name in containers])
        self.running[arn] = containers
        self.report(arn, "RUNNING", pullStartedAt=began, pullStoppedAt=now(),
                    containers=list(containers.values()))

    def end(self, arn, **codes):
        """The task ends: with these exit codes, others of its containers with 143."""
        containers = self.running.pop(arn)
        self.report(arn, "STOPPED", executionStoppedAt=now(), containers=[
            {**container, "status": "STOPPED", "exitCode": codes.get(name, 143)}
            for name, container in containers.items()])

    def stop(self, arn):
        if arn in self.running:
            self.end(arn)
        elif (arn, "STOPPED") not in self.reports:
            # It never had it: the real one says so, too.
            self.report(arn, "STOPPED", reason="TaskStateError: Agent could not progress task's "
                                               "state to stopped")


def docker(container):
    """What Docker is told of a container: Config and HostConfig."""
    config = container["dockerConfig"]
    return json.loads(config["config"]), json.loads(config["hostConfig"])
