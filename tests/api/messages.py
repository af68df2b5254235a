"""What ECS answers, word for word: cases, how they are asked, and the page that lists them.

A table is a module `messages_AREA.py` beside this one with `CASES`, a list of `Case`, and
`UNREACHABLE`, a list of `Unreachable`; `test_messages_AREA.py` runs it:

    @pytest.mark.parametrize("case", messages_AREA.CASES, ids=messages.case_id)
    def test_case(world, case):
        messages.check(world, case)

`world` is a fixture of that test, at least a `World`. Texts are compared to the byte. Where a part
of a text is new in each run, the case writes `⟨what⟩`, which stands for any text without white
space; `⟨account⟩` and `⟨region⟩` stand for those of the server. `python3 tests/api/messages.py`
writes docs/messages.md, and test_messages.py sees that it lists exactly the cases of all tables.
"""
import dataclasses
import glob
import importlib
import json
import os
import re
import sys
import typing

import botocore.config
import botocore.exceptions
import botocore.validate
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.dirname(HERE))
import models  # noqa: E402  (the path comes first)
import support  # noqa: E402

PAGE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "docs", "messages.md")

# Parts of the API, in the order of the page.
SECTIONS = {
    "0": "The wire and what all operations share",
    "1.1": "Task definitions: members of the task",
    "1.2": "Task definitions: life cycle, listings",
    "1.3": "Task definitions: Fargate sizes",
    "1.4": "Task definitions: containers and volumes",
    "1.5": "Task definitions: requiresAttributes and compatibilities",
    "2.1": "Tasks: states",
    "2.2": "Tasks: the first answer of RunTask",
    "2.3": "Tasks: health",
    "2.4": "Tasks: stopCode and stoppedReason",
    "2.5": "Tasks: RunTask and StartTask",
    "2.6": "Tasks: stopping",
    "2.7": "Tasks: protection",
    "2.8": "Tasks: attachments",
    "4.4": "Tasks: ExecuteCommand",
    "3.2": "Agents: RegisterContainerInstance",
    "3.3": "Agents: DiscoverPollEndpoint",
    "clusters": "Clusters",
    "capacity": "Capacity providers",
    "service.create": "Services: CreateService",
    "service.update": "Services: UpdateService",
    "service.delete": "Services: DeleteService",
    "service.list": "Services: Describe and List",
    "service.deployments": "Services: deployments and revisions",
    "service.task_sets": "Services: task sets, DAEMON services",
    "service.stages": "Services: deployments by stages",
    "service.events": "Services: events",
    "settings": "Account settings",
    "tags": "Tags",
    "attributes": "Attributes",
    "pages": "Pages and quotas",
}


# What any operation of any service may answer.
COMMON = {"SerializationException", "UnknownOperationException", "ThrottlingException",
          "InvalidSignatureException", "UnrecognizedClientException", "IncompleteSignatureException",
          "MissingAuthenticationTokenException", "AccessDeniedException", "ServerException",
          "ClientException", "InvalidParameterException"}


