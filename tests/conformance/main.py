# SPDX-License-Identifier: BSD-3-Clause
"""Conformance of a router, case by case: tests/conformance/run [kernel|af_xdp|virtio] [CASE...]

CASE: part of a name. Without a router: all three, the kernel first. See README.md.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROUTERS = ("kernel", "af_xdp", "virtio")
SECONDS = 600  # for one router, on a busy machine


class Report:
    def __init__(self, router, quiet):
        self.router, self.quiet, self.all = router, quiet, []

    def note(self, name, outcome, detail="", rfc=""):
        self.all.append({"name": f"{self.router}: {name}", "outcome": outcome, "detail": detail})
        if outcome != "passed" or not self.quiet:
            print(f"{outcome:8} {self.router:6} {name} ({rfc})", *detail.splitlines(), sep="\n    ", flush=True)

    def judge(self, c, wrong):
        differs = c.options.get("linux")
        self.note(c.name, "failed" if wrong else "passed", "\n".join(wrong) or (f"differs: {differs}" if differs else ""), c.rfc)


def chosen(table, names):
    return [row for row in table if not names or any(n in row[0] for n in names)]


def run_cases(network, report, names):
    import engine
    cases = [engine.Case(i, *row, report.router) for i, row in enumerate(chosen(engine.CASES, names), 1)]
    bench = engine.Bench(network)
    try:
        bench.run(cases)
        for c in cases:
            report.judge(c, c.judge())
        run_scenarios(network, report, bench, names)
    finally:
        bench.close()


def run_scenarios(network, report, bench, names):
    import engine
    import scenarios
    for i, (name, rfc, function, options) in enumerate(chosen(scenarios.SCENARIOS, names), 0x8000):
        if report.router not in options.get("only", ROUTERS):
            report.note(name, "skipped", options["why"], rfc)
            continue
        c = engine.Case(i, name, rfc, lambda _: None, options, report.router)
        steps, wrong = function(c, network), []
        try:
            next(steps)
            bench.run([c])
            wrong = c.judge()
        finally:
            try:
                for _ in steps:  # undoes its changes; may raise if the results are wrong
                    pass
            except AssertionError as e:
                wrong = [*wrong, str(e)]
        report.judge(c, wrong)


def test(router, args):
    """Tests one router in this process."""
    sys.path.insert(0, str(HERE))
    import network
    import cases_icmp  # noqa: F401  (registers its cases)
    import cases_ip4  # noqa: F401
    import cases_ip6  # noqa: F401
    import cases_link  # noqa: F401
    import cases_options  # noqa: F401
    import lab
    report = Report(router, args.quiet)
    start = time.monotonic()
    try:
        net = network.Network(router, args.wire)
        try:
            net.resolve()
            run_cases(net, report, args.names)
        except BaseException:
            print(net.output()[-2000:])
            raise
        finally:
            net.stop()
    except Exception:
        report.note("the whole run", "failed", traceback.format_exc())
    finally:
        lab.stop_all()
    if lab.leftovers():
        report.note("cleanup", "failed", f"left behind: {lab.leftovers()}")
    counts = [sum(t["outcome"] == o for t in report.all) for o in ("passed", "failed", "skipped")]
    print(f"{router}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped ({time.monotonic() - start:.1f} s)", flush=True)
    return report.all


def test_in_child(router, args):
    """Tests a router in a process of its own, because modules read the kind of router when they are loaded."""
    out = pathlib.Path(args.json or "/dev/null")
    part = out.with_name(f"{out.name}.{router}") if args.json else None
    command = [sys.executable, __file__, router, *args.names, "--halfpoll", args.halfpoll]
    command += ["--quiet"] if args.quiet else []
    command += ["--json", str(part)] if part else []
    done = subprocess.run(command, check=False)
    if part and part.exists():
        results = json.loads(part.read_text(encoding="utf-8"))
        part.unlink()
        return results, done.returncode
    return [], done.returncode


def too_slow(*_):
    raise TimeoutError(f"not done after {SECONDS} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ROUTER or CASE")
    parser.add_argument("--halfpoll", default="build/apps/halfpoll/halfpoll", help="the program (default: %(default)s)")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--quiet", action="store_true", help="only what did not pass")
    args = parser.parse_intermixed_args()
    args.halfpoll = os.path.abspath(args.halfpoll)
    args.wire = str(pathlib.Path(args.halfpoll).parents[2] / "tests" / "virtio_wire")
    router = args.names.pop(0) if args.names and args.names[0] in ROUTERS else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if router is None:
        results, bad = [], False
        for each in ROUTERS:
            part, status = test_in_child(each, args)
            results += part
            bad |= status != 0
    else:
        os.environ["HALFPOLL_E2E_ROUTER"] = "kernel" if router == "kernel" else "halfpoll"
        os.environ["HALFPOLL_PROGRAM"] = args.halfpoll
        signal.signal(signal.SIGALRM, too_slow)
        signal.alarm(SECONDS)
        results = test(router, args)
        bad = any(t["outcome"] == "failed" for t in results) or not any(t["outcome"] == "passed" for t in results)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
