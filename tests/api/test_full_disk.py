"""A server whose disk is full: it answers what changes nothing, has all that it promised, and takes
changes again when there is room."""
import os
import shutil
import subprocess

import support
from disk import MIB, UNANSWERED, fill_store, small_disk

SIZE_MIB = 40


def listed(ecs):
    pages = ecs.get_paginator("list_clusters").paginate()
    return {arn.split("/")[-1] for page in pages for arn in page["clusterArns"]}


def test_reads_are_answered_and_room_is_noticed(tmp_path):
    with small_disk(str(tmp_path / "disk"), SIZE_MIB) as filler:
        server = support.Berth(os.path.join(filler.folder, "data"), command="server")
        server.log = str(tmp_path / "log")
        server.start()
        try:
            ecs = server.client()
            filler.fill(0)
            promised, error = fill_store(ecs)
            assert "ServerException" in error and f"'{server.data}'" in error, error
            assert set(promised) <= listed(ecs)
            ec2 = server.client("ec2")
            assert ec2.describe_vpcs()["Vpcs"]
            try:
                ec2.create_security_group(GroupName="none", Description="none")
                raise AssertionError("it was made on a full disk")
            except UNANSWERED as refusal:
                assert "Unavailable" in str(refusal) and "disk is full" in str(refusal), refusal
            # It can be killed and started in this state, too.
            assert server.process.poll() is None
            server.kill()
            server.start()
            assert set(promised) <= listed(ecs)
            process = server.process.pid
            filler.remove()

            def made():
                """a cluster is made, now that there is room"""
                try:
                    return ecs.create_cluster(clusterName="after")
                except UNANSWERED:
                    return None
            support.wait_for(made, step=0.1)
            assert {*promised, "after"} <= listed(ecs)
            assert server.process.pid == process and server.process.poll() is None
        finally:
            server.stop()


def test_a_program_that_was_replaced_ends(tmp_path, monkeypatch):
    """It cannot begin anew by itself: whoever watches over it is to start what is there now."""
    program = str(tmp_path / "berth")
    shutil.copy(support.BERTH, program)
    monkeypatch.setattr(support, "BERTH", program)
    with small_disk(str(tmp_path / "disk"), SIZE_MIB) as filler:
        server = support.Berth(os.path.join(filler.folder, "data"), command="server")
        server.log = str(tmp_path / "log")
        server.start()
        server.stop()
        filler.leave(MIB)
        server.start()
        try:
            assert server.client().list_clusters()["clusterArns"] == []
            os.remove(program)
            filler.remove()
            assert server.process.wait(support.PATIENCE * support.SLOW) == os.EX_OSERR
            assert "it ends, and is to be started again" in server.tail()
        finally:
            server.stop()


def test_there_must_be_room_to_begin(tmp_path):
    with small_disk(str(tmp_path / "disk"), 2) as filler:
        done = subprocess.run(
            [support.BERTH, "server", "--data", os.path.join(filler.folder, "data"), "--listen",
             f"127.0.0.1:{support.free_port()}"], capture_output=True, text=True,
            timeout=support.PATIENCE, check=False)
        assert done.returncode != 0
        assert "no space to begin with" in done.stderr and filler.folder in done.stderr, done
