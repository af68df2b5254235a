"""Requests that are wrong on purpose, made from botocore's model of ECS.

Each generator yields Case tuples. A case is the bytes to send and what an answer may be: `refused`
means that 200 would be a mistake. Nothing here is random but by the dice that is passed in.
"""
import collections
import copy
import datetime
import json
import urllib.parse

import raw

TARGET = raw.TARGETS["ecs"]
JSON_TYPE = "application/x-amz-json-1.1"

# operation: whose model the answer must fit; data: bytes; refused: 200 would be wrong;
# ends: the sender's half of the connection is closed behind the data
Case = collections.namedtuple("Case", "operation data refused ends", defaults=(False, False))


def nested(depth):
    return b'{"a":' * depth + b"1" + b"}" * depth


# ---- bodies -----------------------------------------------------------------------------------

class Values:
    """Values for the shapes of a service: right ones, and random ones that are sometimes wrong."""

    def __init__(self, dice):
        self.dice = dice

    def wrong(self):
        return self.dice.choice([
            None, True, -1, 0, 2**31, 2**63, -2**63 - 1, 1e308, 0.5, "", "x" * 300, "\u0000",
            "\U0001f433" * 40, "../../etc/passwd", "arn:aws:ecs:::", [], {}, [None], [[]],
            {"": ""}, "a" * 100000, "%s%n", "-1", "1 vCPU", "\ud7ff"])

    def scalar(self, shape):
        kind = shape.type_name
        if kind == "string":
            if shape.enum:
                return self.dice.choice(shape.enum)
            return self.dice.choice(["default", "hello", "x", "a-b_c", "256", "512", "awsvpc",
                                     "hello:1", "0" * 32, "a" * 256, "no such thing", "é"])
        if kind in ("integer", "long"):
            return self.dice.choice([0, 1, 2, 10, 80, 256, 512, 70000, -5, 2**31 - 1])
        if kind in ("float", "double"):
            return self.dice.choice([0.0, 1.5, -3.25, 1e30])
        if kind == "boolean":
            return self.dice.choice([True, False])
        return self.dice.choice([0, 1700000000, "x"])

    def random(self, shape, depth=0):
        """Half of the members, one value in eight of another kind."""
        if self.dice.random() < 0.12 or depth > 8:
            return self.wrong()
        kind = shape.type_name
        if kind == "structure":
            return {name: self.random(member, depth + 1) for name, member in shape.members.items()
                    if self.dice.random() < 0.5}
        if kind == "list":
            return [self.random(shape.member, depth + 1) for _ in range(self.dice.randrange(4))]
        if kind == "map":
            return {f"k{i}": self.random(shape.value, depth + 1)
                    for i in range(self.dice.randrange(4))}
        return self.scalar(shape)

    def right(self, shape, depth=0):
        """A value with what is required, of the right kinds all the way down."""
        kind = shape.type_name
        if kind == "structure":
            return {name: self.right(shape.members[name], depth + 1)
                    for name in shape.required_members}
        if kind == "list":
            return [self.right(shape.member, depth + 1)]
        if kind == "map":
            return {"k": self.right(shape.value, depth + 1)}
        return self.scalar(shape)


def places(shape, path=()):
    """Every place within a value of a shape: its path and shape, five levels deep."""
    found, work = [], [(shape, path)]
    while work:
        shape, path = work.pop()
        if path:
            found.append((path, shape))
        if len(path) >= 5:
            continue
        if shape.type_name == "structure":
            work += [(member, path + (name,)) for name, member in shape.members.items()]
        elif shape.type_name == "list":
            work.append((shape.member, path + (0,)))
        elif shape.type_name == "map":
            work.append((shape.value, path + ("k",)))
    return sorted(found, key=lambda place: [str(part) for part in place[0]])


def with_value(plain, path, value):
    """A copy of a value with another one at a place; what is not there on the way is made."""
    changed = copy.deepcopy(plain)
    at = changed
    for part, behind in zip(path, path[1:] + (None,)):
        inner = value if behind is None else [] if behind == 0 else {}
        if isinstance(at, dict):
            if behind is None:
                at[part] = inner
            at = at.setdefault(part, inner)
        else:
            if behind is None or not at:
                at[:] = [inner]
            at = at[0]
    return changed


