"""Tests of tools/apic.py: what it refuses, with the place, and what it promises about its output.

    test_apic.py DIRECTORY_OF_APIC
"""
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv.pop(1))
import apic  # noqa: E402

MODULE = "module m { }\n"


def compile_text(text, others=()):
    """Header and source of a schema; others are (file name, text) of schemas that it uses."""
    with tempfile.TemporaryDirectory() as directory:
        paths = []
        for name, content in [("m.api", text), *others]:
            paths.append(os.path.join(directory, name))
            with open(paths[-1], "w", encoding="utf-8") as file:
                file.write(content)
        try:
            modules = [apic.Module(path) for path in paths]
            apic.Writer(modules[0], modules[1:]).write(directory)
        except apic.ApiError as error:
            raise apic.ApiError(str(error).replace(directory + os.sep, "")) from None
        out = []
        for kind in ("h", "c"):
            with open(os.path.join(directory, f"m.{kind}"), encoding="utf-8") as file:
                out.append(file.read())
        return out


class Refuses(unittest.TestCase):
    """Every mistake is refused with file, line and a sentence."""

    CASES = {
        "an unknown declaration": ("strukt A { }", "m.api:2: unknown declaration 'strukt'"),
        "a member of the parser as a declaration": ("type A", "m.api:2: unknown declaration 'type'"),
        "a stray character": ("\n struct A { ; }", "m.api:3: cannot read '; }'"),
        "an open string": ('struct A { 1 "a: int }', "m.api:2: cannot read '\"a: int }'"),
        "a file that ends": ("struct A {\n 1 a:", "m.api:3: the file ends, expected more"),
        "a number that is none": ("struct A { one a: int }",
                                  "m.api:2: expected a number, found 'one'"),
        "number 0": ("struct A {\n 0 a: int }",
                     "m.api:3: a number must be from 1 to 2147483647, found 0"),
        "a number twice": ("struct A {\n 1 a: int\n 1 b: int\n}",
                           "m.api:4: struct A: number 1 is there twice, as in line 3"),
        "a member twice": ("struct A {\n 1 a: int\n 2 a: int\n}",
                           "m.api:4: struct A: member a is there twice, as in line 3"),
        "members alike in C": ("struct A {\n 1 fooBar: int\n 2 foo_bar: int\n}",
                               "m.api:4: struct A: member foo_bar is the same in C as in line 3"),
        "a member that is a flag in C": (
            "struct A {\n 1 foo: int\n 2 hasFoo: string\n}",
            "m.api:4: struct A: hasFoo is also the presence flag of foo in C"),
        "a struct twice": ("struct A { }\nstruct A { }",
                           "m.api:3: type A is declared twice, first in line 2"),
        "a struct and an enum": ("struct A { }\nenum A { 1 X }",
                                 "m.api:3: type A is declared twice, first in line 2"),
        "an unknown type": ("struct A {\n 1 a: int\n 2 b: list<B>\n}", "m.api:4: no such type: B"),
        "a type of a module not used": ("struct A {\n 1 a: x.B\n}", "m.api:3: module x is not used"),
        "a used module without a file": ("use x\n struct A {\n 1 a: x.B\n}",
                                         "m.api:4: the file of module x is not given"),
        "a struct in itself": ("struct A { 1 b: map<B> }\nstruct B { 1 a: A }",
                               "m.api:2: A contains itself"),
        "an enum without values": ("enum A { }", "m.api:2: enum A has no values"),
        "a number of an enum twice": ("enum A {\n 1 X\n 1 Y }",
                                      "m.api:4: enum A: number 1 is there twice"),
        "a value twice": ("enum A { 1 X\n 2 X }", "m.api:3: enum A: value X is there twice"),
        "values alike in C": ("enum A { 1 a-b\n 2 A_B }",
                              "m.api:3: enum A: value A_B gives a constant that is there already"),
        "a value that is a sentinel": (
            "enum A { 1 absent }",
            "m.api:2: enum A: value absent gives a constant that is there already"),
        "an unknown rule": ("struct A { 1 a: int (size 3) }", "m.api:2: unknown rule 'size'"),
        "a rule twice": ("struct A { 1 a: int (max 3, max 4) }", "m.api:2: rule max is there twice"),
        "a bound of a bool": ("struct A { 1 a: bool (max 3) }",
                              "m.api:2: rule max does not fit a member of type bool"),
        "a pattern of a list": ('struct A { 1 a: list<string> (pattern "a") }',
                                "m.api:2: rule pattern does not fit a member of type list"),
        "bounds crossed": ("struct A { 1 a: int (min 3, max 2) }", "m.api:2: min 3 is over max 2"),
        "a bound that is no integer": ("struct A { 1 a: int (max x) }",
                                       "m.api:2: expected a value of max, found 'x'"),
        "a look-ahead": ('struct A { 1 a: string (pattern "(?!a)b") }',
                         "m.api:2: bad pattern: (?! is not in POSIX extended expressions"),
        "an open bracket": ('struct A { 1 a: string (pattern "[a") }',
                            "m.api:2: bad pattern: unterminated character set at position 0"),
        "two modules": ("module n { }", "m.api:2: a file declares one service or module"),
        "a container's name taken": ("struct A { 1 a: list<B> }\nstruct B { }\nstruct BList { }",
                                     "m.api:2: BList has the name that C gives to list<...>"),
        "a quote in a value": ('enum A { 1 "a\\"b" }', "m.api:2: expected a value, found '\"a"),
    }

    def test_mistakes(self):
        for name, (text, want) in self.CASES.items():
            with self.subTest(name):
                with self.assertRaises(apic.ApiError) as caught:
                    compile_text(MODULE + text)
                self.assertIn(want, str(caught.exception))

    SERVICE = "service m { protocol json 1.1 version 1 target T signing m }\n"
    SERVICE_CASES = {
        "an unknown error": ("struct A { }\noperation F(A) -> A\n throws E\n",
                             "m.api:3: F throws unknown E"),
        "an operation twice": ("struct A { }\noperation F(A) -> A\noperation F(A) -> A\n",
                               "m.api:4: operation F is declared twice, first in line 3"),
        "an operation on a plain type": ("operation F(string) -> string",
                                         "m.api:2: F takes and gives structs, string is none"),
        "an operation on an enum": ("enum A { 1 X }\noperation F(A) -> A",
                                    "m.api:3: F takes and gives structs, A is none"),
        "a status that is no error": ("error E 200",
                                      "m.api:2: an HTTP status must be from 400 to 599, found 200"),
        "an error twice": ("error E 400\nerror E 400",
                           "m.api:3: error E is declared twice, first in line 2"),
    }

    def test_mistakes_of_services(self):
        for name, (text, want) in self.SERVICE_CASES.items():
            with self.subTest(name):
                with self.assertRaises(apic.ApiError) as caught:
                    compile_text(self.SERVICE + text)
                self.assertIn(want, str(caught.exception))

    def test_incomplete_services(self):
        cases = {
            "service m { version 1 signing m }": "m.api:1: service m has no protocol",
            "service m { protocol json 1.1 version 1 signing m }": "m.api:1: service m has no target",
            "service m { protocol query version 1 signing m }":
                "m.api:1: service m has no xml_namespace",
            "service m { protocol json 1.0 }": "m.api:1: expected '1.1', found '1.0'",
            "service m { protocol rest }": "m.api:1: unknown protocol 'rest'",
            "service m { color red }": "m.api:1: unknown service property 'color'",
            "service M { }": "m.api:1: the name of a service is lower case",
            "struct A { }": "m.api:1: no service or module declaration",
            "": "m.api:1: no service or module declaration",
        }
        for text, want in cases.items():
            with self.subTest(text):
                with self.assertRaises(apic.ApiError) as caught:
                    compile_text(text)
                self.assertIn(want, str(caught.exception))

    def test_every_prefix_ends_in_a_message(self):
        """A file cut off anywhere compiles or is refused; it never ends in a Python error."""
        text = self.SERVICE + ('error E 400 = "X"\nstruct A {\n 1 a!: list<map<int>> (min -1, max 2)'
                               '\n 2 b: string (pattern "[a-z]+", sensitive)\n}\n'
                               "enum C { 1 D }\noperation F(A) -> A throws E readonly\n")
        for size in range(len(text)):
            try:
                compile_text(text[:size])
            except apic.ApiError as error:
                self.assertRegex(str(error), r"^m\.api:[0-9]+: ")


