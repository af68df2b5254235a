"""docs/acs.md: it has a row for every member of a definition, and says of a refusal what is so."""
import os
import re

import boto3

import support

PAGE = os.path.join(support.ROOT, "docs/acs.md")
# What ECS fills in, and no caller asks for.
SHOWN = {"taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities",
         "registeredAt", "deregisteredAt", "deleteRequestedAt", "registeredBy"}


def rows(heading):
    """The first columns of the table below a heading, and their second ones."""
    with open(PAGE, encoding="utf-8") as file:
        part = file.read().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = {}
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            for name in re.findall("`([A-Za-z0-9.]+)`", cells[0]):
                found[name] = cells[1]
    return found


def shape(name):
    client = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="a",
                          aws_secret_access_key="b")
    return client.meta.service_model.shape_for(name)


def below(found, name, members):
    """Whether a member has a row, or all of its own have."""
    return name in found or {f"{name}.{member}" for member in members} <= set(found)


def members_of(member):
    inner = member.member if member.type_name == "list" else member
    return list(inner.members) if inner.type_name == "structure" else [None]


def missing(heading, name):
    found = rows(heading)
    return [member for member, described in shape(name).members.items()
            if member not in SHOWN and not below(found, member, [
                inner for inner in members_of(described)
                if not (member == "volumes" and inner == "name")])]


def test_every_member_of_a_task_has_a_row():
    assert missing("The task", "TaskDefinition") == []


def test_every_member_of_a_container_has_a_row():
    assert missing("A container", "ContainerDefinition") == []


def test_rows_name_members_that_are_there():
    for heading, name in (("The task", "TaskDefinition"), ("A container", "ContainerDefinition")):
        known = shape(name).members
        for row in rows(heading):
            assert row.partition(".")[0] in known, row
