#!/usr/bin/env python3
"""Builds and tests in stages, counts, and says how to run a failing thing again alone.

The last line is `N passed, N failed` (and `, N skipped`).
"""
import argparse
import concurrent.futures
import glob
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORES = str(min(os.cpu_count() or 2, 8))
PYTEST_FILES = int(CORES)  # at a time
E2E_FILES = PYTEST_FILES + 1  # they wait more than they work


class Result:
    """What the stages found."""

    def __init__(self):
        self.passed = 0
        self.failed = []
        self.skipped = []

    def fail(self, what, again):
        self.failed.append((what, again))
        print(f"FAILED {what}\n  again: {again}", flush=True)


def run(command, log, env=None, timeout=None):
    """Run with output into a log file. @return exit status"""
    with open(log, "w", encoding="utf-8") as file:
        try:
            return subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, env=env, timeout=timeout,
                                  check=False).returncode
        except subprocess.TimeoutExpired:
            file.write(f"\nended after {timeout} s\n")
            return 124


def tail(log, lines=40):
    with open(log, encoding="utf-8", errors="replace") as file:
        print("".join(file.readlines()[-lines:]), flush=True)


def build(result, directory, setup, compiler="gcc"):
    """Configure once, then build. @return whether that went well"""
    env = dict(os.environ, CC=compiler)
    os.makedirs(os.path.join(ROOT, "build-logs"), exist_ok=True)
    log = os.path.join(ROOT, "build-logs", f"{directory}.log")
    if not os.path.exists(os.path.join(ROOT, directory, "build.ninja")):
        if run(["meson", "setup", directory, *setup], log, env) != 0:
            tail(log)
            result.fail(f"configure {directory}", f"CC={compiler} meson setup {directory} {' '.join(setup)}")
            return False
    if run(["ninja", "-C", directory], log) != 0:
        tail(log)
        result.fail(f"build {directory}", f"ninja -C {directory}")
        return False
    result.passed += 1
    return True


def meson_test(result, directory, suites, wrap=None, timeout=1):
    """Run suites of meson tests and count them."""
    arguments = [part for suite in suites for part in ("--suite", suite)]
    log = os.path.join(ROOT, "build-logs", f"{directory}-{'-'.join(suites)}.log")
    command = ["meson", "test", "-C", directory, "--no-rebuild", "--num-processes", CORES,
               "--timeout-multiplier", str(timeout), *arguments]
    outcome = os.path.join(ROOT, directory, "meson-logs", "testlog.json")
    if os.path.exists(outcome):
        os.remove(outcome)
    status = run((wrap or []) + command, log)
    if not os.path.exists(outcome):
        tail(log)
        if status != 0:
            result.fail(f"{directory}: {' '.join(suites)}", " ".join(command))
        return
    with open(outcome, encoding="utf-8") as file:
        for line in file:
            test = json.loads(line)
            name = test["name"]
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                result.passed += 1
            elif test["result"] == "SKIP":
                result.skipped.append(f"{directory}: {name}")
            else:
                print((test.get("stdout") or "")[-4000:], (test.get("stderr") or "")[-4000:])
                prefix = " ".join(wrap) + " " if wrap else ""
                result.fail(f"{directory}: {name} ({test['result']})",
                            f"{prefix}meson test -C {directory} -v '{name.split(' / ')[-1]}'")


def python_with(*modules):
    """The first python3 that has the modules: a newer AWS client is preferred to Debian's."""
    for python in ("python3", "/usr/bin/python3"):
        found = shutil.which(python)
        probe = "import " + ",".join(modules)
        if found and subprocess.run([found, "-c", probe], stderr=subprocess.DEVNULL,
                                    check=False).returncode == 0:
            return found
    return None


def pytest_file(python, name, path, berth):
    """Run one file in namespaces of its own. @return its command, log, report and status"""
    base = os.path.join(ROOT, "build-logs", f"{name}-{os.path.basename(path)[:-3]}")
    report, log = base + ".xml", base + ".log"
    command = ["tests/in_namespace", python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "-o", "junit_family=xunit1", f"--junitxml={report}", path]
    env = dict(os.environ, BERTH=os.path.join(ROOT, berth), PYTHONDONTWRITEBYTECODE="1")
    if os.path.exists(report):
        os.remove(report)
    return command, log, report, run(command, log, env, timeout=1200)