# What is right where the model does not say it; other operations begin with what they require.
RIGHT = {
    "CreateCluster": {"clusterName": "hostile"},
    "DescribeTasks": {"tasks": ["x"]},
    "PutAccountSetting": {"name": "awsvpcTrunking", "value": "enabled"},
    "PutAccountSettingDefault": {"name": "awsvpcTrunking", "value": "enabled"},
    "PutClusterCapacityProviders": {"cluster": "good", "capacityProviders": [],
                                    "defaultCapacityProviderStrategy": []},
    "RegisterContainerInstance": {"cluster": "good", "totalResources": [
        {"name": name, "type": "INTEGER", "integerValue": 1024} for name in ("CPU", "MEMORY")]},
    "RegisterTaskDefinition": {"family": "hostile", "containerDefinitions": [
        {"name": "a", "image": "a", "memory": 8}]},
    "UpdateCluster": {"cluster": "good"},
    "UpdateClusterSettings": {"cluster": "good", "settings": [
        {"name": "containerInsights", "value": "disabled"}]},
}


WRONG_TYPES = {
    "structure": ["x", 1, [], [{}]], "list": ["x", 1, {}, [[]]], "map": ["x", 1, [], {"k": [[]]}],
    "string": [1, True, [], {}], "integer": ["x", True, [], {}, 1.5], "long": ["x", False, [], {}],
    "boolean": ["true", 1, [], {}], "double": ["x", [], {}], "float": ["x", [], {}],
    "timestamp": [[], {}, True], "blob": [1, [], {}],
}
NUMBERS = [-1, -2**31 - 1, 2**31, -2**63 - 1, 2**63, 2**64, 10**400]
BROKEN_UTF8 = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80",
               b"\\ud800", b"\\udc00\\ud800"]


