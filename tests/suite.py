# SPDX-License-Identifier: BSD-3-Clause
"""Builds halfpoll with each compiler and sanitizer, runs all tests and counts them.

Stages, in this order:
  format     clang-format 14 over all sources (on Debian 12), links of the documentation
  build      gcc (release) and clang (with ThreadSanitizer), warnings as errors; the graph of rooms (tests/rooms.py)
  unit       unit and race-forcing tests, gcc build
  asan       these tests under AddressSanitizer and UndefinedBehaviorSanitizer, and two seconds of each fuzzer
  tsan       these tests under ThreadSanitizer
  models     the protocols of the bottom half, verified with Spin; broken variants must be caught
  installed  the installed library: each public header alone, and the embedding example
  e2e        end to end in network namespaces, with real clients
  conformance  requirements of RFCs on a router, case by case: the kernel, halfpoll on AF_XDP, halfpoll on virtio
  nic        end to end on emulated NICs igb and virtio, in a virtual machine (tests/nic/README.md)
  bench      two short benchmarks; their JSON is checked
  debian13   only by name or with --all: build and unit tests on Debian 13, in a chroot made of its packages; with
             --all also end to end
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build-tests"
PREFIX = OUT / "prefix"
SOURCES = ("runtime", "netio", "forward", "apps", "bench", "tests")
STAGES = ("format", "build", "unit", "asan", "tsan", "models", "installed", "e2e", "conformance", "nic", "bench", "debian13")
GROUPS = {"stress": ("asan", "tsan")}

RELEASE = platform.freedesktop_os_release().get("VERSION_CODENAME")
CLANG = "16" if RELEASE == "bookworm" else "19"  # as in packages.sh
CLANG_ENV = {"CC": f"clang-{CLANG}", "CXX": f"clang++-{CLANG}"}

# Build folder -> environment, meson options and whether it is for tests alone.
BUILDS = {
    # Without precompiled headers: a source has to include what it uses.
    "gcc": ({"CC": "gcc", "CXX": "g++"}, ["--werror", "--buildtype=release", "-Db_pch=false", f"--prefix={PREFIX}",
                                          "--libdir=lib"], False),
    # clang, because gcc 12 compiles sanitized sources three times as slowly. Not optimized, because with the checks of
    # both sanitizers the optimizer takes two thirds of the compiler's time; the line tables are for stack traces.
    "asan": (CLANG_ENV, ["--werror", "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Db_pch=true",
                         "-Doptimization=0", "-Dcpp_args=-gline-tables-only"], True),
    # This build also checks clang's warnings: a separate fourth build would take five minutes more.
    "tsan": (CLANG_ENV, ["--werror", "-Db_sanitize=thread", "-Db_lundef=false", "-Db_pch=true",
                         "-Dcpp_args=-gline-tables-only"], True),
}
# Left out under ThreadSanitizer, and not compiled for it: these tests have no concurrent threads, except virtio_pair,
# which tests DPDK's drivers. Their synchronisation is not instrumented, so that every packet looks like a race.
NOT_FOR_TSAN = ("virtio_pair", "config", "config_diff", "control", "doctor", "ip_text", "pci_bind", "show", "flow_hash",
                "forward_check", "host", "hrtimer", "hybrid_policy", "service", "trace", "rules", "multipath_hash",
                "policy_bpf", "policy_ipvs", "policy_news", "policy_nft", "policy_sysctl", "policy_tc", "policy_xfrm",
                "policy_xtables")
# Build folder -> tests that it leaves out.
LEFT_OUT = {"tsan": NOT_FOR_TSAN}
# In these cases (and in test trace) DPDK's memif driver or its tracing runs beside halfpoll's threads, and
# ThreadSanitizer does not see their locks.
UNINSTRUMENTED_CASES = ("*ToAnotherProcess*", "*WritesAllTracepoints*")
ONE_THREAD_CASES = ("*linear_search*", "*full_table*", "*million_routes*", "*rules_are_followed*", "*five_thousand*",
                    "*thread_that_was_away*", "*cannot_start*", "*sees_the_kernels_routes_gone*")
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=66",
    "LSAN_OPTIONS": "suppressions=" + str(ROOT / "tests" / "lsan.supp"),
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": f"halt_on_error=0:exitcode=66:external_symbolizer_path=/usr/bin/llvm-symbolizer-{CLANG}:suppressions="
                    + str(ROOT / "tests" / "tsan.supp"),
}
# Build folder -> environment of its tests.
TEST_ENV = {
    "asan": SANITIZERS,
    "tsan": {**SANITIZERS, "GTEST_FILTER": "-" + ":".join(ONE_THREAD_CASES + UNINSTRUMENTED_CASES)},
}


def assignments(env):
    """An environment as arguments of env(1)."""
    return [f"{name}={value}" for name, value in env.items()]


class Suite:
    """Runs commands and counts outcomes."""

    def __init__(self, everything):
        self.everything = everything
        self.count = {"passed": 0, "failed": 0, "skipped": 0}
        self.cases = []
        self.broken = {}  # build folder -> True if it cannot be used

    def case(self, outcome, name, detail=""):
        """Counts one test; prints it if it did not pass."""
        self.count[outcome] += 1
        self.cases.append({"name": name, "outcome": outcome, "detail": detail})
        if outcome != "passed":
            print(f"  {outcome}: {name}", *([f"    {line}" for line in detail.splitlines()[-40:]]), sep="\n", flush=True)

    def run(self, log, command, timeout, env=None, cwd=ROOT):
        """Runs a command, with its output in a log file; returns its exit status (None: timeout)."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w", encoding="utf-8") as out:
            print("+", " ".join(map(str, command)), file=out, flush=True)
            process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                print(f"\nkilled: not done after {timeout} s", file=out)
                return None
            finally:
                if process.poll() is None:
                    end(process)

    def check(self, name, log, command, timeout, env=None):
        """Runs one command that counts as one test."""
        ok = self.run(log, command, timeout, env) == 0
        self.case("passed" if ok else "failed", name, "" if ok else tail(log))
        return ok


