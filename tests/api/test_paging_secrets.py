"""Listings of secrets and parameters, walked while others come and go: nothing is skipped, nothing
is twice; and tokens that are none."""
import collections
import random

import pytest

import raw
import support

MANY = 3000
SEED = 20171017


class World:
    """A server with many secrets and parameters that stay."""

    def __init__(self, berth):
        self.berth = berth
        self.secrets = raw.Caller(berth, service="secretsmanager")
        self.parameters = raw.Caller(berth, service="ssm")
        self.secrets.many("CreateSecret", [
            {"Name": f"s-{n:05}", "SecretString": "x"} for n in range(MANY)])
        self.parameters.many("PutParameter", [
            {"Name": f"/p/{n:05}", "Type": "String", "Value": "x"} for n in range(MANY)])
        for _ in range(90):
            self.parameters("PutParameter", Name="/many", Type="String", Value="x", Overwrite=True)
            self.secrets("PutSecretValue", SecretId="s-00000", SecretString="x")

    def churn(self, dice, there):
        """Something comes or goes, somewhere between those that stay."""
        number = dice.randrange(MANY)
        if number in there:
            self.secrets("DeleteSecret", SecretId=f"s-{number:05}x",
                         ForceDeleteWithoutRecovery=True)
            self.parameters("DeleteParameter", Name=f"/p/{number:05}x")
        else:
            self.secrets("CreateSecret", Name=f"s-{number:05}x", SecretString="y")
            self.parameters("PutParameter", Name=f"/p/{number:05}x", Type="String", Value="y")
        there ^= {number}
        return there


@pytest.fixture(scope="module", name="world")
def make_world(tmp_path_factory):
    berth = support.Berth(tmp_path_factory.mktemp("paging"), command="server").start()
    world = World(berth)
    yield world
    world.secrets.close()
    world.parameters.close()
    assert berth.stop() == 0, berth.tail()


SECRETS = {f"s-{n:05}" for n in range(MANY)}
PARAMETERS = {f"/p/{n:05}" for n in range(MANY)}
LISTINGS = {
    "secrets": ("secrets", "ListSecrets", "SecretList", "Name", 100, {}, SECRETS),
    "secrets descending": ("secrets", "ListSecrets", "SecretList", "Name", 97,
                           {"SortOrder": "desc"}, SECRETS),
    "secrets by name": ("secrets", "ListSecrets", "SecretList", "Name", 100,
                        {"SortBy": "name"}, SECRETS),
    "secrets by name descending": (
        "secrets", "ListSecrets", "SecretList", "Name", 99,
        {"SortBy": "name", "SortOrder": "desc"}, SECRETS),
    "secrets by change": ("secrets", "ListSecrets", "SecretList", "Name", 100,
                          {"SortBy": "last-changed-date"}, SECRETS),
    "versions": ("secrets", "ListSecretVersionIds", "Versions", "VersionId", 7,
                 {"SecretId": "s-00000", "IncludeDeprecated": True}, set()),
    "parameters": ("parameters", "DescribeParameters", "Parameters", "Name", 50, {},
                   PARAMETERS | {"/many"}),
    "parameters of a path": ("parameters", "GetParametersByPath", "Parameters", "Name", 10,
                             {"Path": "/p"}, PARAMETERS),
    "history": ("parameters", "GetParameterHistory", "Parameters", "Version", 7,
                {"Name": "/many"}, set(range(1, 91))),
}
EVERY = pytest.mark.parametrize("which", LISTINGS)


@EVERY
def test_a_walk_skips_and_repeats_nothing(world, which):
    service, operation, member, name, size, arguments, stays = LISTINGS[which]
    caller = getattr(world, service)
    dice, there = random.Random(SEED), set()
    seen, token, pages = [], {}, 0
    while token is not None:
        page = caller(operation, MaxResults=size, **arguments, **token)
        assert len(page[member]) <= size
        seen += [item[name] for item in page[member]]
        token = {"NextToken": page["NextToken"]} if "NextToken" in page else None
        pages += 1
        for _ in range(3):
            there = world.churn(dice, there)
    for number in there:
        world.secrets("DeleteSecret", SecretId=f"s-{number:05}x", ForceDeleteWithoutRecovery=True)
        world.parameters("DeleteParameter", Name=f"/p/{number:05}x")
    twice = [item for item, count in collections.Counter(seen).items() if count > 1]
    assert not twice, f"{len(twice)} shown more than once, such as {twice[:3]}"
    skipped = stays - set(seen)
    assert not skipped, f"{len(skipped)} never shown, such as {sorted(skipped)[:3]}"
    assert pages > 10 and len(seen) >= 90


@EVERY
def test_bad_tokens(world, which):
    service, operation, _, _, size, arguments, _ = LISTINGS[which]
    caller = getattr(world, service)
    token = caller(operation, MaxResults=size, **arguments)["NextToken"]
    others = {getattr(world, other[0])(other[1], MaxResults=other[4], **other[5])["NextToken"]
              for other in LISTINGS.values() if other[1] != operation}
    dice = random.Random(SEED)
    broken = [token[:cut] for cut in range(1, len(token), 5)] + [
        token + "00", "x", "0" * len(token), "-1", "%s%n", "\U0001f433" * 50, "AAAA" * 200]
    for _ in range(10):
        at = dice.randrange(len(token))
        changed = dice.choice([c for c in "0123456789abcdef" if c != token[at]])
        broken.append(token[:at] + changed + token[at + 1:])
    for bad in broken + sorted(others):
        answer = caller.answer(operation, NextToken=bad, **arguments)
        assert answer.status == 400 and answer.code in (
            "InvalidNextTokenException", "InvalidNextToken"), (bad[:100], answer.body[:300])