class Refusal(typing.NamedTuple):
    """An error of the API."""
    code: str
    message: str


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that is asked and what the answer must be."""
    section: str         # a key of SECTIONS
    title: str           # what is asked; no two cases of a section have the same
    ask: typing.Callable  # takes the world; what it returns is compared with want
    want: typing.Any     # a Refusal, a text, or any other value
    shown: str = ""      # how the page prints want, where its JSON would be unreadable


@dataclasses.dataclass(frozen=True)
class Unreachable:
    """A message that Berth cannot say, and why it cannot."""
    section: str
    message: str
    why: str


def client_of(berth, **changes):
    """A client that leaves it to the server to refuse what is wrong."""
    return berth.client("ecs", config=botocore.config.Config(
        parameter_validation=False, retries={"max_attempts": 1}, read_timeout=support.PATIENCE), **changes)


def strict_worlds(folder_of):
    """Two servers without nodes: one as it comes, and one that wants roles as ECS does."""
    berths = [support.Berth(folder_of("containers"), *flags, command="server").start()
              for flags in ((), ("--strict",))]
    world = World(berths[0])
    world.strict = client_of(berths[1])
    yield world
    assert [berth.stop() for berth in berths] == [0, 0]


class World:
    """A server that is asked, and the words for what is new in each run."""

    def __init__(self, berth):
        self.berth = berth
        self.ecs = client_of(berth)
        self.words = {"account": berth.client("sts").get_caller_identity()["Account"],
                      "region": berth.keys["region"]}
        self.count = 0

    def fresh(self, prefix="case"):
        """A name that no other case uses."""
        self.count += 1
        return f"{prefix}-{self.count}"


# ---- asking -------------------------------------------------------------------------------

def send(client, operation, arguments):
    """Call an operation; skip, visibly, what this botocore cannot send."""
    support.needs(client, operation)
    model = client.meta.service_model.operation_model(operation)
    report = botocore.validate.ParamValidator().validate(arguments, model.input_shape)
    unknown = [line.split(", must be one of")[0] for line in report.generate_report().splitlines()
               if line.startswith("Unknown parameter")]
    if unknown:
        pytest.skip(f"botocore {botocore.__version__}: {'; '.join(unknown)}")
    return getattr(client, botocore.xform_name(operation))(**arguments)


def declared(client, operation, code):
    """Whether an operation may answer with an exception: its model says so, or every one may."""
    names = {shape.name for shape in client.meta.service_model.operation_model(
        operation).error_shapes}
    return code in names | COMMON or not models.NEWEST


def refused(client, operation, **arguments):
    """Call an operation that must fail, with an exception it declares; returns its Refusal."""
    try:
        answer = send(client, operation, arguments)
    except botocore.exceptions.ClientError as error:
        said = error.response["Error"]
        assert declared(client, operation, said["Code"]), f"{operation} has no {said}"
        return Refusal(said["Code"], said["Message"])
    answer.pop("ResponseMetadata", None)
    return f"no refusal but {json.dumps(answer, default=str)[:500]}"


def refusal(section, title, operation, arguments, code, message, through="ecs"):
    """A case of one call that must fail. Arguments may be a function of the world, and through is
    the member of the world that is the client."""
    def ask(world):
        given = arguments(world) if callable(arguments) else arguments
        return refused(getattr(world, through), operation, **given)
    return Case(section, title, ask, Refusal(code, message))


def rules(cases):
    """A decorator that makes a case, and adds it to a list, of a function that returns what was
    found."""
    return lambda section, title, want, shown="": (
        lambda ask: cases.append(Case(section, title, ask, want, shown)))


# ---- comparing ----------------------------------------------------------------------------

def text_matches(want, got, words):
    """Whether a text is the wanted one, with what stands in ⟨⟩ replaced."""
    if not isinstance(got, str):
        return False
    parts = re.split("⟨([^⟩]*)⟩", want)
    pattern = "".join(
        re.escape(part) if n % 2 == 0 else re.escape(words[part]) if part in words else r"\S+"
        for n, part in enumerate(parts))
    return re.fullmatch(pattern, got, re.S) is not None


def matches(want, got, words):
    """Whether a value is the wanted one: texts as above, everything else exactly."""
    if isinstance(want, str):
        return text_matches(want, got, words)
    if isinstance(want, dict):
        return isinstance(got, dict) and want.keys() == got.keys() and all(
            matches(item, got[name], words) for name, item in want.items())
    if isinstance(want, (list, tuple)):
        return isinstance(got, (list, tuple)) and len(want) == len(got) and all(
            matches(item, other, words) for item, other in zip(want, got))
    return type(want) is type(got) and want == got


def case_id(case):
    return f"{case.section}: {case.title}"


def check(world, case):
    """Ask what a case asks; fail with its name when the answer is another."""
    got = case.ask(world)
    assert matches(case.want, got, world.words), (
        f"{case_id(case)}\nwanted: {case.want!r}\n   got: {got!r}")


# ---- the page -----------------------------------------------------------------------------

HEAD = """# What Berth answers, word for word

Every message of the API that a client may look for, and the rules of what is filled in, echoed and
ordered. Each row is a case of a test that asks a real server through boto3 and compares to the
byte; `⟨what⟩` stands for what is new in each run. A row is run alone by words of its text:

    BERTH=build/berth tests/in_namespace python3 -m pytest tests/api/test_messages_AREA.py -k "WORD and WORD"

The last column names AREA. This page is written by `python3 tests/api/messages.py` from the tables
`tests/api/messages_AREA.py`; a test sees that both say the same.
"""


def tables():
    """Every table: its area and its module."""
    names = sorted(os.path.basename(path)[:-3]
                   for path in glob.glob(os.path.join(HERE, "messages_*.py")))
    return [(name[len("messages_"):], importlib.import_module(name)) for name in names]


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def literal(text):
    fence = "``" if "`" in text else "`"
    return cell(f"{fence}{text}{fence}")


def answer_of(case):
    if case.shown:
        return cell(case.shown)
    return literal(case.want if isinstance(case.want, str)
                else json.dumps(case.want, ensure_ascii=False))


def section_lines(rows):
    refusals = [(area, case) for area, case in rows if isinstance(case.want, Refusal)]
    rules = [(area, case) for area, case in rows if not isinstance(case.want, Refusal)]
    if refusals:
        yield from ("", "| Asked | Exception | Message | Test |", "|---|---|---|---|")
        for area, case in refusals:
            yield f"| {cell(case.title)} | {case.want.code} | {literal(case.want.message)} | {area} |"
    if rules:
        yield from ("", "| Rule | Answer | Test |", "|---|---|---|")
        for area, case in rules:
            yield f"| {cell(case.title)} | {answer_of(case)} | {area} |"


def page():
    """The text of docs/messages.md."""
    rows = [(area, case) for area, table in tables() for case in table.CASES]
    lines = [HEAD.rstrip()]
    for section, title in SECTIONS.items():
        here = [row for row in rows if row[1].section == section]
        if here:
            lines += ["", f"## {title}", *section_lines(here)]
    missing = [entry for _, table in tables() for entry in table.UNREACHABLE]
    if missing:
        lines += ["", "## What Berth cannot say", "", "| Part | Message | Why not |", "|---|---|---|"]
        lines += [f"| {SECTIONS[entry.section]} | {literal(entry.message)} | {cell(entry.why)} |"
                  for entry in missing]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    # The tables import this module by its name: their cases are of its classes, not of __main__'s.
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(importlib.import_module("messages").page())