class Writes(unittest.TestCase):
    """The layout that C code is written against."""

    def test_names_in_c(self):
        cases = {"containerDefinitions": "container_definitions", "taskRoleArn": "task_role_arn",
                 "EBSTagSpecification": "ebs_tag_specification", "privateIPv4Address":
                 "private_ipv4_address", "memoryGiBPerVCpu": "memory_gib_per_v_cpu",
                 "json-file": "json_file", "default": "default_", "a.b": "a_b"}
        for name, want in cases.items():
            self.assertEqual(apic.snake(name), want)

    def test_members_are_in_order_of_numbers(self):
        header, source = compile_text(MODULE + "struct A { 7 b: int 2 a: string }")
        self.assertIn("struct m_a {\n    struct text a;\n    bool has_b;\n    int32_t b;\n};", header)
        self.assertIn("m_a_by_name[] = {0, 1}", source)

    def test_rules_reach_the_descriptor(self):
        _, source = compile_text(MODULE + 'struct A { 1 a!: string (min 1, max 9, sensitive, '
                                 'idempotency, pattern "\\\\d\\"") 2 b: int (min -5) }')
        self.assertIn('SHAPE_REQUIRED | SHAPE_SENSITIVE | SHAPE_IDEMPOTENCY, 1, 9, "[0-9]\\""}',
                      source)
        self.assertIn("0, -5, SHAPE_NO_MAX, NULL}", source)

    def test_containers_bear_the_name_of_their_module(self):
        other = ("o.api", "module o { }\nstruct X { }")
        header, _ = compile_text(MODULE + "use o\nstruct A { 1 a: list<o.X> 2 b: list<list<string>> "
                                 "3 c: map<int> 4 d: list<string> 5 e: map<string> }", [other])
        for want in ("struct m_o_x_list a;", "struct m_text_list_list b;", "struct m_int_map c;",
                     "struct text_list d;", "struct text_map e;", '#include "api/o.h"'):
            self.assertIn(want, header)

    def test_the_same_file_gives_the_same_output(self):
        text = MODULE + "enum E { 2 b 1 a } struct A { 1 a: E 2 b: map<A2> } struct A2 { 1 x: time }"
        self.assertEqual(compile_text(text), compile_text(text))


