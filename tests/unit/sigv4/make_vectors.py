#!/usr/bin/env python3
"""Writes vectors.h: signed requests as facts for test_sigv4.c.

    make_vectors.py SUITE > vectors.h

SUITE is the folder `v4` of AWS's published signing test suite. The second half is signed by the
installed botocore, with odd paths and queries that the suite does not have.
"""
import datetime
import os
import sys
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
WHEN = datetime.datetime(2015, 8, 30, 12, 36, 0)


def literal(raw):
    """Bytes as C string literals, one line of the request each."""
    lines = raw.split(b"\n")
    out = []
    for index, line in enumerate(lines):
        text = "".join(
            "\\\\" if byte == 92 else '\\"' if byte == 34 else chr(byte) if 32 <= byte < 127
            else "\\%03o" % byte for byte in line)
        if index + 1 < len(lines):
            text += "\\n"
        if text:
            out.extend('"%s"' % text[at:at + 3000] for at in range(0, len(text), 3000))
    return "\n     ".join(out)


def suite(folder):
    for case in sorted(os.listdir(folder)):
        # These keep dot segments, as S3 does.
        if case.endswith("-unnormalized"):
            continue
        for form in ("header", "query"):
            # A token added to the query after signing: AWS IoT takes that, no service of ours does.
            if case == "post-sts-header-after" and form == "query":
                continue
            with open(os.path.join(folder, case, form + "-signed-request.txt"), "rb") as file:
                raw = file.read()
            # The files end with line breaks that are no part of the body.
            head, _, body = raw.partition(b"\n\n")
            yield f"aws {case} {form}", head + b"\n\n" + body.strip(b"\n")


def raw_request(request):
    url = request.url.split("/", 3)
    path = "/" + (url[3] if len(url) > 3 else "")
    headers = dict(request.headers.items())
    headers.setdefault("Host", url[2])
    lines = [f"{request.method} {path} HTTP/1.1"] + [f"{k}:{v}" for k, v in headers.items()]
    body = request.data or b""
    return "\n".join(lines).encode() + b"\n\n" + (body if isinstance(body, bytes) else body.encode())


def signed_by_botocore():
    json = {"Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.DescribeTasks"}
    body = b'{"tasks":["0123456789abcdef0123456789abcdef"],"x":"\xe1\x88\xb4"}'
    cases = [
        ("plain", "POST", "http://127.0.0.1:4566/", json, body, None, {}),
        ("token", "POST", "http://127.0.0.1:4566/", json, body, "tok/en+with=signs==", {}),
        ("unsigned payload", "POST", "https://127.0.0.1:4566/", json, body, None,
         {"payload_signing_enabled": False}),
        ("odd path", "GET", "http://h/a%20b//c/./d/../e%2Ff/~x/", {}, b"", None, {}),
        ("dots above the root", "GET", "http://h/../../a/.", {}, b"", None, {}),
        ("odd query", "GET", "http://h/?b=2&a=%2f&a=%2F&c&d=&e==x&=y&%7Ef=~&g=a+b&h=%zz", {}, b"",
         None, {}),
        ("query twice", "GET", "http://h/p?x=2&x=10&x=1&X=3&&", {}, b"", None, {}),
        ("blanks in values", "POST", "http://h/", {"X-Odd": "  a   b \t c ", "X-Empty": ""}, b"{}",
         None, {}),
        ("http date", "POST", "http://h/", {"Date": "x"}, b"{}", None, {}),
        ("websocket", "GET", "http://10.0.0.1:4567/acs/ws?agentHash=1&agentVersion=1.0"
         "&clusterArn=default&containerInstanceArn=arn%3Aaws%3Aecs%3Aus-east-1%3A000000000000%3A"
         "container-instance%2Fdefault%2F0123&protocolVersion=2&seqNum=1", {}, b"", None, {}),
    ]
    for name, method, url, headers, data, token, context in cases:
        for form, signer in (("header", botocore.auth.SigV4Auth),
                             ("query", botocore.auth.SigV4QueryAuth)):
            if form == "query" and (context or "Date" in headers):
                continue
            request = AWSRequest(method=method, url=url, headers=dict(headers), data=data)
            request.context.update(context)
            credentials = Credentials(KEY, SECRET, token)
            with mock.patch.object(botocore.auth, "get_current_datetime", lambda: WHEN):
                signer(credentials, "service", "us-east-1").add_auth(request)
            yield f"botocore {name} {form}", raw_request(request)


def main():
    print("// Written by make_vectors.py: requests signed with key", KEY)
    print("// at 2015-08-30T12:36:00Z for us-east-1/service.")
    print("static const struct {\n    const char *name;\n    const char *request;\n"
          "} vectors[] = {")
    for name, raw in list(suite(sys.argv[1])) + list(signed_by_botocore()):
        print(f'    {{"{name}",\n     {literal(raw)}}},')
    print("};")


main()
