#!/usr/bin/env python3
"""Write or refresh a service's .api file from the model that the installed botocore carries.

    api_import.py ecs 2014-11-13 api/ecs.api [--only GetCallerIdentity,...]

Takes names, types, limits and errors, no documentation text. Numbers of members and enum values
that the file already has are kept, for they are permanent; new ones get the next number.
"""
import argparse
import gzip
import json
import os
import re

import botocore

import apic

SCALARS = {"boolean": "bool", "integer": "int", "long": "long", "double": "double",
           "float": "double", "timestamp": "time", "string": "string", "blob": "blob"}


# Required members that the service itself misses, in words of its own, rather than the validator.
MISSED_BY_SERVICE = {
    "RegisterTaskDefinitionRequest": {"family", "containerDefinitions"},
    "DescribeTaskDefinitionRequest": {"taskDefinition"},
    "DeregisterTaskDefinitionRequest": {"taskDefinition"},
    "DeleteTaskDefinitionsRequest": {"taskDefinitions"},
    "DeleteClusterRequest": {"cluster"},
    "UpdateClusterRequest": {"cluster"},
    "UpdateClusterSettingsRequest": {"cluster", "settings"},
    "PutClusterCapacityProvidersRequest": {"cluster"},
    "TagResourceRequest": {"resourceArn", "tags"},
    "UntagResourceRequest": {"resourceArn", "tagKeys"},
    "ListTagsForResourceRequest": {"resourceArn"},
    "PutAttributesRequest": {"attributes"},
    "DeleteAttributesRequest": {"attributes"},
}


# Lists in answers that AWS sends empty, though the model has a least length.
MAY_BE_EMPTY = {"InvalidParameters", "DeletedParameters", "InvalidLabels", "RemovedLabels"}

# Operations that read by name and yet note something.
CHANGES = {"GetSecretValue"}