def pytest(result, name, paths, berth="build/berth", files_at_once=PYTEST_FILES):
    """Run test files, several at a time, and count."""
    python = python_with("pytest", "boto3")
    if python is None:
        result.fail(name, "apt-get install python3-pytest python3-boto3")
        return
    files = [file for path in paths
             for file in (glob.glob(os.path.join(ROOT, path, "test_*.py"))
                          if os.path.isdir(os.path.join(ROOT, path))
                          else [os.path.join(ROOT, path)])]
    # The longest first, so that none is left alone at the end; sizes tell roughly.
    files.sort(key=os.path.getsize, reverse=True)
    with concurrent.futures.ThreadPoolExecutor(files_at_once) as pool:
        for ended in concurrent.futures.as_completed(
                [pool.submit(pytest_file, python, name, os.path.relpath(file, ROOT), berth)
                 for file in files]):
            count_pytest(result, python, berth, *ended.result())


def count_pytest(result, python, berth, command, log, report, status):
    """Count the cases of a file's report."""
    if not os.path.exists(report):
        tail(log)
        result.fail(command[-1], " ".join(command))
        return
    failures = 0
    for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
        title = f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}"
        # What a test measured or counted: record_property("report", ...).
        for note in case.iterfind("properties/property[@name='report']"):
            print(f"      {case.get('name')}: {note.get('value')}", flush=True)
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is not None:
            failures += 1
            print((problem.text or "")[-3000:])
            result.fail(title, f"BERTH={berth} tests/in_namespace {python} -m pytest '{title}'")
        elif case.find("skipped") is not None:
            result.skipped.append(f"{title}: {case.find('skipped').get('message')}")
        else:
            result.passed += 1
    if status not in (0, 5) and failures == 0:
        tail(log)
        result.fail(command[-1], " ".join(command))


SANITIZE = ["-Db_sanitize=address,undefined", "-Db_lundef=false"]


def stage_gcc(result):
    """GCC build, strict warnings as errors; unit tests"""
    if build(result, "build", []):
        meson_test(result, "build", ["unit"])


def stage_lint(result):
    """style rules, arrows between folders, what the core may call"""
    meson_test(result, "build", ["lint"], timeout=3)
    log = os.path.join(ROOT, "build-logs", "lint.log")
    if run(["python3", "tools/check_source.py", "--build", "build"], log) == 0:
        result.passed += 1
    else:
        tail(log)
        result.fail("lint", "python3 tools/check_source.py")


def stage_fuzz(result):
    """corpora of the fuzz targets as ordinary tests"""
    meson_test(result, "build", ["fuzz"])


def stage_node(result):
    """networks, images and the OCI runtime on this host's cgroups"""
    meson_test(result, "build", ["node"], wrap=["tests/in_namespace"], timeout=3)


def stage_sim(result):
    """1,000 simulator seeds, and mutants that must be caught"""
    meson_test(result, "build", ["sim"], timeout=10)


def images(result):
    """The example images, once."""
    if not os.path.exists(os.path.join(ROOT, "build/images/.done")):
        log = os.path.join(ROOT, "build-logs", "images.log")
        if run(["examples/build-images.sh", "build/images"], log) != 0:
            tail(log)
            result.fail("example images", "examples/build-images.sh build/images")
            return False
        with open(os.path.join(ROOT, "build/images/.done"), "w", encoding="utf-8"):
            pass
    return True


def stage_api(result):
    """a real server and node, driven by boto3 and the AWS CLI"""
    if images(result):
        pytest(result, "api", ["tests/api"])


def stage_e2e(result):
    """the acceptance of the whole: real tasks, several hosts, kill -9"""
    if images(result):
        pytest(result, "e2e", ["tests/e2e"], files_at_once=E2E_FILES)


def stage_stamina(result):
    """200 tasks on a node for 5 minutes: nothing stays, nothing grows"""
    if images(result):
        os.environ.update(BERTH_STAMINA_TASKS="200", BERTH_STAMINA_SECONDS="300")
        pytest(result, "stamina", ["tests/e2e/test_stamina.py"])


def stage_clang(result):
    """Clang build, strict warnings as errors; unit tests"""
    if build(result, "build-clang", [], "clang"):
        meson_test(result, "build-clang", ["unit"])


