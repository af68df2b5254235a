"""Every sentence that services say is said to a client of some test.

Two lists are held against what tests expect: the strings of ECS itself, and those in the source of
services. What a test expects are the wanted texts of the tables of messages, and the texts in the
source of the other tests that use clients. One that nobody expects fails here by its name.
"""
import ast
import functools
import glob
import os
import re

import pytest

import messages
import support
from service_strings import ECS, INSIDE, IN_UNIT_TESTS, SOURCES

# What a format of C's, or ⟨something⟩, stands for.
GAP = "\0"
FORMATS = r"%(?:\.\*s|-?\d*(?:ll|z)?[a-z])"


def pieces(text):
    """A text with its gaps as a pattern."""
    return re.compile(".+?".join(re.escape(part) for part in text.split(GAP)), re.S)


# ---- what tests expect -----------------------------------------------------------------------

def texts_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)


def texts_of_source(path):
    """Texts in the source of a test, without those that only document it."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    documents |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign)
                  and isinstance(node.targets[0], ast.Attribute)}
    for node in ast.walk(tree):
        if id(node) in documents:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "1"
                          for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@functools.lru_cache
def expected():
    """All texts that tests with clients expect, with something in the place of ⟨what⟩."""
    found = [text for _, table in messages.tables() for case in table.CASES
             for text in texts_in(case.want)]
    for folder in ("api", "e2e"):
        for path in glob.glob(os.path.join(support.ROOT, "tests", folder, "test_*.py")):
            if os.path.basename(path) != os.path.basename(__file__):
                found += texts_of_source(path)
    return [re.sub("⟨[^⟩]*⟩", "1", text) for text in found]


def is_expected(text):
    pattern = pieces(text)
    return any(pattern.search(other) for other in expected())


# ---- the strings of ECS ----------------------------------------------------------------------

def unreachable():
    return {entry.message for _, table in messages.tables() for entry in table.UNREACHABLE}


@pytest.mark.parametrize("text", ECS)
def test_strings_of_ecs(text):
    wanted = is_expected(re.sub("⟨[^⟩]*⟩", GAP, text))
    why = text in unreachable()
    assert wanted or why, f"no test has a client that is told {text!r}, and no table says why not"
    assert not (wanted and why), f"{text!r} is said to be unreachable, and a test reaches it"


# ---- the strings of the source ---------------------------------------------------------------

TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|//[^\n]*|/\*.*?\*/|\'(?:[^\'\\]|\\.)\'', re.S)


def literals(source):
    """The string literals of C's source, neighbours joined as the compiler does."""
    source = re.sub(r"^\s*#include.*$|\\$", "", source, flags=re.M)
    source = re.sub(r"(?:_Static_assert|ASSERT)\((?:[^;\"]|\"[^\"]*\")*\);", ";", source)
    whole, end = None, 0
    for match in TOKEN.finditer(source):
        if match[1] is None:
            continue
        if whole is not None and source[end:match.start()].strip() == "":
            whole += match[1]
        else:
            if whole is not None:
                yield whole
            whole = match[1]
        end = match.end()
    if whole is not None:
        yield whole


def sentences():
    """What the source of services can say: each literal of several words, with its file."""
    for pattern in SOURCES:
        found = glob.glob(os.path.join(support.ROOT, "src", "ecs", pattern))
        assert found, f"there is no src/ecs/{pattern}"
        for path in sorted(found):
            with open(path, encoding="utf-8") as file:
                for text in literals(file.read()):
                    if " " in text and len(text) >= 12 and not text.endswith("\\n"):
                        yield os.path.basename(path), re.sub(r"\\(.)", r"\1", text)


SENTENCES = sorted(set(sentences()))


@pytest.mark.parametrize("file,text", SENTENCES, ids=[f"{file}: {text}" for file, text in SENTENCES])
def test_strings_of_the_source(file, text):
    pattern = re.sub(FORMATS, GAP, text)
    if text in INSIDE:
        assert not is_expected(pattern), f"{text!r} is told after all"
        return
    if text in IN_UNIT_TESTS:
        path = os.path.join(support.ROOT, "tests", "unit", "ecs", IN_UNIT_TESTS[text])
        with open(path, encoding="utf-8") as opened:
            told = [re.sub(r"\\(.)", r"\1", one) for one in literals(opened.read())]
        assert any(pieces(pattern).search(one) for one in told), f"{path} does not expect {text!r}"
        return
    assert is_expected(pattern), (
        f"{file} can say {text!r}, and no test has a client that is told it")


def test_the_lists_name_nothing_else():
    """What is left aside is there."""
    told = {text for _, text in SENTENCES}
    assert [text for text in [*INSIDE, *IN_UNIT_TESTS] if text not in told] == []
