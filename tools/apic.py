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


TOKEN = re.compile(r'\s+|//[^\n]*|"(?:[^"\\]|\\.)*"|->|[A-Za-z0-9_][A-Za-z0-9_.:/\-]*|[{}()<>!:,=]')


class Parser:
    """Reads one file into its declarations."""

    def __init__(self, path):
        self.path = path
        self.tokens = []
        self.at = 0
        with open(path, encoding="utf-8") as file:
            source = file.read()
        position = 0
        while position < len(source):
            match = TOKEN.match(source, position)
            line = source.count("\n", 0, position) + 1
            if match is None:
                raise ApiError(f"{path}:{line}: cannot read {source[position:position + 20]!r}")
            token = match.group()
            position = match.end()
            if token.strip() and not token.startswith("//"):
                # a trailing colon belongs to `name:`, not to the word
                if token[0] != '"' and len(token) > 1 and token.endswith(":"):
                    self.tokens += [(token[:-1], line), (":", line)]
                else:
                    self.tokens.append((token, line))

    def fail(self, message):
        line = self.tokens[min(self.at, len(self.tokens) - 1)][1]
        raise ApiError(f"{self.path}:{line}: {message}")

    def peek(self):
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def take(self, want=None):
        token = self.peek()
        if token is None or (want is not None and token != want):
            self.fail(f"expected {want or 'more'}, found {token!r}")
        self.at += 1
        return token

    def maybe(self, token):
        if self.peek() == token:
            self.at += 1
            return True
        return False


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
        parser = Parser(path)
        while parser.peek() is not None:
            keyword = parser.take()
            handler = getattr(self, "read_" + keyword, None)
            if handler is None:
                parser.fail(f"unknown declaration {keyword!r}")
            handler(parser)
        if self.name is None:
            raise ApiError(f"{path}: no service or module declaration")

    def read_service(self, parser):
        self.name = parser.take()
        self.service = {"xml_namespace": None, "target": None, "version": None}
        parser.take("{")
        while not parser.maybe("}"):
            key = parser.take()
            if key == "protocol":
                kind = parser.take()
                if kind == "json":
                    parser.take("1.1")
                elif kind != "query":
                    parser.fail(f"unknown protocol {kind!r}")
                self.service["protocol"] = kind
            elif key in ("version", "target", "signing", "xml_namespace"):
                self.service[key] = parser.take().strip('"')
            else:
                parser.fail(f"unknown service property {key!r}")

    def read_module(self, parser):
        self.name = parser.take()
        parser.take("{")
        parser.take("}")

    def read_use(self, parser):
        self.uses.append(parser.take())

    def read_error(self, parser):
        name, status = parser.take(), int(parser.take())
        code = parser.take() if parser.maybe("=") else name
        self.errors[name] = (status, code.strip('"'))

    def read_operation(self, parser):
        name = parser.take()
        parser.take("(")
        given = parser.take()
        parser.take(")")
        parser.take("->")
        result = parser.take()
        throws = []
        if parser.maybe("throws"):
            throws.append(parser.take())
            while parser.maybe(","):
                throws.append(parser.take())
        self.operations.append((name, given, result, throws, parser.maybe("readonly")))

    def read_enum(self, parser):
        name = parser.take()
        parser.take("{")
        values = []
        while not parser.maybe("}"):
            number = int(parser.take())
            values.append((number, parser.take().strip('"')))
        numbers = [number for number, _ in values]
        if len(set(numbers)) != len(numbers) or min(numbers, default=1) < 1:
            parser.fail(f"enum {name}: numbers must be unique and from 1")
        self.enums[name] = sorted(values)

    def read_type(self, parser):
        word = parser.take()
        if word in ("list", "map") and parser.maybe("<"):
            inner = self.read_type(parser)
            parser.take(">")
            return (word, inner)
        return word

    def read_struct(self, parser):
        name = parser.take()
        parser.take("{")
        members = []
        while not parser.maybe("}"):
            number = int(parser.take())
            member = {"number": number, "name": parser.take().strip('"'),
                      "required": parser.maybe("!"), "min": None, "max": None, "pattern": None,
                      "sensitive": False, "idempotency": False}
            parser.take(":")
            member["type"] = self.read_type(parser)
            if parser.maybe("("):
                while not parser.maybe(")"):
                    key = parser.take()
                    if key in ("min", "max"):
                        member[key] = int(parser.take())
                    elif key == "pattern":
                        member[key] = parser.take()[1:-1].replace('\\"', '"').replace("\\\\", "\\")
                    elif key in ("sensitive", "idempotency"):
                        member[key] = True
                    else:
                        parser.fail(f"unknown rule {key!r}")
                    parser.maybe(",")
            members.append(member)
        numbers = [member["number"] for member in members]
        if len(set(numbers)) != len(numbers) or min(numbers, default=1) < 1:
            parser.fail(f"struct {name}: numbers must be unique and from 1")
        self.structs[name] = sorted(members, key=lambda member: member["number"])


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

    def resolve(self, type_):
        """A named type as (module, name, is_enum)."""
        module, name = self.module, type_
        if "." in type_:
            prefix, name = type_.split(".", 1)
            if prefix not in self.modules:
                raise ApiError(f"{self.module.path}: module {prefix} is not used")
            module = self.modules[prefix]
        if name in module.enums:
            return module, name, True
        if name in module.structs:
            return module, name, False
        raise ApiError(f"{self.module.path}: no such type: {type_}")

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
        # Containers of another module's type are declared here under this module's name.
        if not isinstance(inner, tuple) and inner not in SCALARS:
            owner = self.resolve(inner)[0]
            if owner is not self.module:
                name = f"{self.module.name}_{name}"
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
                raise ApiError(f"{self.module.path}: {name} contains itself")
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
            constant = re.sub(r"[^A-Za-z0-9]+", "_", snake(value) if not value.isupper() else value)
            lines.append(f"    {prefix}_{constant.upper().rstrip('_')} = {number},")
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
        for error, (status, code) in module.errors.items():
            symbol = f"{name}_error_{snake(error)}"
            self.header.append(f"extern const struct api_error {symbol};\n")
            self.source.append(f'const struct api_error {symbol} = {{"{error}", {status}, "{code}"}};\n')
        rows = []
        constants = []
        for index, (operation, given, result, throws, read_only) in enumerate(module.operations):
            symbol = snake(operation)
            constants.append(f"    {upper}_OP_{symbol.upper()} = {index},\n")
            errors = "NULL"
            if throws:
                for error in throws:
                    if error not in module.errors:
                        raise ApiError(f"{module.path}: {operation} throws unknown {error}")
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

        protocol = "API_JSON_1_1" if service["protocol"] == "json" else "API_QUERY"
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
        Writer(modules[0], modules[1:]).write(arguments.out)
    except ApiError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