class Bodies:
    """Signed requests whose bodies are wrong."""

    def __init__(self, model, signer, dice, target=TARGET, names=None):
        self.model, self.signer, self.dice = model, signer, dice
        self.values = Values(dice)
        self.target = target
        self.names = names or list(model.operation_names)

    def case(self, operation, body, **more):
        if not isinstance(body, bytes):
            # What cannot be written as JSON at all is broken_utf8's.
            body = json.dumps(body).encode("utf-8", "surrogatepass")
        headers = {"x-amz-target": self.target + operation, "content-type": JSON_TYPE}
        return Case(operation, raw.compose(self.signer.sign(headers, body), body), **more)

    def shape(self, operation):
        return self.model.operation_model(operation).input_shape

    def right(self, operation):
        """A request with nothing wrong in it, as far as the model tells."""
        return RIGHT.get(operation) or self.values.right(self.shape(operation))

    def some(self, items, count):
        items = list(items)
        return items if len(items) <= count else self.dice.sample(items, count)

    def random_values(self, rounds=30):
        for _ in range(rounds):
            for name in self.names:
                yield self.case(name, self.values.random(self.shape(name)))

    def missing(self):
        for name in self.names:
            right = self.right(name)
            required = self.shape(name).required_members
            for member in required:
                yield self.case(name, {key: value for key, value in right.items()
                                       if key != member}, refused=True)
            yield self.case(name, {}, refused=bool(required))

    def wrong_types(self):
        for name in self.names:
            right = self.right(name)
            for path, shape in self.some(places(self.shape(name)), 12):
                value = self.dice.choice(WRONG_TYPES[shape.type_name])
                yield self.case(name, with_value(right, path, value), refused=True)

    def unknown_enums(self):
        for name in self.names:
            right = self.right(name)
            enums = [place for place in places(self.shape(name)) if getattr(place[1], "enum", None)]
            for path, _ in self.some(enums, 6):
                yield self.case(name, with_value(right, path, "NO_SUCH_VALUE"))

    def numbers(self):
        for name in self.names:
            right = self.right(name)
            found = [place for place in places(self.shape(name))
                     if place[1].type_name in ("integer", "long")]
            for path, _ in self.some(found, 6):
                yield self.case(name, with_value(right, path, self.dice.choice(NUMBERS)))

    def strings(self, name):
        return [place for place in places(self.shape(name)) if place[1].type_name == "string"]

    def large_strings(self):
        """0.9 MB is what a request may just have, 10 MB is more than that."""
        for number, name in enumerate(self.names):
            right = self.right(name)
            for place, (path, _) in enumerate(self.some(self.strings(name), 10)):
                over = place == 0 and number % 6 == 0
                text = "x" * (10 << 20 if over else 900000)
                yield self.case(name, with_value(right, path, text), refused=over)

    def nested(self):
        for name in self.names:
            for body in (nested(10000), b"[" * 10000 + b"]" * 10000, b"[" * 100000,
                         b'{"cluster":' + nested(10000) + b"}"):
                yield self.case(name, body, refused=True)

    def broken_utf8(self):
        for name in self.names:
            right = self.right(name)
            for (path, _), broken in zip(self.some(self.strings(name), 3),
                                         self.some(BROKEN_UTF8, 3)):
                body = json.dumps(with_value(right, path, "BROKEN")).encode()
                yield self.case(name, body.replace(b"BROKEN", b"a" + broken + b"b"), refused=True)

    def truncated(self):
        for name in self.names:
            places_of = self.strings(name) or [(("x",), None)]
            body = json.dumps(with_value(self.right(name), places_of[-1][0], "value")).encode()
            for size in self.some(range(1, len(body)), 5):
                yield self.case(name, body[:size], refused=True)

    def no_documents(self):
        for name in self.names:
            for body in self.some([
                    b"null", b"1", b'"x"', b"{", b"}", b'{"a"', b'{"a":1,}', b'{"a":1}{"b":2}',
                    b"\xff\xfe", b'{"cluster":"a","cluster":"b"}', b"\x00" * 1000, b"<xml/>",
                    b'{"maxResults":' + b"9" * 5000 + b"}", b'{"maxResults":1e999}', b"NaN",
                    b'{"a":Infinity}', b"{'a':1}", b"Action=ListClusters"], 5):
                yield self.case(name, body, refused=True)

    def wrong_lengths(self):
        """A body of another size than Content-Length says: less, and then the end; or more."""
        for name in self.some(self.names, 30):
            good = self.case(name, b"{}").data
            for length in ("3", "100000", "1", "0", "-1", "2x", "99999999999999999999", "0x2", ""):
                yield Case(name, good.replace(b"Content-Length: 2", f"Content-Length: {length}"
                                              .encode()), True, True)
            doubled = good.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 1")
            yield Case(name, doubled, True, True)
            both = good.replace(b"Content-Length: 2",
                                b"Content-Length: 2\r\nTransfer-Encoding: chunked")
            yield Case(name, both, True, True)

    def pipelined_garbage(self):
        """A good request with something behind it that is none."""
        for garbage in (b"\x00" * 500, b"{}" * 100, b"GET\r\n\r\n", b"\r\n\r\nPOST", b"}" * 9000,
                        b"POST / HTTP/1.1\r\n\r\n", b"\xff" * 2000, b"HTTP/1.1 200 OK\r\n\r\n"):
            for name in self.some(self.names, 5):
                yield Case(name, self.case(name, b"{}").data + garbage, False, True)


# ---- signatures -------------------------------------------------------------------------------

def cut_part(name):
    """Leave a part of Authorization out."""
    def change(headers):
        algorithm, _, parts = headers["authorization"].partition(" ")
        kept = [part for part in parts.split(", ") if not part.startswith(name)]
        headers["authorization"] = f"{algorithm} {', '.join(kept)}"
    return change


def replaced(old, new):
    """Something else in Authorization than was signed."""
    def change(headers):
        assert old in headers["authorization"], old
        headers["authorization"] = headers["authorization"].replace(old, new)
    return change


def header(name, value):
    """A header with another value than was signed, or one more."""
    def change(headers):
        headers[name] = value
    return change