# What of the API's tests is run with sanitizers in every run; the others are in --full.
ASAN_API = ["tests/api/test_hostile.py", "tests/api/test_ecs.py", "tests/api/test_placement.py",
            "tests/api/test_instances.py", "tests/api/test_definition_members.py"]


def stage_sanitize(result):
    """ASan and UBSan: unit and simulator tests, fuzz corpora, API tests that go deepest"""
    if build(result, "build-asan", SANITIZE):
        meson_test(result, "build-asan", ["unit", "fuzz"], timeout=5)
        meson_test(result, "build-asan", ["sim_run"], timeout=30)
        if images(result):
            pytest(result, "api-asan", ASAN_API, berth="build-asan/berth")


def stage_sanitize_api(result):
    """ASan and UBSan: all API tests"""
    if build(result, "build-asan", SANITIZE) and images(result):
        pytest(result, "api-asan", ["tests/api"], berth="build-asan/berth")


def stage_guest(result):
    """the runtime on pure cgroup v2, in an emulated guest"""
    meson_test(result, "build", ["guest"], timeout=3)


def stage_release(result):
    """release build with link-time optimisation; unit tests"""
    if build(result, "build-release", ["--buildtype=release", "-Db_lto=true"]):
        meson_test(result, "build-release", ["unit"])


def stage_thread(result):
    """TSan over what has threads"""
    if build(result, "build-tsan", ["-Db_sanitize=thread", "-Db_lundef=false"], "clang"):
        meson_test(result, "build-tsan", ["unit"], timeout=5)


def stage_valgrind(result):
    """unit tests under valgrind: uninitialised memory; leaks are the sanitizers'"""
    log = os.path.join(ROOT, "build-logs", "valgrind.log")
    command = ["meson", "test", "-C", "build", "--no-rebuild", "--suite", "unit",
               "--timeout-multiplier", "20", "--wrap",
               "valgrind --quiet --leak-check=no --error-exitcode=99 --trace-children=no"]
    if run(command, log) == 0:
        result.passed += 1
    else:
        tail(log)
        result.fail("valgrind", " ".join(command))


def stage_static(result):
    """clang-tidy and cppcheck over src"""
    sources = sorted(glob.glob(os.path.join(ROOT, "src/**/*.c"), recursive=True))
    log = os.path.join(ROOT, "build-logs", "cppcheck.log")
    # Left out: compound literals in conditionals, which this version cannot parse, and out-parameters
    # such as `struct err`, which it takes for reads.
    command = ["cppcheck", "--quiet", "--suppress=internalAstError", "--suppress=ctuuninitvar", "--error-exitcode=1", "--inline-suppr",
               "--enable=warning,portability", "--std=c11", "-D_GNU_SOURCE", "-Isrc", "-Ibuild",
               "--suppress=missingIncludeSystem", "--suppress=normalCheckLevelMaxBranches", "src"]
    if run(command, log, timeout=1800) == 0:
        result.passed += 1
    else:
        tail(log)
        result.fail("cppcheck", " ".join(command))
    log = os.path.join(ROOT, "build-logs", "clang-tidy.log")
    # Left out: checks that take `return 0 means out_x is set`, texts of size 0, and AUTO locals that
    # are set for their release, for mistakes; they see one file at a time.
    command = ["clang-tidy", "-p", "build-clang", "--quiet", "--warnings-as-errors=*",
               "--checks=-*,bugprone-use-after-move,bugprone-suspicious-*,bugprone-infinite-loop,"
               "-bugprone-suspicious-include,"
               "clang-analyzer-core.DivideZero,clang-analyzer-core.StackAddressEscape,"
               "clang-analyzer-core.VLASize,clang-analyzer-unix.*,clang-analyzer-security.*,"
               "-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling", *sources]
    if run(command, log, timeout=3600) == 0:
        result.passed += 1
    else:
        tail(log)
        result.fail("clang-tidy", " ".join(command[:5]) + " src/...")


