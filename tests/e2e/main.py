# SPDX-License-Identifier: BSD-3-Clause
"""Runs the end-to-end tests: python3 main.py [--halfpoll PROGRAM] [--json FILE] [NAME...]

NAME: part of a test's name. HALFPOLL_E2E_ROUTER=kernel runs the tests with the kernel as the router, and skips tests
that are only about halfpoll.
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import time
import traceback
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TEST_SECONDS = 400


class Result(unittest.TestResult):
    """Prints one line for each test on the terminal, and collects one object for each test for the JSON file."""

    def __init__(self):
        super().__init__()
        self.all = []

    def note(self, test, outcome, detail=""):
        name = test.id() if hasattr(test, "id") else str(test)
        self.all.append({"name": name, "outcome": outcome, "detail": detail})
        took = time.monotonic() - getattr(self, "began", time.monotonic())
        print(f"{outcome:8} {name} ({took:.1f} s)", *detail.splitlines(), sep="\n    ", flush=True)

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        signal.alarm(TEST_SECONDS)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)
        if not any(t["name"].startswith(test.id()) for t in self.all):
            self.note(test, "failed", "no outcome was reported")

    def addSuccess(self, test):
        self.note(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failed", self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "failed", self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.note(subtest, "failed", "".join(traceback.format_exception(*err)))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)


def select(suite, names):
    """Yields the tests whose names contain one of `names`, and the files that cannot be imported."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from select(item, names)
        elif not names or any(n in item.id() for n in names) or "_FailedTest" in item.id():
            yield item


def too_slow(*_):
    raise TimeoutError(f"not done after {TEST_SECONDS} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--halfpoll", help="the program (default: build/apps/halfpoll/halfpoll)")
    parser.add_argument("--json", help="write the results there")
    args = parser.parse_args()
    if args.halfpoll:
        os.environ["HALFPOLL_PROGRAM"] = args.halfpoll
    signal.signal(signal.SIGALRM, too_slow)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    sys.path.insert(0, str(HERE))
    import lab  # imported after the environment is set
    tests = unittest.TestSuite(select(unittest.defaultTestLoader.discover(str(HERE), "test_*.py"), args.names))
    result = Result()
    try:
        tests.run(result)
    except KeyboardInterrupt:  # unittest takes any other exception for a failure of a test, and goes on
        return 128 + signal.SIGTERM
    finally:
        lab.stop_all()
    left = lab.leftovers()
    if left:
        result.note("cleanup", "failed", f"left behind: {left}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result.all, indent=1), encoding="utf-8")
    counts = [sum(t["outcome"] == o for t in result.all) for o in ("passed", "failed", "skipped")]
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    return 1 if counts[1] or not counts[0] else 0


if __name__ == "__main__":
    sys.exit(main())