def without(name):
    def change(headers):
        del headers[name]
    return change


class Signatures:
    """Requests whose signatures are wrong: every part of them, one after the other."""

    def __init__(self, model, signer):
        self.names = list(model.operation_names)
        self.signer = signer

    def other_signer(self, **changes):
        other = copy.copy(self.signer)
        other.keys = {}
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    def signed(self, name, signer=None, body=b"{}", **when):
        return (signer or self.signer).sign(
            {"x-amz-target": TARGET + name, "content-type": JSON_TYPE}, body, **when)

    def changes(self):
        """What is changed in the headers after signing, by name."""
        region, date = self.signer.region, raw.now().strftime("%Y%m%d")
        return {
            "no authorization": without("authorization"),
            "no date": without("x-amz-date"),
            "no credential": cut_part("Credential"),
            "no signed headers": cut_part("SignedHeaders"),
            "no signature": cut_part("Signature"),
            "an empty authorization": header("authorization", ""),
            "another algorithm": replaced("SHA256", "SHA1"),
            "another scheme": header("authorization", "Basic YTpi"),
            "only the algorithm": header("authorization", "AWS4-HMAC-SHA256"),
            "a long authorization": header("authorization", "AWS4-HMAC-SHA256 " + "=" * 6000),
            "the region moved": replaced(f"/{region}/", "/eu-west-1/"),
            "no such region": replaced(f"/{region}/", "/mars-north-1/"),
            "an empty region": replaced(f"/{region}/", "//"),
            "another service": replaced("/ecs/", "/s3/"),
            "another day": replaced(f"/{date}/", "/20200101/"),
            "no day": replaced(f"/{date}/", "/today/"),
            "another terminator": replaced("aws4_request", "aws3_request"),
            "six elements of scope": replaced("aws4_request", "x/aws4_request"),
            "four elements of scope": replaced("/aws4_request", ""),
            "an unknown key": replaced(self.signer.key_id, "AKIANOSUCHKEY0000000"),
            "no key": replaced(self.signer.key_id + "/", "/"),
            "a long key": replaced(self.signer.key_id, "A" * 5000),
            "host is not signed": replaced("host;", ""),
            "target is not signed": replaced(";x-amz-target", ""),
            "signed headers out of order": replaced("content-type;host", "host;content-type"),
            "signed headers twice": replaced("content-type;host", "content-type;host;host"),
            "a header that is not there": replaced("content-type;host", "content-type;from;host"),
            "an empty signature": replaced("Signature=", "Signature=, X="),
            "a longer signature": replaced("Signature=", "Signature=0"),
            "no hexadecimal": replaced("Signature=", "Signature=" + "z" * 64 + ", X="),
            "a date that is none": header("x-amz-date", "yesterday"),
            "a date of another second": header("x-amz-date", date + "T000000Z"),
            "another target": header("x-amz-target", TARGET + "ExecuteCommand"),
            "another type": header("content-type", "application/json"),
            "another host": header("host", "ecs.us-east-1.amazonaws.com"),
            "one more x-amz": header("x-amz-more", "1"),
            "a session token": header("x-amz-security-token", "x"),
            "another hash": header("x-amz-content-sha256", raw.EMPTY_SHA256),
        }

    def twice(self, name):
        """A header doubled: which of the two counts is how a check is walked around."""
        headers = self.signed(name)
        for again, value in (("authorization", headers["authorization"]),
                             ("authorization", "Basic YTpi"), ("host", headers["host"]),
                             ("x-amz-date", headers["x-amz-date"]),
                             ("x-amz-target", headers["x-amz-target"]),
                             ("x-amz-target", TARGET + "ListClusters"),
                             ("content-type", JSON_TYPE)):
            pairs = list(headers.items())
            yield Case(name, raw.compose(pairs + [(again, value)], b"{}"), True)
            yield Case(name, raw.compose([(again, value)] + pairs, b"{}"), True)

    def of(self, name):
        for change in self.changes().values():
            headers = self.signed(name)
            change(headers)
            yield Case(name, raw.compose(headers, b"{}"), True)
        for signer in (self.other_signer(secret="wrong"), self.other_signer(key_id="AKIAWRONG"),
                       self.other_signer(service="s3"), self.other_signer(region="moon-east-1")):
            yield Case(name, raw.compose(self.signed(name, signer), b"{}"), True)
        for minutes in (-7 * 24 * 60, -6, 6, 24 * 60):
            at = raw.now() + datetime.timedelta(minutes=minutes)
            yield Case(name, raw.compose(self.signed(name, at=at), b"{}"), True)
        good = self.signed(name)
        yield Case(name, raw.compose(good, b"{ }"), True)
        yield Case(name, raw.compose(good, b""), True)
        for target in ("/?a=b", "/?X-Amz-Signature=0", "//", "/x", "/%2e"):
            yield Case(name, raw.compose(good, b"{}", target=target), True)
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            yield Case(name, raw.compose(good, b"{}", method=method), True)
        yield from self.twice(name)

    def all(self):
        for name in self.names:
            yield from self.of(name)


