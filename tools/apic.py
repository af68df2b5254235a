#!/usr/bin/env python3
"""The compiler of `.api` files: writes NAME.h and NAME.c with C structs and descriptors.

    apic.py NAME.api [OTHER.api ...] --out DIR     (OTHER: files that NAME uses)

The language (docs/api-language.md tells it at length):

    service ecs { protocol json 1.1  version 2014-11-13  target X  signing ecs }
    module session { }                       a file of shapes without operations
    use ecs                                  shapes of another file, as ecs.ContainerDefinition
    error ClientException 400
    operation RunTask(RunTaskRequest) -> RunTaskResponse throws ClientException, ServerException
    enum LaunchType { 1 EC2  2 FARGATE }
    struct Tag {
        1 key!: string (min 1, max 128)      ! is required; the number is permanent
        2 value: string (sensitive)
        3 items: list<Tag>    4 labels: map<string>
    }
"""
import argparse
import os
import re
import sys

SCALARS = {
    "bool": ("bool", "SHAPE_BOOL", True), "int": ("int32_t", "SHAPE_INT", True),
    "long": ("int64_t", "SHAPE_LONG", True), "double": ("double", "SHAPE_DOUBLE", True),
    "time": ("int64_t", "SHAPE_TIME", False), "string": ("struct text", "SHAPE_TEXT", False),
    "blob": ("struct text", "SHAPE_BLOB", False),
    "document": ("struct text", "SHAPE_DOCUMENT", False),
}
SCALAR_SYMBOL = {"string": "text"}
SHARED_LISTS = {"string": "text_list", "int": "int_list", "long": "long_list",
                "double": "double_list"}
KEYWORDS = set("auto break case char const continue default do double else enum extern float for "
               "goto if inline int long register restrict return short signed sizeof static struct "
               "switch typedef union unsigned void volatile while".split())
ACRONYMS = [("IPv4", "Ipv4"), ("IPv6", "Ipv6"), ("GiB", "Gib"), ("MiB", "Mib"), ("GBps", "Gbps"),
            ("vCpu", "Vcpu"), ("ARNs", "Arns"), ("Mbps", "Mbps")]


class ApiError(Exception):
    """A mistake in an .api file, with its place."""


def snake(name):
    """camelCase to snake_case; runs of capitals are one word."""
    for old, new in ACRONYMS:
        name = name.replace(old, new)
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    name = re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"[^A-Za-z0-9]+", "_", name).lower()
    return name + "_" if name in KEYWORDS else name


def constant_of(value):
    """The end of the C constant of an enum's value."""
    word = value if value.isupper() else snake(value)
    return re.sub(r"[^A-Za-z0-9]+", "_", word).upper().rstrip("_")


TOKEN = re.compile(r'\s+|//[^\n]*|"(?:[^"\\\n]|\\.)*"|->|-?[A-Za-z0-9_][A-Za-z0-9_.:/\-]*|[{}()<>!:,=]')
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NUMBER_MAX = 2 ** 31 - 1
# Which rules fit which members; the others never have any.
RULES_OF = {"min": {"int", "long", "double", "string", "blob", "document", "list", "map"},
            "pattern": {"string"}, "idempotency": {"string"}}
RULES_OF["max"] = RULES_OF["min"]


CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": "[:space:]"}
CONTROLS = {"t": "\t", "n": "\n", "r": "\r"}


def posix_bracket(pattern, at):
    """The bracket expression that opens at `at`, for POSIX, and where it ends."""
    at += 1
    negated = pattern[at:at + 1] == "^"
    at += negated
    parts, literals, first = [], [], True
    while pattern[at:at + 1] != "]" or first:
        first = False
        if at >= len(pattern):
            raise ValueError("a bracket is not closed")
        if pattern.startswith("[:", at):
            end = pattern.index(":]", at) + 2
            parts.append(pattern[at:end])
            at = end
            continue
        escaped = pattern[at] == "\\"
        character = pattern[at + 1:at + 2] if escaped else pattern[at]
        at += 2 if escaped else 1
        if escaped and character in CLASSES:
            parts.append(CLASSES[character])
            continue
        if escaped and character.isalnum():
            if character not in CONTROLS:
                raise ValueError(f"\\{character} has no equivalent in brackets")
            character = CONTROLS[character]
        if pattern[at:at + 1] == "-" and pattern[at + 1:at + 2] not in ("]", ""):
            high = pattern[at + 1]
            at += 2
            if high == "\\":
                high = pattern[at:at + 1]
                at += 1
            parts.append(f"{character}-{high}")
        else:
            literals.append(character)
    # In POSIX a backslash is itself here; places tell what `]`, `^` and `-` mean.
    plain = "".join(c for c in dict.fromkeys(literals) if c not in "][^-")
    body = ("]" if "]" in literals else "") + "".join(parts) + plain + \
        ("[" if "[" in literals else "")
    ends = ("^" if "^" in literals else "") + ("-" if "-" in literals else "")
    if not body and not negated and ends.startswith("^"):
        return ("\\^" if ends == "^" else "[-^]"), at + 1
    return f"[{'^' if negated else ''}{body}{ends}]", at + 1


