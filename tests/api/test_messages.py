"""The tables of messages and the page that lists them say the same; see messages.py."""
import collections

import messages


def test_the_page_lists_exactly_the_cases():
    with open(messages.PAGE, encoding="utf-8") as file:
        assert file.read() == messages.page(), "run `python3 tests/api/messages.py`"


def test_no_two_cases_have_one_name():
    seen = collections.Counter(messages.case_id(case)
                               for _, table in messages.tables() for case in table.CASES)
    assert [name for name, count in seen.items() if count > 1] == []


def test_every_case_is_of_a_known_section():
    wrong = [messages.case_id(case) for _, table in messages.tables()
             for case in [*table.CASES] if case.section not in messages.SECTIONS]
    assert wrong == []


def test_texts_are_compared_to_the_byte():
    words = {"region": "eu-1"}
    assert messages.matches("a ⟨what⟩ in ⟨region⟩.", "a thing in eu-1.", words)
    for got in ("a thing in eu-2.", "a thing in eu-1", "a thing or two in eu-1.", None):
        assert not messages.matches("a ⟨what⟩ in ⟨region⟩.", got, words)
    assert not messages.matches({"cpu": 1}, {"cpu": True}, words)
    assert not messages.matches({"cpu": 1}, {"cpu": 1, "more": 2}, words)
    assert messages.matches(("Client", ["a"]), ["Client", ["a"]], words)
