"""The tour of the README works when pasted."""
import json
import os
import re
import subprocess

import support


def blocks(title):
    """The code blocks of a section."""
    with open(os.path.join(support.ROOT, "README.md"), encoding="utf-8") as file:
        section = file.read().split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```\n(.*?)```", section, re.S)


def test_the_tour(berth, ecs):
    ecs.register_task_definition(
        family="hello", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256",
        memory="512", containerDefinitions=[{"name": "hello", "image": "hello", "stopTimeout": 2}])
    ecs.run_task(taskDefinition="hello", launchType="FARGATE", networkConfiguration=berth.network())
    tour = blocks("A tour of two minutes")
    # The last block is about further hosts; tests/e2e/test_hosts.py does that.
    script = "\n".join(tour[:-1]).replace("build/berth", support.BERTH)
    assert "run-task" in script and "curl" in script
    # By name alone it would end what other tests run on this machine at the same time.
    kill = "pkill -KILL -x image-processor\n"
    assert kill in script
    script = script.replace(kill, "for P in $(pgrep -x image-processor); do "
                                  "! grep -q ${TASK##*/} /proc/$P/cgroup || kill -KILL $P; done\n")
    done = subprocess.run(["bash", "-ec", "shopt -s expand_aliases\n" + script], cwd=support.ROOT,
                          capture_output=True, text=True, timeout=2 * support.PATIENCE, check=False,
                          env=dict(os.environ, BERTH_DATA=berth.data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "EssentialContainerExited" in done.stdout
    assert '"image-processor",\n' in done.stdout.replace(" ", "") and "137" in done.stdout
    assert "Ready to accept connections" in done.stdout


def test_help_names_every_command(berth):
    out = subprocess.run([support.BERTH, "help"], capture_output=True, text=True, check=True).stdout
    with open(os.path.join(support.ROOT, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    for command in ("up", "server", "agent", "env", "aws", "ps", "logs", "exec", "image", "node", "plan",
                    "deploy", "diagnose", "doctor", "debug"):
        assert f"  {command} " in out and command in readme


def test_doctor_says_that_this_host_is_fine(berth):
    assert "this host can run tasks" in berth.run("doctor")


def test_dump_is_json_without_secrets(berth):
    out = berth.run("debug", "dump")
    records = [json.loads(line) for line in out.splitlines()]
    assert {"realm", "access_key", "cluster", "vpc"} <= {record["kind"] for record in records}
    assert berth.keys["secretAccessKey"] not in out
    keys = [record["key"] for record in records]
    assert keys == sorted(keys)
