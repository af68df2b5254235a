"""A deployment runs one version of its images: the digest that its first task resolved a tag to."""
import os
import signal

import pytest

import support
from services import container, create, register, remove, running, stable

pytestmark = pytest.mark.not_in_guest(
    "which image a deployment runs is the server's to say, the same on every kernel")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("images"), "--healthy-after", "1s").start()
    berth.client().create_cluster(clusterName="default")
    yield berth
    assert berth.stop() == 0, berth.tail()


def load(berth, name, file):
    berth.run("image", "load", "--name", name, os.path.join(support.IMAGES, file))


def only(ecs, name, besides=()):
    """Wait for the one task of the service that runs; returns its ARN and its image's digest."""
    def there():
        """one task RUNNING, another than before"""
        found = running(ecs, name)
        return found if len(found) == 1 and not set(found) & set(besides) else None
    [(arn, task)] = support.wait_for(there).items()
    return arn, task["containers"][0]["imageDigest"]


def test_a_tag_that_moves_changes_nothing_until_the_next_deployment(house):
    """The successor of a task is made from the same image, though its tag points to another one by
    now and images were removed; a new deployment takes what the tag points to."""
    ecs = house.client()
    load(house, "moving:v1", "hello.tar.gz")
    create(house, ecs, "moving", register(ecs, "moving", image="moving:v1"), 1)
    stable(ecs, "moving")
    first, old = only(ecs, "moving")

    load(house, "moving:v1", "redis.tar.gz")
    load(house, "passing:v1", "hello.tar.gz")
    house.run("image", "rm", "passing:v1")
    os.kill(container(first), signal.SIGKILL)
    second, same = only(ecs, "moving", besides=[first])
    assert same == old

    stable(ecs, "moving")
    ecs.update_service(service="moving", forceNewDeployment=True)
    _, new = only(ecs, "moving", besides=[first, second])
    assert new != old
    remove(ecs, "moving")