def posix_of(pattern):
    """The pattern of an AWS model as a POSIX extended expression; ValueError where none fits.

    Classes such as \\d are spelled out, groups without capture become groups, and lazy repetition
    becomes plain repetition, for only whether the whole text matches counts.
    """
    out = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        following = pattern[at + 1:at + 2]
        if character == "[":
            bracket, at = posix_bracket(pattern, at)
            out.append(bracket)
            continue
        if character == "\\":
            if following in CLASSES:
                out.append(f"[{CLASSES[following]}]")
            elif following.lower() in CLASSES:
                out.append(f"[^{CLASSES[following.lower()]}]")
            elif following in CONTROLS:
                out.append(CONTROLS[following])
            elif not following or following.isalnum():
                raise ValueError(f"\\{following} is not in POSIX extended expressions")
            else:
                out.append(f"\\{following}" if following in "^.[$()|*+?{\\" else following)
            at += 2
            continue
        if pattern.startswith("(?", at):
            if not pattern.startswith("(?:", at):
                raise ValueError(f"{pattern[at:at + 3]} is not in POSIX extended expressions")
            out.append("(")
            at += 3
            continue
        out.append(character)
        at += 1
        if character in "*+?}" and pattern[at:at + 1] in ("?", "+"):
            if pattern[at] == "+":
                raise ValueError(f"{character}+ is not in POSIX extended expressions")
            at += 1
    return "".join(out)


class Parser:
    """Reads one file into tokens, each with its line."""

    def __init__(self, path):
        self.path = path
        self.tokens = []
        self.at = 0
        with open(path, encoding="utf-8") as file:
            source = file.read()
        position = 0
        line = 1
        while position < len(source):
            match = TOKEN.match(source, position)
            if match is None:
                found = source[position:].split("\n", 1)[0][:20]
                raise ApiError(f"{path}:{line}: cannot read {found!r}")
            token = match.group()
            position = match.end()
            if token.strip() and not token.startswith("//"):
                # a trailing colon belongs to `name:`, not to the word
                if token[0] != '"' and len(token) > 1 and token.endswith(":"):
                    self.tokens += [(token[:-1], line), (":", line)]
                else:
                    self.tokens.append((token, line))
            line += token.count("\n")

    def line(self):
        """The line of the token taken last."""
        return self.tokens[max(self.at - 1, 0)][1] if self.tokens else 1

    def fail(self, message, line=None):
        """Refuse the token taken last, or what stands in the given line."""
        raise ApiError(f"{self.path}:{line or self.line()}: {message}")

    def peek(self):
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def take(self, want=None):
        token = self.peek()
        if token is None:
            self.fail(f"the file ends, expected {want or 'more'}")
        self.at += 1
        if want is not None and token != want:
            self.fail(f"expected {want!r}, found {token!r}")
        return token

    def maybe(self, token):
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def take_name(self, what):
        """An identifier."""
        token = self.take()
        if IDENTIFIER.fullmatch(token) is None:
            self.fail(f"expected the name of {what}, found {token!r}")
        return token

    def take_word(self, what):
        """A word or a quoted string, as it goes over the wire: without quotes or escapes."""
        token = self.take()
        word = token[1:-1] if token[0] == '"' else token
        if not word or re.search(r'["\\]', word) or token in ("{", "}", "(", ")", ":", ",", "!"):
            self.fail(f"expected {what}, found {token!r}")
        return word

    def take_integer(self, what, low=-2 ** 63, high=2 ** 63 - 1):
        token = self.take()
        if re.fullmatch(r"-?[0-9]+", token) is None:
            self.fail(f"expected {what}, found {token!r}")
        if not low <= int(token) <= high:
            self.fail(f"{what} must be from {low} to {high}, found {token}")
        return int(token)


