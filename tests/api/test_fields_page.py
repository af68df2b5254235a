"""docs/fields.md is complete: every member of the API on it, and for each a test that exists."""
import importlib
import os
import re

import botocore.session
import pytest

import models
import support

PAGE = os.path.join(support.ROOT, "docs", "fields.md")
FOLDERS = ("tests/e2e", "tests/api")

# Sections of the page: the operations whose input they list, and below which member.
SECTIONS = {
    "The task": (["RegisterTaskDefinition"], ""),
    "A container": (["RegisterTaskDefinition"], "containerDefinitions."),
    "RunTask and StartTask": (["RunTask", "StartTask"], ""),
    "ExecuteCommand": (["ExecuteCommand"], ""),
    "Overrides": (["RunTask", "StartTask"], "overrides."),
    "CreateService and UpdateService": (["CreateService", "UpdateService"], ""),
    "DeleteService, DescribeServices and lists of services": (
        ["DeleteService", "DescribeServices", "ListServices", "ListServicesByNamespace"], ""),
    "Service deployments and service revisions": (
        ["DescribeServiceDeployments", "ListServiceDeployments", "DescribeServiceRevisions",
         "StopServiceDeployment"], ""),
    "Lifecycle hooks": (["CreateService", "UpdateService"],
                        "deploymentConfiguration.lifecycleHooks."),
    "ContinueServiceDeployment": (["ContinueServiceDeployment"], ""),
    "Task sets": (["CreateTaskSet", "UpdateTaskSet", "DeleteTaskSet", "DescribeTaskSets",
                   "UpdateServicePrimaryTaskSet"], ""),
    "Capacity providers": (["CreateCapacityProvider", "UpdateCapacityProvider",
                            "DeleteCapacityProvider", "DescribeCapacityProviders",
                            "PutClusterCapacityProviders"], ""),
}


def paths_of(operation):
    """Every member of an operation's input, as a path; structures are followed by their own."""
    service = botocore.session.Session().get_service_model("ecs")
    found, work = [], [("", service.operation_model(operation).input_shape)]
    while work:
        prefix, shape = work.pop()
        for name, member in shape.members.items():
            found.append(prefix + name)
            inner = member.member if member.type_name == "list" else member
            if inner.type_name == "structure":
                work.append((f"{prefix}{name}.", inner))
    return found


def rows_of(section):
    """Members and tests of each row of a section's table."""
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    [body] = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    for line in body.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            yield (re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]+)`", cells[-1]), line)


def is_structure(path, paths):
    return any(other.startswith(path + ".") for other in paths)


def expected(section):
    """The members that a section must name: those below its own prefix, not below another's."""
    operations, prefix = SECTIONS[section]
    others = [other for (_, other) in SECTIONS.values() if other.startswith(prefix)
              and other != prefix]
    paths = {path for operation in operations for path in paths_of(operation)}
    return {path[len(prefix):] for path in paths if path.startswith(prefix)
            and not any(path.startswith(other) for other in others)
            and path + "." not in [prefix, "overrides."]}


def covers(name, member):
    if name.endswith(".*"):
        return member == name[:-2] or member.startswith(name[:-1])
    return member == name


@pytest.mark.parametrize("section", SECTIONS)
def test_every_member_is_on_the_page(section):
    if not models.NEWEST:
        pytest.skip("the page follows the newest AWS SDK; this machine's is older")
    members = expected(section)
    names = [name for row in rows_of(section) for name in row[0]]
    # A structure whose members are all named needs no row of its own.
    missing = [member for member in sorted(members) if not is_structure(member, members)
               and not any(covers(name, member) for name in names)]
    assert missing == [], f"docs/fields.md, '{section}', does not name {missing}"
    unknown = [name for name in names if not any(covers(name, member) for member in members)]
    assert unknown == [], f"docs/fields.md, '{section}', names {unknown}, which the API has not"
    assert len(names) == len(set(names)), f"docs/fields.md, '{section}', names one twice"


def source_of(file):
    for folder in FOLDERS:
        path = os.path.join(support.ROOT, folder, file)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as opened:
                return opened.read()
    return ""


def has_case(source, found):
    """Whether a test has a case: of a table of messages by its title, else by its key."""
    if found[1].startswith("test_messages_"):
        table = importlib.import_module(found[1][len("test_"):-len(".py")])
        return any(case.title == found[3] for case in table.CASES)
    return f'\n    "{found[3]}": (' in source


@pytest.mark.parametrize("section", [*SECTIONS, "Never shown"])
def test_every_row_names_tests_that_exist(section):
    for _, tests, line in rows_of(section):
        assert tests, f"docs/fields.md, '{section}': no test in {line}"
        for test in tests:
            found = re.fullmatch(r"(test_\w+\.py)::(test_\w+)(?:\[(.+)\])?", test)
            assert found, f"docs/fields.md: {test} is no test in {line}"
            source = source_of(found[1])
            assert f"\ndef {found[2]}(" in source, f"docs/fields.md: there is no test {test}"
            assert found[3] is None or has_case(source, found), (
                f"docs/fields.md: {test} has no such case")