class Patterns(unittest.TestCase):
    """Patterns of AWS models become POSIX extended expressions with the same meaning."""

    def test_translation(self):
        cases = {
            r"[a-z][a-z0-9-]*": r"[a-z][a-z0-9-]*", r"\d{12}": "[0-9]{12}",
            r"^[\w+=,.@-]+$": "^[A-Za-z0-9_+=,.@-]+$", r"(?:a|b)*?x": "(a|b)*x",
            r"[\-\]\^a]": "[]a^-]", r"[^\s\\]+": "[^[:space:]\\]+", r"[\^]": r"\^",
            r"[\^\-]": "[-^]", r"[^^]": "[^^]", r"[\[\]]": "[][]", r"a\/b\-\.": r"a/b-\.",
            r"\S\D": "[^[:space:]][^0-9]", r"[[:alpha:]_]": "[[:alpha:]_]", "": "",
        }
        for pattern, want in cases.items():
            with self.subTest(pattern):
                self.assertEqual(apic.posix_of(pattern), want)

    def test_what_has_no_equivalent(self):
        for pattern in (r"(?=x)", r"(?<n>x)", r"\p{L}", r"[\p{L}]", r"a++", r"\bx", r"(a)\1",
                        r"[\D]", "[a", "a\\"):
            with self.subTest(pattern):
                with self.assertRaises(ValueError):
                    apic.posix_of(pattern)


if __name__ == "__main__":
    unittest.main()