class Module:
    """The declarations of one .api file."""

    def __init__(self, path):
        self.path = path
        self.name = None
        self.service = None
        self.uses = []
        self.errors = {}
        self.operations = []
        self.enums = {}
        self.structs = {}
        self.lines = {}  # of declarations, by name
        readers = {"service": self.read_service, "module": self.read_module, "use": self.read_use,
                   "error": self.read_error, "operation": self.read_operation,
                   "enum": self.read_enum, "struct": self.read_struct}
        parser = Parser(path)
        while parser.peek() is not None:
            keyword = parser.take()
            if keyword not in readers:
                parser.fail(f"unknown declaration {keyword!r}")
            readers[keyword](parser)
        if self.name is None:
            raise ApiError(f"{path}:1: no service or module declaration")

    def fail(self, line, message):
        raise ApiError(f"{self.path}:{line}: {message}")

    def declare(self, parser, name, kind):
        """Remember where a name is declared; each may be once."""
        if (kind, name) in self.lines:
            parser.fail(f"{kind} {name} is declared twice, first in line {self.lines[kind, name]}")
        self.lines[kind, name] = parser.line()

    def take_module_name(self, parser, what):
        if self.name is not None:
            parser.fail("a file declares one service or module")
        self.name = parser.take_name(what)
        if snake(self.name) != self.name:
            parser.fail(f"the name of {what} is lower case, for it begins every C name")

    def read_service(self, parser):
        self.take_module_name(parser, "a service")
        self.service = {"xml_namespace": None, "target": None, "version": None}
        line = parser.line()
        parser.take("{")
        while not parser.maybe("}"):
            key = parser.take()
            if key == "protocol":
                kind = parser.take()
                if kind == "json":
                    parser.take("1.1")
                elif kind not in ("query", "ec2"):
                    parser.fail(f"unknown protocol {kind!r}")
                self.service["protocol"] = kind
            elif key in ("version", "target", "signing", "xml_namespace"):
                self.service[key] = parser.take_word(f"a value of {key}")
            else:
                parser.fail(f"unknown service property {key!r}")
        needed = ["protocol", "version", "signing"]
        needed.append("target" if self.service.get("protocol") == "json" else "xml_namespace")
        for key in needed:
            if self.service.get(key) is None:
                parser.fail(f"service {self.name} has no {key}", line)

    def read_module(self, parser):
        self.take_module_name(parser, "a module")
        parser.take("{")
        parser.take("}")

    def read_use(self, parser):
        name = parser.take_name("a module")
        self.declare(parser, name, "use")
        self.uses.append(name)

    def read_error(self, parser):
        name = parser.take_name("an error")
        self.declare(parser, name, "error")
        status = parser.take_integer("an HTTP status", 400, 599)
        code = parser.take_word("a code") if parser.maybe("=") else name
        says = parser.take_word("a member") if parser.maybe("says") else "message"
        self.errors[name] = (status, code, says)

    def read_operation(self, parser):
        name = parser.take_name("an operation")
        self.declare(parser, name, "operation")
        parser.take("(")
        given = parser.take()
        parser.take(")")
        parser.take("->")
        result = parser.take()
        throws = []
        if parser.maybe("throws"):
            throws.append(parser.take_name("an error"))
            while parser.maybe(","):
                throws.append(parser.take_name("an error"))
        self.operations.append((name, given, result, throws, parser.maybe("readonly")))

    def read_enum(self, parser):
        name = parser.take_name("an enum")
        self.declare(parser, name, "type")
        parser.take("{")
        values = []
        numbers, names, constants = set(), set(), {"UNRECOGNIZED", "ABSENT"}
        while not parser.maybe("}"):
            number = parser.take_integer("a number", 1, NUMBER_MAX)
            value = parser.take_word("a value")
            if number in numbers:
                parser.fail(f"enum {name}: number {number} is there twice")
            if value in names:
                parser.fail(f"enum {name}: value {value} is there twice")
            if constant_of(value) in constants:
                parser.fail(f"enum {name}: value {value} gives a constant that is there already")
            numbers.add(number)
            names.add(value)
            constants.add(constant_of(value))
            values.append((number, value))
        if not values:
            parser.fail(f"enum {name} has no values")
        self.enums[name] = sorted(values)

    def read_type(self, parser):
        word = parser.take()
        if word in ("list", "map") and parser.maybe("<"):
            inner = self.read_type(parser)
            parser.take(">")
            return (word, inner)
        if word not in SCALARS and re.fullmatch(r"([a-z_0-9]+\.)?[A-Za-z_][A-Za-z0-9_]*", word) is None:
            parser.fail(f"expected a type, found {word!r}")
        return word

    def read_rules(self, parser, member):
        """What stands in parentheses behind a member's type."""
        kind = member["type"][0] if isinstance(member["type"], tuple) else member["type"]
        while not parser.maybe(")"):
            key = parser.take()
            if key not in ("min", "max", "pattern", "sensitive", "idempotency"):
                parser.fail(f"unknown rule {key!r}")
            if key in RULES_OF and kind not in RULES_OF[key]:
                parser.fail(f"rule {key} does not fit a member of type {kind}")
            if member[key]:
                parser.fail(f"rule {key} is there twice")
            if key in ("min", "max"):
                member[key] = parser.take_integer(f"a value of {key}")
            elif key == "pattern":
                member[key] = self.read_pattern(parser)
            else:
                member[key] = True
            if not parser.maybe(",") and parser.peek() != ")":
                parser.take(")")
        if None not in (member["min"], member["max"]) and member["min"] > member["max"]:
            parser.fail(f"min {member['min']} is over max {member['max']}")

    def read_pattern(self, parser):
        token = parser.take()
        if token[0] != '"':
            parser.fail(f"expected a pattern in quotes, found {token!r}")
        pattern = re.sub(r"\\(.)", r"\1", token[1:-1])
        try:
            re.compile(re.sub(r"\[:[a-z]+:\]", "a", pattern))
            return posix_of(pattern)
        except (re.error, ValueError) as error:
            parser.fail(f"bad pattern: {error}")
            return None

    def read_struct(self, parser):
        name = parser.take_name("a struct")
        self.declare(parser, name, "type")
        parser.take("{")
        members = []
        while not parser.maybe("}"):
            number = parser.take_integer("a number", 1, NUMBER_MAX)
            member = {"number": number, "name": parser.take_word("the name of a member"),
                      "line": parser.line(), "required": parser.maybe("!"), "min": None,
                      "max": None, "pattern": None, "sensitive": False, "idempotency": False}
            if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.\-]*", member["name"]) is None:
                parser.fail(f"expected the name of a member, found {member['name']!r}")
            self.check_member(parser, name, members, member)
            parser.take(":")
            member["type"] = self.read_type(parser)
            if parser.maybe("("):
                self.read_rules(parser, member)
            members.append(member)
        fields = {snake(member["name"]): member for member in members}
        for member in members:
            scalar = None if isinstance(member["type"], tuple) else SCALARS.get(member["type"])
            flag = "has_" + snake(member["name"])
            if scalar and scalar[2] and flag in fields:
                parser.fail(f"struct {name}: {fields[flag]['name']} is also the presence flag of "
                            f"{member['name']} in C", fields[flag]["line"])
        self.structs[name] = sorted(members, key=lambda member: member["number"])

    @staticmethod
    def check_member(parser, name, members, member):
        """A new member's number, name and C name are its own."""
        for other in members:
            where = f"as in line {other['line']}"
            if other["number"] == member["number"]:
                parser.fail(f"struct {name}: number {member['number']} is there twice, {where}",
                            member["line"])
            if other["name"] == member["name"]:
                parser.fail(f"struct {name}: member {member['name']} is there twice, {where}",
                            member["line"])
            if snake(other["name"]) == snake(member["name"]):
                parser.fail(f"struct {name}: member {member['name']} is the same in C {where}",
                            member["line"])