class Importer:
    """Turns one botocore model into the text of an .api file."""

    def __init__(self, model, old):
        self.model = model
        self.shapes = model["shapes"]
        self.old = old
        self.wanted = []
        self.ec2 = model["metadata"]["protocol"] == "ec2"

    def type_of(self, name):
        shape = self.shapes[name]
        kind = shape["type"]
        if kind == "list":
            return f"list<{self.type_of(shape['member']['shape'])}>"
        if kind == "map":
            return f"map<{self.type_of(shape['value']['shape'])}>"
        if kind == "structure" and shape.get("document"):
            return "document"
        # EC2 refuses values in words of its own, which name the value: its handlers know them.
        if "enum" in shape and self.ec2:
            return "string"
        if kind == "structure" or "enum" in shape:
            if name not in self.wanted:
                self.wanted.append(name)
            return name
        return SCALARS[kind]

    def rules(self, member, name):
        shape = self.shapes[member["shape"]]
        if self.ec2:
            return ""
        found = []
        for key in ("min", "max"):
            if key in shape and not (key == "min" and name in MAY_BE_EMPTY):
                found.append(f"{key} {int(shape[key])}")
        # Rules are POSIX expressions; Unicode classes such as those of tags are checked by the
        # service itself.
        if "pattern" in shape and not re.search(r"\\[pu]", shape["pattern"]):
            pattern = shape["pattern"].replace("\\", "\\\\").replace('"', '\\"')
            found.append(f'pattern "{pattern}"')
        if shape.get("sensitive"):
            found.append("sensitive")
        if member.get("idempotencyToken"):
            found.append("idempotency")
        return f" ({', '.join(found)})" if found else ""

    @staticmethod
    def numbered(names, old):
        """Pairs of (permanent number, name): old numbers first, then new ones."""
        known = dict(old)
        following = max(known.values(), default=0) + 1
        out = []
        for name in names:
            if name not in known:
                known[name] = following
                following += 1
            out.append((known[name], name))
        return sorted(out)

    def enum(self, name):
        old = {value: number for number, value in self.old.enums.get(name, [])} if self.old else {}
        values = self.numbered(self.shapes[name]["enum"], old)
        rows = "".join(f"    {number} {value if re.fullmatch(r'[A-Za-z0-9_.:/-]+', value) else chr(34) + value + chr(34)}\n"
                       for number, value in values)
        return f"enum {name} {{\n{rows}}}\n"

    def struct(self, name):
        shape = self.shapes[name]
        members = shape.get("members", {})
        required = set(shape.get("required", [])) - MISSED_BY_SERVICE.get(name, set())
        if self.ec2:
            # The names of the responses; requests have the same with a capital in front.
            members = {member.get("locationName", key): member for key, member in members.items()}
            required = set()
        old = {}
        if self.old:
            old = {member["name"]: member["number"] for member in self.old.structs.get(name, [])}
        rows = ""
        for number, member in self.numbered(members, old):
            mark = "!" if member in required else ""
            rows += (f"    {number} {member}{mark}: {self.type_of(members[member]['shape'])}"
                     f"{self.rules(members[member], member)}\n")
        return f"struct {name} {{\n{rows}}}\n"

    def side(self, name, reference):
        """Name of an operation's input or output; an empty struct where the model has none."""
        if reference is None:
            self.shapes.setdefault(name, {"type": "structure"})
            reference = {"shape": name}
        self.type_of(reference["shape"])
        return reference["shape"]

    def error_line(self, name):
        shape = self.shapes[name]
        error = shape.get("error", {})
        status = error.get("httpStatusCode", 500 if shape.get("fault") else 400)
        code = error.get("code")
        says = " says Message" if "Message" in shape.get("members", {}) else ""
        return f"error {name} {status}" + (f' = "{code}"' if code and code != name else "") + says

    def text(self, name, only):
        meta = self.model["metadata"]
        lines = [f"// {meta['serviceFullName']}, API version {meta['apiVersion']}.",
                 "// Names, types and limits as in botocore's model; tools/api_import.py refreshes it.",
                 "", f"service {name} {{", f"    version {meta['apiVersion']}"]
        if meta["protocol"] == "json":
            lines += ["    protocol json 1.1", f"    target {meta['targetPrefix']}"]
        else:
            namespace = meta["xmlNamespace"] + ("/" if self.ec2 else "")
            lines += [f"    protocol {meta['protocol']}", f"    xml_namespace \"{namespace}\""]
        lines += [f"    signing {meta.get('signingName', meta['endpointPrefix'])}", "}", ""]
        operations = {key: value for key, value in self.model["operations"].items()
                      if not only or key in only}
        errors = sorted({error["shape"] for operation in operations.values()
                         for error in operation.get("errors", [])})
        lines += [self.error_line(error) for error in errors]
        if self.ec2 and self.old:  # the model has none
            lines += [f'error {name} {status} = "{code}"'
                      for name, (status, code, *_) in self.old.errors.items()]
        lines += [""]
        for key, operation in operations.items():
            throws = ", ".join(error["shape"] for error in operation.get("errors", []))
            given = self.side(key + "Request", operation.get("input"))
            result = operation.get("output")
            if result is None and self.ec2:
                # The document of an operation without output still says that it was done.
                self.shapes["Done"] = {"type": "structure",
                                       "members": {"return": {"shape": "Boolean"}}}
                result = {"shape": "Done"}
            result = self.side(key + "Response", result)
            lines.append(f"operation {key}({given}) -> {result}"
                         + (f"\n    throws {throws}" if throws else "")
                         + (" readonly" if key not in CHANGES and
                            (operation.get("readonly")
                             or re.match("(Describe|List|Get|Discover)", key)) else ""))
        lines.append("")
        at = 0
        while at < len(self.wanted):
            shape = self.wanted[at]
            lines.append(self.enum(shape) if "enum" in self.shapes[shape] else self.struct(shape))
            at += 1
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("service")
    parser.add_argument("version")
    parser.add_argument("output")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    path = os.path.join(os.path.dirname(botocore.__file__), "data", arguments.service,
                        arguments.version, "service-2.json.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        model = json.load(file)
    old = apic.Module(arguments.output) if os.path.exists(arguments.output) else None
    only = set(filter(None, arguments.only.split(",")))
    text = Importer(model, old).text(arguments.service, only)
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