class Presigned:
    """GetCallerIdentity signed in its query, with something wrong."""

    def __init__(self, signer):
        self.signer = copy.copy(signer)
        self.signer.keys, self.signer.service = {}, "sts"

    def query(self, at=None, expires="60", **changes):
        """The query as a list of pairs, signed; a change of None leaves a parameter out."""
        stamp = (at or raw.now()).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/{self.signer.region}/sts/aws4_request"
        parameters = {"Action": "GetCallerIdentity", "Version": "2011-06-15",
                      "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                      "X-Amz-Credential": f"{self.signer.key_id}/{scope}", "X-Amz-Date": stamp,
                      "X-Amz-Expires": expires, "X-Amz-SignedHeaders": "host"}
        text = urllib.parse.urlencode(sorted(parameters.items()), quote_via=urllib.parse.quote,
                                      safe="-_.~")
        parameters["X-Amz-Signature"] = self.signature(text, stamp, scope)
        for name, value in changes.items():
            name = name.replace("_", "-")
            if value is None:
                del parameters[name]
            else:
                parameters[name] = value
        return urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote, safe="-_.~")

    def signature(self, query, stamp, scope):
        canonical = "\n".join(["GET", "/", query, f"host:{self.signer.host}", "", "host",
                               raw.EMPTY_SHA256])
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope,
                          raw.hashlib.sha256(canonical.encode()).hexdigest()])
        return raw.hmac.new(self.signer.signing_key(stamp[:8]), text.encode(),
                            raw.hashlib.sha256).hexdigest()

    def case(self, query, refused=True):
        return Case(None, raw.compose({"host": self.signer.host}, b"", "GET", "/?" + query),
                    refused)

    def good(self):
        return self.case(self.query(), refused=False)

    def all(self):
        ago = [raw.now() - datetime.timedelta(seconds=seconds) for seconds in (62, 3600, 86400 * 8)]
        for at in ago:
            yield self.case(self.query(at=at))
        yield self.case(self.query(at=raw.now() + datetime.timedelta(minutes=6)))
        for expires in ("0", "-1", "604801", "x", "", "1e3", "9" * 30):
            yield self.case(self.query(expires=expires))
        for name in ("X_Amz_Algorithm", "X_Amz_Credential", "X_Amz_Date", "X_Amz_SignedHeaders",
                     "X_Amz_Signature"):
            yield self.case(self.query(**{name: None}))
            yield self.case(self.query(**{name: ""}))
            yield self.case(self.query(**{name: "x" * 2000}))
        for name, value in (("X_Amz_Expires", "604800"), ("Action", "GetSessionToken"),
                            ("Version", "2010-05-08"), ("more", "1"), ("X_Amz_Date", "yesterday"),
                            ("X_Amz_Security_Token", "x")):
            yield self.case(self.query(**{name: value}))
        yield self.case(self.query() + "&X-Amz-Signature=" + "0" * 64)
        yield self.case("X-Amz-Signature=" + "0" * 64 + "&" + self.query())
        yield self.case(self.query() + "&%00=%ff&=&&a")
