#!/usr/bin/env python3
"""Check the rules of the style guide that a compiler does not: `ninja lint` runs this.

Fails on: includes against the arrows between folders, banned functions, prototypes without a
comment, headers that do not compile alone, functions that are neither static nor in a header,
TODO without an issue number, layout other than clang-format's. Advises on: long functions and
files.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Which folders of src a folder may include, besides itself and base. The node's side never sees
# the engine, a service or the store; the engine and the services never see where bytes go.
ARROWS = {
    "base": set(),
    "shape": set(),
    "api": {"shape"},
    "core": {"shape"},
    "acs": {"shape", "api"},
    "store": set(),
    "identity": {"shape", "api", "core"},
    "vpc": {"shape", "api", "core", "identity"},
    "secrets": {"shape", "api", "core", "identity"},
    "ecs": {"shape", "api", "core", "identity", "vpc", "secrets", "acs"},
    "sigv4": set(),
    "client": {"shape", "api", "sigv4"},
    "channel": {"shape", "api"},
    "server": {"shape", "api", "core", "store", "identity", "vpc", "secrets", "ecs", "acs",
               "sigv4", "client", "channel"},
    "journal": {"shape", "api"},
    "task": {"shape", "api"},
    "image": {"shape"},
    "net": {"shape", "api"},
    "runtime": {"shape", "api", "image", "task"},
    "endpoint": {"shape", "api", "runtime"},
    "agent": {"shape", "api", "sigv4", "client", "journal", "runtime", "net", "image", "task",
              "endpoint", "channel"},
    "cli": {"shape", "api", "client", "sigv4", "image", "channel"},
    "bin": None,  # the place where everything is wired together
}
BANNED = re.compile(r"(?<![\w.>])(strcpy|strcat|sprintf|strtok|strncpy|atoi|strtol|gets|rand|system|"
                    r"popen)\s*\(")
BARE_ALLOC = re.compile(r"(?<![\w.>])(malloc|calloc|realloc)\s*\(")
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
FUNCTION = re.compile(r"^(?!static\b|typedef\b|extern\b|#|/|\s|\})([\w][\w \*]*?[ \*])(\w+)\(", re.M)


def files(*endings):
    """Tracked and new C files below src and sim."""
    for top in ("src", "sim"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text):
    """Blank out comments and strings, keeping lines."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)\'', blank, text,
                  flags=re.S)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def check_arrows(path, text):
    folder = path.split("/")[1] if path.startswith("src/") else "sim"
    allowed = ARROWS.get(folder, set()) if folder != "sim" else None
    if allowed is None:
        return
    if folder not in ARROWS:
        yield f"{path}: folder {folder} is not in the table of arrows in tools/check_source.py"
    for match in INCLUDE.finditer(text):
        target = match.group(1).split("/")[0]
        if "/" not in match.group(1):
            yield f"{path}:{line_of(text, match.start())}: include as \"folder/name.h\""
        elif target not in allowed | {"base", folder}:
            yield f"{path}:{line_of(text, match.start())}: {folder} may not include {target}"


def check_words(path, text, code):
    for match in BANNED.finditer(code):
        yield f"{path}:{line_of(code, match.start())}: {match.group(1)} is banned"
    if not path.startswith("src/base/"):
        for match in BARE_ALLOC.finditer(code):
            yield f"{path}:{line_of(code, match.start())}: use base/alloc.h, not {match.group(1)}"
    for match in TODO.finditer(text):
        rest = text[match.start():text.find("\n", match.start())]
        if not re.search(r"#\d+", rest):
            yield f"{path}:{line_of(text, match.start())}: {match.group()} without an issue number"


def check_header(path, text):
    if not text.startswith("#pragma once"):
        yield f"{path}:1: a header starts with #pragma once"
    if "/*" not in text[:400] and "//" not in text[:400]:
        yield f"{path}:1: a header opens with a paragraph on its purpose"
    for match in re.finditer(r"^(?!typedef|static|extern|#|/|\s|\*|\}|UNUSED|AUTO_)[\w][^;{}#]*?\b"
                             r"(\w+)\s*\([^;{}]*\)[^;{}]*;", text, re.M):
        before = text[:match.start()].rstrip()
        if not before.endswith("*/"):
            yield f"{path}:{line_of(text, match.start())}: {match.group(1)} is not documented"


def check_static(path, code, declared):
    for match in FUNCTION.finditer(code):
        name = match.group(2)
        rest = code[match.end():]
        body = re.match(r"[^;{]*\{", rest, re.S)
        if body and name not in declared and name != "main" and not name.isupper():
            yield f"{path}:{line_of(code, match.start())}: {name} is neither static nor in a header"


def advice(path, code):
    if code.count("\n") > 800:
        yield f"{path}: {code.count(chr(10))} lines"
    start = None
    for number, line in enumerate(code.split("\n"), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start > 70:
                yield f"{path}:{start}: a function of {number - start} lines"
            start = None


def compile_header(arguments):
    path, build = arguments
    command = ["cc", "-std=c17", "-D_GNU_SOURCE", "-fsyntax-only", "-x", "c", "-I", "src", "-I", build,
               "-I", "/usr/include/libnl3", path]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    # #pragma once in a main file is what this check is about, so that warning is expected.
    errors = [line for line in result.stderr.splitlines() if "error" in line]
    return [f"{path}: does not compile alone: {errors[0]}"] if result.returncode else []


def check_layout(paths):
    result = subprocess.run(["clang-format", "--dry-run", "--Werror", *paths], cwd=ROOT,
                            capture_output=True, text=True, check=False)
    seen = []
    for line in result.stderr.splitlines():
        match = re.match(r"([^:]+:\d+):\d+: error", line)
        if match:
            seen.append(f"{match.group(1)}: layout; run clang-format -i")
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory with generated headers")
    parser.add_argument("--advice", action="store_true", help="list long functions and files too")
    options = parser.parse_args()
    problems, hints, declared = [], [], set()
    headers = list(files(".h"))
    sources = list(files(".c"))
    for path in headers:
        declared.update(re.findall(r"(\w+)\s*\(", read(path)))
    for path in headers + sources:
        text = read(path)
        code = without_comments(text)
        problems += check_arrows(path, text)
        problems += check_words(path, text, code)
        if path.endswith(".h"):
            problems += check_header(path, text)
        else:
            problems += check_static(path, code, declared)
            hints += advice(path, code)
    problems += check_layout(headers + sources)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for found in pool.map(compile_header, [(path, options.build) for path in headers]):
            problems += found
    if options.advice:
        print("\n".join(["advice: " + hint for hint in hints]))
    print("\n".join(problems) or f"{len(headers) + len(sources)} files keep the rules")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