def stage_fuzz_long(result):
    """a million executions of each fuzz target"""
    setup = ["-Dfuzz=true", "-Dc_args=-fsanitize=fuzzer-no-link",
             "-Db_sanitize=address,undefined", "-Db_lundef=false"]
    if not build(result, "build-fuzz", setup, "clang"):
        return
    for target in sorted(glob.glob(os.path.join(ROOT, "build-fuzz/tests/fuzz/libfuzz_*"))):
        name = os.path.basename(target).replace("libfuzz_", "")
        if not os.path.isfile(target) or not os.access(target, os.X_OK):
            continue
        found = os.path.join(ROOT, "build-fuzz", "corpus", name)
        os.makedirs(found, exist_ok=True)
        seeds = os.path.join(ROOT, "tests/fuzz/corpus", name)
        log = os.path.join(ROOT, "build-logs", f"fuzz-{name}.log")
        command = [target, "-runs=1000000", "-max_len=4096", "-rss_limit_mb=2048", "-timeout=10",
                   found] + ([seeds] if os.path.isdir(seeds) else [])
        if run(command, log, timeout=3600) == 0:
            result.passed += 1
        else:
            tail(log)
            result.fail(f"fuzz {name}", " ".join(command))


def stage_sim_long(result):
    """10,000 simulator seeds, and 10,000 with services over hours of virtual time each"""
    log = os.path.join(ROOT, "build-logs", "sim-long.log")
    command = ["build/sim/berth-sim", "--seeds", "1..10000"]
    if run(command, log, timeout=7200) == 0:
        result.passed += 1
    else:
        tail(log)
        result.fail("10,000 seeds", " ".join(command))
    # About 0.2 s of a core each: every core takes a part.
    part = -(-10000 // (os.cpu_count() or 1))
    parts = [(first, min(first + part - 1, 10000)) for first in range(1, 10001, part)]

    def run_part(bounds):
        command = ["build/sim/berth-sim", "--hours", "--seeds", f"{bounds[0]}..{bounds[1]}"]
        log = os.path.join(ROOT, "build-logs", f"sim-hours-{bounds[0]}.log")
        return command, log, run(command, log, timeout=36000)

    with concurrent.futures.ThreadPoolExecutor(len(parts)) as pool:
        for command, log, status in pool.map(run_part, parts):
            if status == 0:
                result.passed += 1
            else:
                tail(log)
                result.fail("seeds over hours", " ".join(command))


def stage_bench(result):
    """the benchmarks, each beside its floor or peer"""
    for program in sorted(glob.glob(os.path.join(ROOT, "build/bench/bench_*"))):
        if os.access(program, os.X_OK) and os.path.isfile(program):
            log = os.path.join(ROOT, "build-logs", os.path.basename(program) + ".log")
            status = run(["tests/in_namespace", program], log, timeout=900)
            tail(log)
            if status == 0:
                result.passed += 1
            else:
                result.fail(os.path.basename(program), program)


QUICK = ["gcc", "lint", "fuzz", "node", "sim", "api", "e2e", "clang", "sanitize", "guest"]
LONG = ["sanitize_api", "release", "thread", "valgrind", "static", "fuzz_long", "sim_long",
        "stamina", "bench"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*")
    parser.add_argument("--full", action="store_true", help="the long checks, too")
    parser.add_argument("--list", action="store_true", help="say what the stages are")
    options = parser.parse_args()
    if options.list:
        for stage in QUICK + LONG:
            print(f"{stage:12} {globals()['stage_' + stage].__doc__}")
        return
    os.makedirs(os.path.join(ROOT, "build-logs"), exist_ok=True)
    stages = options.stages or QUICK + (LONG if options.full else [])
    unknown = [stage for stage in stages if stage not in QUICK + LONG]
    if unknown:
        sys.exit(f"no such stage: {', '.join(unknown)}; ./test --list shows them")
    result = Result()
    began = time.monotonic()
    for number, stage in enumerate(stages, 1):
        function = globals()["stage_" + stage]
        print(f"[{number}/{len(stages)}] {stage}: {function.__doc__}", flush=True)
        start = time.monotonic()
        before = (result.passed, len(result.failed), len(result.skipped))
        function(result)
        after = (result.passed, len(result.failed), len(result.skipped))
        passed, failed, skipped = (b - a for a, b in zip(before, after))
        print(f"      {passed} passed, {failed} failed, {skipped} skipped in "
              f"{time.monotonic() - start:.0f} s", flush=True)
    for what in result.skipped:
        print(f"skipped {what}")
    for what, again in result.failed:
        print(f"FAILED {what}\n  again: {again}")
    print(f"took {time.monotonic() - began:.0f} s")
    print(f"{result.passed} passed, {len(result.failed)} failed"
          + (f", {len(result.skipped)} skipped" if result.skipped else ""))
    sys.exit(1 if result.failed else 0)


if __name__ == "__main__":
    main()
