"""Checks every response of a client against botocore's own model of the service.

botocore parses leniently: it drops members that it does not know and takes what it finds. So this
looks at the bytes before they are parsed: no unknown member, no null, the right JSON types, values
of enums, required members. Only answers of the JSON protocol are looked at.
"""
import base64
import json
import math

import botocore

# Berth's API is that of this botocore: an older one does not know its newest members and values.
NEWEST = tuple(int(part) for part in botocore.__version__.split(".")[:2]) >= (1, 43)


class ModelError(AssertionError):
    """A response that is not what the model says."""


def check_number(shape, value, where):
    kinds = {"integer": (-2**31, 2**31 - 1), "long": (-2**63, 2**63 - 1)}
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ModelError(f"{where}: {value!r} is no number")
    if shape.type_name in kinds:
        low, high = kinds[shape.type_name]
        if not isinstance(value, int) or not low <= value <= high:
            raise ModelError(f"{where}: {value!r} is no {shape.type_name}")
    elif not math.isfinite(value):
        raise ModelError(f"{where}: {value!r} is not finite")


def check_structure(shape, value, where):
    if not isinstance(value, dict):
        raise ModelError(f"{where}: {value!r} is no structure")
    names = {member.serialization.get("name", name): (name, member)
             for name, member in shape.members.items()}
    for name, item in value.items():
        if name in names:
            yield names[name][1], item, f"{where}.{name}"
        elif NEWEST:
            raise ModelError(f"{where}: {shape.name} has no member {name}")
    for name in shape.required_members:
        if shape.members[name].serialization.get("name", name) not in value:
            raise ModelError(f"{where}: {name}, which is required, is missing")


def check_string(shape, value, where):
    if not isinstance(value, str):
        raise ModelError(f"{where}: {value!r} is no string")
    enum = getattr(shape, "enum", None)
    if enum and value not in enum and NEWEST:
        raise ModelError(f"{where}: {value!r} is none of {enum}")


def check_scalar(shape, value, where):
    kind = shape.type_name
    if kind in ("string", "character"):
        check_string(shape, value, where)
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise ModelError(f"{where}: {value!r} is no boolean")
    elif kind in ("integer", "long", "float", "double", "timestamp"):
        check_number(shape, value, where)
    elif kind == "blob":
        check_string(shape, value, where)
        base64.b64decode(value, validate=True)
    else:
        raise ModelError(f"{where}: the check does not know the type {kind}")


def check(shape, value, where):
    """Raise ModelError when a decoded value is not of a shape."""
    work = [(shape, value, where)]
    while work:
        shape, value, where = work.pop()
        if value is None:
            raise ModelError(f"{where}: null")
        if getattr(shape, "is_document_type", False):
            continue  # any JSON
        if shape.type_name == "structure":
            work += check_structure(shape, value, where)
        elif shape.type_name == "list":
            if not isinstance(value, list):
                raise ModelError(f"{where}: {value!r} is no list")
            work += [(shape.member, item, f"{where}[{n}]") for n, item in enumerate(value)]
        elif shape.type_name == "map":
            if not isinstance(value, dict):
                raise ModelError(f"{where}: {value!r} is no map")
            for key, item in value.items():
                check_scalar(shape.key, key, where)
                work.append((shape.value, item, f"{where}[{key!r}]"))
        else:
            check_scalar(shape, value, where)


def check_error(operation, body, where):
    """An error names its kind; what the operation declares is checked against its shape."""
    kind = body.get("__type")
    if not isinstance(kind, str) or not kind:
        raise ModelError(f"{where}: an error without __type: {body!r}")
    name = kind.rsplit("#", 1)[-1]
    for shape in operation.error_shapes:
        # Some models forget that an error says anything; clients show its message all the same.
        if shape.name == name and shape.members:
            members = {member: item for member, item in body.items() if member != "__type"}
            check(shape, members, f"{where}: {name}")


def check_response(operation, status, content):
    """Check one answer: the model of its operation, HTTP status, the bytes of its body."""
    where = f"{operation.name}, {status}"
    try:
        body = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ModelError(f"{where}: no JSON: {content[:200]!r}") from error
    if status >= 300:
        check_error(operation, body, where)
    elif operation.output_shape is None:
        if body not in ({}, None):
            raise ModelError(f"{where}: a body where none is: {body!r}")
    else:
        check(operation.output_shape, body, where)


def install(client):
    """Have every response of a client checked from now on."""
    if client.meta.service_model.metadata["protocol"] != "json":
        return client

    def before_parse(operation_model, response_dict, **_):
        check_response(operation_model, response_dict["status_code"], response_dict["body"])

    client.meta.events.register("before-parse", before_parse)
    return client