class Writer:
    """Writes the C of one module."""

    def __init__(self, module, others):
        self.module = module
        self.modules = {other.name: other for other in others}
        self.modules[module.name] = module
        self.lists = {}
        self.maps = {}
        self.header = []
        self.source = []
        self.line = 1  # of what is being written, for messages

    def resolve(self, type_):
        """A named type as (module, name, is_enum)."""
        module, name = self.module, type_
        if "." in type_:
            prefix, name = type_.split(".", 1)
            if prefix not in self.module.uses:
                module.fail(self.line, f"module {prefix} is not used")
            if prefix not in self.modules:
                module.fail(self.line, f"the file of module {prefix} is not given")
            module = self.modules[prefix]
        if name in module.enums:
            return module, name, True
        if name in module.structs:
            return module, name, False
        self.module.fail(self.line, f"no such type: {type_}")
        return None

    def c_name(self, type_):
        module, name, _ = self.resolve(type_)
        return f"{module.name}_{snake(name).rstrip('_')}"

    def element_c(self, type_):
        """C type of a value as an element."""
        if isinstance(type_, tuple):
            return f"struct {self.container(type_)}"
        if type_ in SCALARS:
            return SCALARS[type_][0]
        return ("enum " if self.resolve(type_)[2] else "struct ") + self.c_name(type_)

    def container(self, type_):
        """Name of the C struct of a list or map."""
        kind, inner = type_
        if kind == "list" and inner in SHARED_LISTS:
            return SHARED_LISTS[inner]
        if kind == "map" and inner == "string":
            return "text_map"
        if isinstance(inner, tuple):
            base = self.container(inner)
        elif inner in SCALARS:
            base = f"{self.module.name}_{inner}"
        else:
            base = self.c_name(inner)
        name = f"{base}_{kind}"
        # Containers of shared or another module's types are declared under this module's name.
        if not name.startswith(f"{self.module.name}_"):
            name = f"{self.module.name}_{name}"
        for struct in list(self.module.structs) + list(self.module.enums):
            if name == f"{self.module.name}_{snake(struct).rstrip('_')}":
                self.module.fail(self.line, f"{struct} has the name that C gives to {kind}<...>")
        (self.lists if kind == "list" else self.maps)[name] = inner
        return name

    def shape(self, type_):
        """Symbol of a descriptor."""
        if isinstance(type_, tuple):
            name = self.container(type_)
            return f"shape_{name}" if name in ("text_map",) + tuple(SHARED_LISTS.values()) \
                else f"{name}_shape"
        if type_ in SCALARS:
            return f"shape_{SCALAR_SYMBOL.get(type_, type_)}"
        return f"{self.c_name(type_)}_shape"

    def order(self):
        """Structs so that inline uses come after their definition."""
        done, out = set(), []

        def visit(name, trail):
            if name in done:
                return
            if name in trail:
                self.module.fail(self.module.lines["type", name], f"{name} contains itself")
            for member in self.module.structs[name]:
                type_ = member["type"]
                while isinstance(type_, tuple):
                    type_ = type_[1]
                if type_ in self.module.structs:
                    visit(type_, trail | {name})
            done.add(name)
            out.append(name)

        for name in self.module.structs:
            visit(name, frozenset())
        return out

    def write_containers(self):
        """Definitions of lists and maps not yet written."""
        for kind, known in (("list", self.lists), ("map", self.maps)):
            for name, inner in list(known.items()):
                if name in self.written:
                    continue
                self.written.add(name)
                element = self.element_c(inner)
                if kind == "list":
                    self.header.append(f"struct {name} {{\n    {element} *items;\n"
                                       f"    size_t count;\n}};\n")
                    self.shapes.append((name, "SHAPE_LIST", inner, None))
                else:
                    entry = name[:-4] + "_entry"
                    self.header.append(f"struct {entry} {{\n    struct text key;\n"
                                       f"    {element} value;\n}};\n")
                    self.header.append(f"struct {name} {{\n    struct {entry} *items;\n"
                                       f"    size_t count;\n}};\n")
                    self.shapes.append((name, "SHAPE_MAP", inner, entry))
                self.header.append(f"extern const struct shape_type {name}_shape;\n")

    def write_struct(self, name):
        c_name = self.c_name(name)
        lines = []
        for member in self.module.structs[name]:
            self.line = member["line"]
            type_ = member["type"]
            field = snake(member["name"])
            if isinstance(type_, tuple):
                lines.append(f"    struct {self.container(type_)} {field};")
            elif type_ in SCALARS:
                if SCALARS[type_][2]:
                    lines.append(f"    bool has_{field};")
                lines.append(f"    {SCALARS[type_][0]} {field};")
            elif self.resolve(type_)[2]:
                lines.append(f"    enum {self.c_name(type_)} {field};")
            else:
                lines.append(f"    struct {self.c_name(type_)} *{field};")
        self.write_containers()
        # A struct without members still needs a size in C.
        body = "\n".join(lines) if lines else "    char unused;"
        self.header.append(f"struct {c_name} {{\n{body}\n}};\n")
        self.header.append(f"extern const struct shape_type {c_name}_shape;\n")

    def write_enum(self, name, values):
        c_name = self.c_name(name)
        prefix = c_name.upper()
        lines = [f"    {prefix}_UNRECOGNIZED = -1,", f"    {prefix}_ABSENT = 0,"]
        for number, value in values:
            lines.append(f"    {prefix}_{constant_of(value)} = {number},")
        self.header.append(f"enum {c_name} {{\n" + "\n".join(lines) + "\n};\n")
        self.header.append(f"extern const struct shape_type {c_name}_shape;\n")
        rows = "".join(f'    {{{number}, "{value}"}},\n' for number, value in values)
        self.source.append(f"static const struct shape_enum_value {c_name}_values[] = {{\n{rows}}};\n")
        self.source.append(
            f"const struct shape_type {c_name}_shape = {{\n    .kind = SHAPE_ENUM,\n"
            f'    .name = "{name}",\n    .size_bytes = sizeof(enum {c_name}),\n'
            f"    .align_bytes = _Alignof(enum {c_name}),\n    .values = {c_name}_values,\n"
            f"    .value_count = {len(values)},\n}};\n")

    def source_struct(self, name):
        c_name = self.c_name(name)
        members = self.module.structs[name]
        rows = []
        for member in members:
            field = snake(member["name"])
            scalar = SCALARS.get(member["type"]) if not isinstance(member["type"], tuple) else None
            has = f"offsetof(struct {c_name}, has_{field})" if scalar and scalar[2] \
                else "SHAPE_NO_OFFSET"
            flags = [flag for key, flag in (("required", "SHAPE_REQUIRED"),
                                            ("sensitive", "SHAPE_SENSITIVE"),
                                            ("idempotency", "SHAPE_IDEMPOTENCY")) if member[key]]
            pattern = member["pattern"]
            quoted = "NULL" if pattern is None else \
                '"' + pattern.replace("\\", "\\\\").replace('"', '\\"') + '"'
            rows.append(
                f'    {{"{member["name"]}", &{self.shape(member["type"])}, {member["number"]}, '
                f"offsetof(struct {c_name}, {field}), {has}, {' | '.join(flags) or '0'}, "
                f"{'SHAPE_NO_MIN' if member['min'] is None else member['min']}, "
                f"{'SHAPE_NO_MAX' if member['max'] is None else member['max']}, {quoted}}},\n")
        if members:
            order = sorted(range(len(members)), key=lambda i: members[i]["name"].encode())
            self.source.append(f"static const struct shape_member {c_name}_members[] = {{\n"
                               + "".join(rows) + "};\n")
            self.source.append(f"static const uint16_t {c_name}_by_name[] = {{"
                               + ", ".join(map(str, order)) + "};\n")
        self.source.append(
            f"const struct shape_type {c_name}_shape = {{\n    .kind = SHAPE_STRUCT,\n"
            f'    .name = "{name}",\n    .size_bytes = sizeof(struct {c_name}),\n'
            f"    .align_bytes = _Alignof(struct {c_name}),\n"
            + (f"    .members = {c_name}_members,\n    .by_name = {c_name}_by_name,\n"
               if members else "")
            + f"    .member_count = {len(members)},\n}};\n")

    def source_containers(self):
        for name, kind, inner, entry in self.shapes:
            extra = ""
            if entry is not None:
                extra = (f"    .value_offset = offsetof(struct {entry}, value),\n"
                         f"    .entry_size_bytes = sizeof(struct {entry}),\n")
            self.source.append(
                f"const struct shape_type {name}_shape = {{\n    .kind = {kind},\n"
                f'    .name = "{"list" if kind == "SHAPE_LIST" else "map"}",\n'
                f"    .size_bytes = sizeof(struct {name}),\n"
                f"    .align_bytes = _Alignof(struct {name}),\n"
                f"    .element = &{self.shape(inner)},\n{extra}}};\n")

    def write_service(self):
        module, service = self.module, self.module.service
        name, upper = module.name, module.name.upper()
        for error, (status, code, says) in module.errors.items():
            symbol = f"{name}_error_{snake(error)}"
            self.header.append(f"extern const struct api_error {symbol};\n")
            self.source.append(f'const struct api_error {symbol} = {{"{error}", {status}, "{code}", "{says}"}};\n')
        rows = []
        constants = []
        for index, (operation, given, result, throws, read_only) in enumerate(module.operations):
            self.line = module.lines["operation", operation]
            for type_ in (given, result):
                if type_ in SCALARS or self.resolve(type_)[2]:
                    module.fail(self.line, f"{operation} takes and gives structs, {type_} is none")
            symbol = snake(operation)
            constants.append(f"    {upper}_OP_{symbol.upper()} = {index},\n")
            errors = "NULL"
            if throws:
                for error in throws:
                    if error not in module.errors:
                        module.fail(self.line, f"{operation} throws unknown {error}")
                listed = ", ".join(f"&{name}_error_{snake(error)}" for error in throws)
                self.source.append(f"static const struct api_error *const {name}_{symbol}_errors[] "
                                   f"= {{{listed}}};\n")
                errors = f"{name}_{symbol}_errors"
            rows.append(f'    {{"{operation}", &{name}_service, {index}, &{self.shape(given)}, '
                        f"&{self.shape(result)}, {errors}, {len(throws)}, "
                        f"{'true' if read_only else 'false'}}},\n")
        self.header.append(f"/** Indexes into {name}_operations. */\nenum {name}_operation {{\n"
                           + "".join(constants) + f"    {upper}_OP_COUNT = {len(rows)},\n}};\n")
        self.header.append(f"extern const struct api_operation {name}_operations[];\n"
                           f"extern const struct api_service {name}_service;\n")
        self.source.append(f"const struct api_operation {name}_operations[] = {{\n"
                           + "".join(rows) + "};\n")

        def quote(value):
            return "NULL" if value is None else f'"{value}"'

        protocol = {"json": "API_JSON_1_1", "query": "API_QUERY", "ec2": "API_EC2"}[
            service["protocol"]]
        self.source.append(
            f"const struct api_service {name}_service = {{\n    .name = \"{name}\",\n"
            f"    .version = {quote(service['version'])},\n    .protocol = {protocol},\n"
            f"    .target_prefix = {quote(service['target'])},\n"
            f"    .xml_namespace = {quote(service['xml_namespace'])},\n"
            f"    .signing_name = {quote(service['signing'])},\n"
            f"    .operations = {name}_operations,\n    .operation_count = {len(rows)},\n}};\n")

    def write(self, out):
        name = self.module.name
        self.written, self.shapes = set(), []
        for enum, values in self.module.enums.items():
            self.write_enum(enum, values)
        order = self.order()
        for struct in order:
            self.write_struct(struct)
        self.source_containers()
        for struct in order:
            self.source_struct(struct)
        if self.module.service is not None:
            self.write_service()
        source_name = os.path.basename(self.module.path)
        includes = "".join(f'#include "api/{use}.h"\n' for use in self.module.uses)
        head = (f"#pragma once\n\n// Generated from {source_name}; edit that.\n\n{includes}"
                f'#include "shape/api.h"\n#include "shape/shape.h"\n\n')
        with open(os.path.join(out, f"{name}.h"), "w", encoding="utf-8") as file:
            file.write(head + "\n".join(self.header))
        with open(os.path.join(out, f"{name}.c"), "w", encoding="utf-8") as file:
            file.write(f'// Generated from {source_name}; edit that.\n\n#include "api/{name}.h"\n\n'
                       + "\n".join(self.source))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    try:
        modules = [Module(path) for path in arguments.files]
        for use in modules[0].uses:
            if use not in [module.name for module in modules[1:]]:
                modules[0].fail(modules[0].lines["use", use], f"the file of module {use} is not given")
        Writer(modules[0], modules[1:]).write(arguments.out)
    except (ApiError, OSError, UnicodeDecodeError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
