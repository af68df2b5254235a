#!/usr/bin/env python3
"""Builds and tests in stages, counts, and says how to run a failing thing again alone.

Stages that only compute run beside those that mostly wait, and leave the processor to these whenever
they want it. The last line is `N passed, N failed` (and `, N skipped`).
"""
import argparse
import concurrent.futures
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORES = str(min(os.cpu_count() or 2, 8))
PYTEST_FILES = int(CORES) + 1  # at a time
E2E_FILES = PYTEST_FILES + 1  # they wait more than they work
# Files that take longer than their size tells, and so begin before the others, in this order.
LONGEST = """
    test_abuse test_seed test_escape test_bridge test_service_replace test_fields_restart
    test_timeline test_group_hosts test_stamina test_services test_deploy test_endpoints
    test_service_hosts test_exec test_groups test_plan test_service_stages test_reboot
    test_scaling test_hostile test_paging test_service_members test_messages_service_reasons
    test_messages_capacity test_messages_service_events test_messages_deployments
    """.split()


class Result:
    """What a stage found, or all of them did. Of a `behind` one, what it runs yields to others."""

    def __init__(self, behind=False):
        self.behind = behind
        self.passed = 0
        self.failed = []
        self.skipped = []

    def fail(self, what, again):
        self.failed.append((what, again))
        print(f"FAILED {what}\n  again: {again}", flush=True)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def run(self, command, log, env=None, timeout=None):
        return run((STEP_BACK if self.behind else []) + command, log, env, timeout)


# In front of a command that shall run when no other process wants to. It gets a session of its own,
# because the kernel may share the processor out among sessions first. Where it cannot it runs.
STEP_BACK = ["setsid", "--wait", "sh", "-c",
             '{ echo 19 >/proc/$$/autogroup; chrt --idle --pid 0 $$; } >/dev/null 2>&1; exec "$@"',
             "step_back"]
RUNNING = set()


def run(command, log, env=None, timeout=None):
    """Run with output into a log file. @return exit status"""
    with open(log, "w", encoding="utf-8") as file, subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=env) as process:
        RUNNING.add(process)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            file.write(f"\nended after {timeout} s\n")
            return 124
        finally:
            RUNNING.discard(process)


def tail(log, lines=40):
    with open(log, encoding="utf-8", errors="replace") as file:
        print("".join(file.readlines()[-lines:]), flush=True)


def build(result, directory, setup, compiler="gcc"):
    """Configure once, then build. @return whether that went well"""
    env = dict(os.environ, CC=compiler)
    os.makedirs(os.path.join(ROOT, "build-logs"), exist_ok=True)
    log = os.path.join(ROOT, "build-logs", f"{directory}.log")
    if not os.path.exists(os.path.join(ROOT, directory, "build.ninja")):
        if result.run(["meson", "setup", directory, *setup], log, env) != 0:
            tail(log)
            result.fail(f"configure {directory}", f"CC={compiler} meson setup {directory} {' '.join(setup)}")
            return False
    if result.run(["ninja", "-C", directory], log) != 0:
        tail(log)
        result.fail(f"build {directory}", f"ninja -C {directory}")
        return False
    result.passed += 1
    return True


def not_passed(output):
    """What a program of many unit tests printed, less what it printed of those that passed."""
    parts = re.split(r"(?=^\[ RUN      \])", output, flags=re.MULTILINE)
    kept = [part for part in parts[1:] if "\n[       OK ]" not in part]
    return "".join(kept) or output


def meson_test(result, directory, suites, wrap=None, timeout=10):
    """Run suites of meson tests and count them. Time runs out for what hangs, not for what is
    slow."""
    arguments = [part for suite in suites for part in ("--suite", suite)]
    name = "-".join(suites)
    log = os.path.join(ROOT, "build-logs", f"{directory}-{name}.log")
    command = ["meson", "test", "-C", directory, "--no-rebuild", "--num-processes", CORES,
               "--logbase", f"test-{name}", "--timeout-multiplier", str(timeout), *arguments]
    outcome = os.path.join(ROOT, directory, "meson-logs", f"test-{name}.json")
    if os.path.exists(outcome):
        os.remove(outcome)
    status = result.run((wrap or []) + command, log)
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
                print(not_passed(test.get("stdout") or "")[-4000:],
                      (test.get("stderr") or "")[-4000:])
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