def end(process):
    """Ends a child and all processes that it started (its process group). SIGTERM comes first: they can clean up."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sig)
            process.wait(20)
            return
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def tail(log, lines=40):
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([t if len(t) < 400 else t[:400] + " …" for t in text[-lines:]] + [f"(all of it: {log.relative_to(ROOT)})"])


def sources():
    return sorted(p for d in SOURCES for p in (ROOT / d).rglob("*") if p.suffix in (".cpp", ".hpp", ".h", ".c"))


def stage_format(suite):
    suite.check("links of the documentation", OUT / "links.log", ["/usr/bin/python3", "tests/links.py"], 60)
    if not shutil.which("clang-format-14"):
        suite.case("skipped", "clang-format", "versions differ in what they want; clang-format 14, of Debian 12, is the judge")
        return
    suite.check(f"clang-format of {len(sources())} files", OUT / "format.log",
                ["clang-format-14", "--dry-run", "--Werror", *sources()], 300)


def introspect(where, what):
    """What meson knows of a build folder."""
    said = subprocess.run(["meson", "introspect", str(where), what], stdout=subprocess.PIPE, check=True)
    return json.loads(said.stdout)


def test_programs(where, without=()):
    """What is built for the tests of a folder, as ninja names it."""
    files = {t["id"]: t["filename"] for t in introspect(where, "--targets")}
    tests = (t for t in introspect(where, "--tests") if t["name"] not in without)
    return sorted({os.path.relpath(file, where) for t in tests for target in t["depends"] for file in files[target]})


def build(suite, folder):
    """Configures and builds once, which counts as one test. False: the programs of this build cannot be used."""
    if folder in suite.broken:
        return not suite.broken[folder]
    env, options, for_tests = BUILDS[folder]
    log, where = OUT / f"build-{folder}.log", OUT / folder
    setup = ["meson", "setup", str(where), *options]
    if (where / "build.ninja").exists():
        setup.insert(2, "--reconfigure")
    ok = suite.run(log, setup, 300, env) == 0
    if ok:
        targets = test_programs(where, LEFT_OUT.get(folder, ())) if for_tests else []
        log = OUT / f"build-{folder}-ninja.log"
        ok = suite.run(log, ["nice", "ninja", "-C", str(where), *targets], 3000) == 0
    suite.case("passed" if ok else "failed", f"build: {folder}", "" if ok else tail(log))
    suite.broken[folder] = not ok
    return ok


def need_build(suite, folder, stage):
    """For stages that use a build: makes it if necessary; counts the stage as failed if it cannot be used."""
    if folder not in suite.broken:
        build(suite, folder)
    if suite.broken[folder]:
        suite.case("failed", f"{stage}: not run, the {folder} build failed")
    return not suite.broken[folder]


def stage_build(suite):
    if build(suite, "gcc"):
        suite.check("the graph of rooms", OUT / "rooms.log", ["/usr/bin/python3", "tests/rooms.py", "--build-dir", OUT / "gcc"], 120)
    if build(suite, "tsan"):
        suite.check("clang's warnings about what no test is made of", OUT / "clang.log",
                    ["/usr/bin/python3", "tests/clang_check.py", OUT / "tsan"], 1800)


def gtest_cases(suite, where, program, ok, log):
    """Counts the cases of one GoogleTest program from the XML that it wrote. A program that failed without naming a
    case (a crash, a timeout) counts as one failure, and so does a program without cases."""
    seen, failed = 0, 0
    try:
        cases = list(xml.parse(where / f"{program}.xml").getroot().iter("testcase"))
    except (FileNotFoundError, xml.ParseError):
        cases = []
    for case in cases:
        if case.get("status") != "run" and case.get("result") != "skipped":
            continue  # disabled
        name = f"{program}: {case.get('classname')}.{case.get('name')}"
        failures = case.findall("failure")
        seen += 1
        if failures:
            failed += 1
            suite.case("failed", name, "\n".join(f.get("message", "") for f in failures))
        elif case.get("result") == "skipped":
            message = case.find("skipped")
            suite.case("skipped", name, "" if message is None else message.get("message", ""))
        else:
            suite.case("passed", name)
    if not seen or (not ok and not failed):
        suite.case("failed", f"{program}: " + ("it ended badly" if not ok else "it has no test"), log)


def meson_tests(suite, folder, multiplier, env=None):
    """Runs the tests that meson knows, three programs at a time: most of them wait, and none judges by time."""
    where = OUT / folder
    for stale in where.glob("*.xml"):
        stale.unlink()
    results = where / "meson-logs" / "testlog.json"
    results.unlink(missing_ok=True)
    # setarch -R: old sanitizer runtimes cannot place their shadow memory if mmap has 32 bits of randomness.
    command = ["setarch", "-R", "meson", "test", "-C", str(where), "--no-rebuild", "--num-processes", "3",
               "--timeout-multiplier", str(multiplier)]
    protocols = {t["name"]: t["protocol"] for t in introspect(where, "--tests")}
    command += sorted(set(protocols) - set(LEFT_OUT.get(folder, ())))
    log = OUT / f"test-{folder}.log"
    suite.run(log, command, 3600, env)
    if not results.exists():
        suite.case("failed", f"{folder}: meson test", tail(log))
        return
    programs = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    if not programs:
        suite.case("failed", f"{folder}: there are no tests")
    for p in programs:
        # meson may name a test "project / name" or "project:suite / name".
        name, ok = p["name"].split(" / ")[-1], p["result"] == "OK"
        output = "\n".join(((p.get("stdout") or "") + (p.get("stderr") or "")).splitlines()[-40:])
        if protocols[name] == "gtest":
            gtest_cases(suite, where, name, ok, f"{p['result']}\n{output}")
        else:
            outcome = "passed" if ok else "skipped" if p["result"] == "SKIP" else "failed"
            suite.case(outcome, name, "" if ok else f"{p['result']}\n{output}")


def stage_unit(suite):
    if need_build(suite, "gcc", "unit"):
        meson_tests(suite, "gcc", 2)


def stage_asan(suite):
    if need_build(suite, "asan", "asan"):
        meson_tests(suite, "asan", 4, TEST_ENV["asan"])


def stage_tsan(suite):
    if need_build(suite, "tsan", "tsan"):
        meson_tests(suite, "tsan", 8, TEST_ENV["tsan"])


def stage_models(suite):
    log, results = OUT / "models.log", OUT / "models.json"
    results.unlink(missing_ok=True)
    count_cases(suite, "models", suite.run(log, ["nice", "tests/models/run", "--json", str(results)], 1800), log, results)


def count_cases(suite, stage, status, log, results):
    """Counts the outcomes that a command, which ended with `status`, wrote as JSON."""
    if not results.exists():
        suite.case("failed", f"{stage}: it did not finish", tail(log))
        return
    cases = json.loads(results.read_text(encoding="utf-8"))
    for c in cases:
        suite.case(c["outcome"], f"{stage}: {c['name']}", c["detail"])
    if not cases or (status != 0 and all(c["outcome"] != "failed" for c in cases)):
        suite.case("failed", f"{stage}: exit status {status}", tail(log))


def stage_installed(suite):
    """Tests what an embedder has: only the installed files."""
    if not need_build(suite, "gcc", "installed"):
        return
    shutil.rmtree(PREFIX, ignore_errors=True)
    if not suite.check("meson install", OUT / "install.log",
                       ["meson", "install", "-C", str(OUT / "gcc"), "--no-rebuild", "--only-changed"], 300):
        return
    env = {"PKG_CONFIG_PATH": str(PREFIX / "lib" / "pkgconfig"), "LD_LIBRARY_PATH": str(PREFIX / "lib")}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "halfpoll"], env={**os.environ, **env}, text=True,
                           capture_output=True, check=False)
    if flags.returncode:
        suite.case("failed", "pkg-config halfpoll", flags.stderr)
        return
    misplaced = list(unlisted_headers(PREFIX / "include"))
    suite.case("failed" if misplaced else "passed", "the API's headers are listed", "\n".join(misplaced))
    compile_ = ["g++", "-std=c++20", "-Wall", "-Wextra", "-Wno-address-of-packed-member"]
    for header in sorted((PREFIX / "include").rglob("*.hpp")):
        name = header.relative_to(PREFIX / "include")
        suite.check(f"header alone: {name}", OUT / "header.log",
                    [*compile_, "-fsyntax-only", "-x", "c++", "-include", str(name), "/dev/null", *flags.stdout.split()], 120)
    dpdk = subprocess.run(["pkg-config", "--cflags", "libdpdk"], text=True, capture_output=True, check=True).stdout.split()
    suite.check("header alone, in C: halfpoll/xdp_program.h", OUT / "header.log",
                ["gcc", "-Wall", "-Wextra", "-fsyntax-only", "-x", "c", f"-I{PREFIX / 'include'}", *dpdk, "-include",
                 "halfpoll/xdp_program.h", "/dev/null"], 120)
    for example in sorted((ROOT / "apps" / "examples").glob("*.cpp")):
        program = OUT / example.stem
        lines = len(example.read_text(encoding="utf-8").splitlines())
        suite.case("passed" if lines < 80 else "failed", f"{example.name} has {lines} lines, fewer than 80 wanted")
        if suite.check(f"compile {example.name} against the installed library", OUT / f"{example.stem}.build.log",
                       [*compile_, "-O2", str(example), "-o", str(program), *flags.stdout.split()], 120):
            suite.check(f"run {example.name}", OUT / f"{example.stem}.log", [str(program)], 60, env)


def unlisted_headers(include):
    """Installed headers that are not where they belong: halfpoll.hpp includes the API, docs/embedding.md lists all."""
    api = (include / "halfpoll" / "halfpoll.hpp").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    for header in sorted(include.rglob("*.h*")):
        name = header.relative_to(include).as_posix()
        if f"`{header.name}`" not in page and f"`<{name}>`" not in page:
            yield f"docs/embedding.md does not list {name}"
        internal = "Not part of the API" in header.read_text(encoding="utf-8")[:200]
        if internal == (f"#include <{name}>" in api or name == "halfpoll/halfpoll.hpp"):
            yield "halfpoll.hpp " + ("includes" if internal else "does not include") + f" {name}"


def python_tests(suite, stage, command, timeout):
    """Runs tests that write their outcomes as JSON. `command` gets the program of the gcc build."""
    if not need_build(suite, "gcc", stage):
        return
    log, results = OUT / f"{stage}.log", OUT / f"{stage}.json"
    results.unlink(missing_ok=True)
    status = suite.run(log, [*command, "--json", str(results), "--halfpoll",
                             str(OUT / "gcc" / "apps" / "halfpoll" / "halfpoll")], timeout)
    count_cases(suite, stage, status, log, results)


def stage_e2e(suite):
    python_tests(suite, "e2e", ["/usr/bin/python3", "tests/e2e/main.py"], 3000)


def stage_conformance(suite):
    python_tests(suite, "conformance", ["/usr/bin/python3", "tests/conformance/main.py", "--quiet"], 2000)


def stage_nic(suite):
    python_tests(suite, "nic", ["tests/nic/run", "igb", "virtio"], 1500)


def stage_bench(suite):
    """Runs benchmarks and checks the form of their JSON; the figures themselves are not judged here."""
    if not need_build(suite, "gcc", "bench"):
        return
    bench(suite, "forward")
    if fifo_permitted():
        bench(suite, "rt-latency")
    else:
        suite.case("skipped", "bench/run rt-latency", "SCHED_FIFO is refused here (CAP_SYS_NICE, cpu.rt_runtime_us)")


def fifo_permitted():
    return subprocess.run(["chrt", "--fifo", "1", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def bench(suite, scenario):
    log, out = OUT / f"bench-{scenario}.log", OUT / f"bench-{scenario}.json"
    out.unlink(missing_ok=True)
    command = ["bench/run", scenario, "--quick", "--json", str(out), "--build-dir", str(OUT / "gcc")]
    if not suite.check(f"bench/run {scenario} --quick", log, command, 900):
        return
    try:
        report = json.loads(out.read_text(encoding="utf-8"))
        assert report["scenario"] == scenario, "scenario"
        assert report["machine"], "machine"
        assert report["results"], "results"
        for r in report["results"]:
            assert set(r) >= {"name", "unit", "median", "min", "max", "n"}, f"keys of {r}"
            assert r["n"] >= 1 and r["min"] <= r["median"] <= r["max"], f"order in {r}"
        suite.case("passed", f"bench JSON of {scenario}")
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as e:
        suite.case("failed", f"bench JSON of {scenario}", repr(e))


def stage_debian13(suite):
    """Runs stages in a chroot, which stays for the next run. Only its packages are downloaded."""
    if RELEASE != "bookworm":
        suite.case("skipped", "debian13", "this machine is one: all stages ran on it")
        return
    folder, log = OUT / "debian13", OUT / "debian13.log"
    results = folder / "build-tests" / "results.json"
    results.unlink(missing_ok=True)
    if not suite.check("debian13: a chroot", OUT / "debian13-packages.log", ["tests/debian13", folder], 1200):
        return
    stages = ["unit", *(["e2e"] if suite.everything else [])]
    status = suite.run(log, ["tests/debian13", folder, "tests/run", *stages, "--json", "build-tests/results.json"], 4000)
    count_cases(suite, "debian13", status, log, results)


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, *GROUPS, []], metavar="STAGE",
                        help="only these (default: all); stress = asan and tsan")
    parser.add_argument("--quick", action="store_true", help="without the sanitizers, the virtual machine and the benchmark")
    parser.add_argument("--all", action="store_true", help="on Debian 13, too")
    parser.add_argument("--json", type=pathlib.Path, help="write each test's outcome there")
    args = parser.parse_args()
    wanted = {s for name in args.stages for s in GROUPS.get(name, (name,))} or set(STAGES)
    if not args.all and not args.stages:
        wanted.remove("debian13")
    if args.quick:
        wanted -= {"asan", "tsan", "nic", "bench", "debian13"}

    OUT.mkdir(exist_ok=True)
    suite = Suite(args.all)
    for stage in STAGES:
        if stage not in wanted:
            continue
        before, start = dict(suite.count), time.monotonic()
        print(f"== {stage}", flush=True)
        try:
            globals()[f"stage_{stage}"](suite)
        except Exception as e:  # a defect of a stage must neither hide the other stages nor stay hidden
            suite.case("failed", f"{stage}: {e!r}")
        done = ", ".join(f"{suite.count[k] - before[k]} {k}" for k in suite.count if suite.count[k] > before[k])
        print(f"   {done or 'nothing run'} ({time.monotonic() - start:.0f} s)", flush=True)

    if args.json:
        args.json.write_text(json.dumps(suite.cases, indent=1), encoding="utf-8")
    count = suite.count
    print(f"{count['passed']} passed, {count['failed']} failed"
          + (f", {count['skipped']} skipped" if count["skipped"] else ""))
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