def pytest_run(python, base, paths, berth, prefix=("tests/in_namespace",), timeout=1200):
    """Run files in a process, in namespaces of its own. @return command, log, report and status"""
    base = os.path.join(ROOT, "build-logs", base)
    report, log = base + ".xml", base + ".log"
    command = [*prefix, python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "-o", "junit_family=xunit1", f"--junitxml={report}", *paths]
    env = dict(os.environ, BERTH=os.path.join(ROOT, berth), PYTHONDONTWRITEBYTECODE="1")
    if os.path.exists(report):
        os.remove(report)
    return command, log, report, run(command, log, env, timeout=timeout)


def pytest_file(python, name, path, berth):
    return pytest_run(python, f"{name}-{os.path.basename(path)[:-3]}", [path], berth)


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
    # The longest first, so that none is left alone at the end; of most, sizes tell roughly.
    names = [os.path.basename(file)[:-3] for file in files]
    order = {file: LONGEST.index(name) if name in LONGEST else len(LONGEST)
             for file, name in zip(files, names)}
    files.sort(key=lambda file: (order[file], -os.path.getsize(file)))
    with concurrent.futures.ThreadPoolExecutor(files_at_once) as pool:
        begun = [pool.submit(pytest_file, python, name, os.path.relpath(file, ROOT), berth)
                 for file in files]
        try:
            for ended in concurrent.futures.as_completed(begun):
                count_pytest(result, python, berth, *ended.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def count_pytest(result, python, berth, command, log, report, status):
    """Count the cases of a file's report."""
    if status == SKIPPED:
        with open(log, encoding="utf-8", errors="replace") as file:
            result.skipped.append(f"{command[-1]}: {file.read().strip()[-200:]}")
        return
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
            runner = IN_GUEST + " --" if IN_GUEST in command else command[0]
            result.fail(title, f"BERTH={berth} {runner} {python} -m pytest '{title}'")
        elif case.find("skipped") is not None:
            result.skipped.append(f"{title}: {case.find('skipped').get('message')}")
        else:
            result.passed += 1
    if status not in (0, 5) and failures == 0:
        tail(log)
        result.fail(command[-1], " ".join(command))


IN_GUEST = "tests/in_guest"
SKIPPED = 77  # how a program says that it cannot run here
SANITIZE = ["-Db_sanitize=address,undefined", "-Db_lundef=false"]


def stage_gcc(result):
    """GCC build, strict warnings as errors; unit tests"""
    if build(result, "build", []):
        meson_test(result, "build", ["unit"])


def stage_lint(result):
    """style rules, arrows between folders, what the core may call"""
    meson_test(result, "build", ["lint"])
    log = os.path.join(ROOT, "build-logs", "lint.log")
    if result.run(["python3", "tools/check_source.py", "--build", "build"], log) == 0:
        result.passed += 1
    else:
        tail(log)
        result.fail("lint", "python3 tools/check_source.py")


def stage_fuzz(result):
    """corpora of the fuzz targets as ordinary tests"""
    meson_test(result, "build", ["fuzz"])


def stage_node(result):
    """networks, images and the OCI runtime on this host's cgroups"""
    meson_test(result, "build", ["node"], wrap=["tests/in_namespace"])


def stage_sim(result):
    """1,000 simulator seeds, and mutants that must be caught"""
    meson_test(result, "build", ["sim"])


IMAGES = threading.Lock()  # of stages that run beside each other, one makes them


def images(result):
    """The example images, once."""
    with IMAGES:
        return images_there(result)


def images_there(result):
    if not os.path.exists(os.path.join(ROOT, "build/images/.done")):
        log = os.path.join(ROOT, "build-logs", "images.log")
        if result.run(["examples/build-images.sh", "build/images"], log) != 0:
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
    """ASan and UBSan: unit and simulator tests, fuzz corpora"""
    if build(result, "build-asan", SANITIZE):
        meson_test(result, "build-asan", ["unit", "fuzz"], timeout=20)
        meson_test(result, "build-asan", ["sim_run"], timeout=30)


def stage_sanitize_some(result):
    """ASan and UBSan: the API tests that go deepest"""
    if build(result, "build-asan", SANITIZE) and images(result):
        pytest(result, "api-asan", ASAN_API, berth="build-asan/berth")


def stage_sanitize_api(result):
    """ASan and UBSan: all API tests"""
    if build(result, "build-asan", SANITIZE) and images(result):
        pytest(result, "api-asan", ["tests/api"], berth="build-asan/berth")


def guest_pytest(result, name, paths, timeout):
    """Run test files in one guest: most of the time there goes into the start of things."""
    python = python_with("pytest", "boto3")
    if python is None:
        result.fail(name, "apt-get install python3-pytest python3-boto3")
        return
    prefix = [*(STEP_BACK if result.behind else []), IN_GUEST, "--deadline", str(timeout),
              "--keep", os.path.join(ROOT, "build-logs"), "--"]
    count_pytest(result, python, "build/berth",
                 *pytest_run(python, name, paths, "build/berth", prefix, timeout + 60))


def tests_marked(mark):
    """The end-to-end tests' files that use a mark."""
    for file in sorted(glob.glob(os.path.join(ROOT, "tests/e2e/test_*.py"))):
        with open(file, encoding="utf-8") as text:
            if f"@pytest.mark.{mark}\n" in text.read():
                yield os.path.relpath(file, ROOT)


def stage_guest(result):
    """in emulated guests with pure cgroup v2: the runtime, late packets, a choice of members"""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        parts = [pool.submit(meson_test, result, "build", ["guest"])]
        if images(result):
            parts.append(pool.submit(guest_pytest, result, "guest",
                                     ["-m", "guest", *tests_marked("guest")], 3000))
        for part in parts:
            part.result()


# Beside the files that docs/fields.md names: what else binds a container, and what it may harm.
GUEST_FILES = ["tests/e2e/test_abuse.py", "tests/e2e/test_exec.py"]


def stage_guest_members(result):
    """on pure cgroup v2, in an emulated guest: every member's test that looks from a container"""
    with open(os.path.join(ROOT, "docs/fields.md"), encoding="utf-8") as page:
        named = {f"tests/e2e/{name}" for name in re.findall(r"`(test_\w+\.py)::", page.read())}
    files = [file for file in sorted({*named, *GUEST_FILES})
             if os.path.exists(os.path.join(ROOT, file))]
    if images(result):
        guest_pytest(result, "guest-members", files, 7200)


def stage_release(result):
    """release build with link-time optimisation; unit tests"""
    if build(result, "build-release", ["--buildtype=release", "-Db_lto=true"]):
        meson_test(result, "build-release", ["unit"])


def stage_thread(result):
    """TSan over what has threads"""
    if build(result, "build-tsan", ["-Db_sanitize=thread", "-Db_lundef=false"], "clang"):
        meson_test(result, "build-tsan", ["unit"], timeout=50)


def stage_valgrind(result):
    """unit tests under valgrind: uninitialised memory; leaks are the sanitizers'"""
    log = os.path.join(ROOT, "build-logs", "valgrind.log")
    command = ["meson", "test", "-C", "build", "--no-rebuild", "--suite", "unit",
               "--timeout-multiplier", "20", "--wrap",
               "valgrind --quiet --leak-check=no --error-exitcode=99 --trace-children=no"]
    if result.run(command, log) == 0:
        result.passed += 1
    else:
        tail(log)
        result.fail("valgrind", " ".join(command))


def stage_static(result):
    """clang-tidy and cppcheck over src"""
    if not build(result, "build-clang", [], "clang"):  # whose commands clang-tidy reads
        return
    sources = sorted(glob.glob(os.path.join(ROOT, "src/**/*.c"), recursive=True))
    log = os.path.join(ROOT, "build-logs", "cppcheck.log")
    # Left out: compound literals in conditionals, which this version cannot parse, and out-parameters
    # such as `struct err`, which it takes for reads.
    command = ["cppcheck", "--quiet", "--suppress=internalAstError", "--suppress=ctuuninitvar", "--error-exitcode=1", "--inline-suppr",
               "--enable=warning,portability", "--std=c11", "-D_GNU_SOURCE", "-Isrc", "-Ibuild",
               "--suppress=missingIncludeSystem", "--suppress=normalCheckLevelMaxBranches", "src"]
    if result.run(command, log, timeout=1800) == 0:
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
    if result.run(command, log, timeout=3600) == 0:
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
        if result.run(command, log, timeout=3600) == 0:
            result.passed += 1
        else:
            tail(log)
            result.fail(f"fuzz {name}", " ".join(command))


def stage_sim_long(result):
    """10,000 simulator seeds, and 10,000 with services over hours of virtual time each"""
    log = os.path.join(ROOT, "build-logs", "sim-long.log")
    command = ["build/sim/berth-sim", "--seeds", "1..10000"]
    if result.run(command, log, timeout=7200) == 0:
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
        return command, log, result.run(command, log, timeout=36000)

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
            status = result.run(["tests/in_namespace", program], log, timeout=900)
            tail(log)
            if status == 0:
                result.passed += 1
            else:
                result.fail(os.path.basename(program), program)


# In the order of their beginning.
QUICK = ["gcc", "lint", "fuzz", "sanitize", "clang", "sim", "guest", "node", "e2e", "api",
         "sanitize_some"]
LONG = ["guest_members", "sanitize_api", "release", "thread", "valgrind", "static", "fuzz_long", "sim_long",
        "stamina", "bench"]
# These go on beside the stages that follow, one of a lane after the other. A stage that is not named
# here waits for those of its NEEDS.
BESIDE = {"sanitize": "computes", "clang": "computes", "sim": "computes", "guest": "computes",
          "node": "waits"}
NEEDS = {"sanitize_some": ["sanitize"], **{stage: list(BESIDE) for stage in LONG}}
# What these use they build themselves; the others use what the first stage builds.
OWN_BUILDS = {"gcc", "sanitize", "clang", "sanitize_some", "sanitize_api", "release", "thread",
              "fuzz_long"}


def run_stage(stage, title, behind):
    """@return what it found"""
    function = globals()["stage_" + stage]
    print(f"{title} {stage}: {function.__doc__}\n", end="", flush=True)  # whole, beside others
    start = time.monotonic()
    result = Result(behind)
    function(result)
    print(f"      {stage}: {result.passed} passed, {len(result.failed)} failed, "
          f"{len(result.skipped)} skipped in {time.monotonic() - start:.0f} s\n", end="", flush=True)
    return result


def run_stages(stages):
    """Run some stages, and others beside them. @return what they found"""
    whole = Result()
    lanes = {lane: concurrent.futures.ThreadPoolExecutor(1) for lane in set(BESIDE.values())}
    begun = {}
    try:
        for number, stage in enumerate(stages, 1):
            title = f"[{number}/{len(stages)}]"
            if stage in BESIDE:
                lane = BESIDE[stage]
                begun[stage] = lanes[lane].submit(run_stage, stage, title, lane == "computes")
                continue
            for needed in NEEDS.get(stage, ()):
                if needed in begun:
                    begun[needed].result()
            whole.add(run_stage(stage, title, False))
        for ended in begun.values():
            whole.add(ended.result())
    except KeyboardInterrupt:
        for ended in begun.values():
            ended.cancel()
        for process in list(RUNNING):
            process.terminate()
        raise
    return whole


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
    began = time.monotonic()
    result = Result()
    # Stages that are run alone need what they use, too, as it is now.
    if "gcc" in stages or OWN_BUILDS.issuperset(stages) or build(result, "build", []):
        result.add(run_stages(stages))
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
