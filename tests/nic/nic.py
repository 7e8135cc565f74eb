# SPDX-License-Identifier: BSD-3-Clause
"""Runs the end-to-end tests on emulated NICs, in a virtual machine: see README.md beside this file."""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
DEFAULT_MODELS = ("igb", "virtio", "e1000e", "vmxnet3")
GUEST_TEST_SECONDS = 240
# QEMU 10's TCG sometimes aborts when memory regions change during DMA, as on a stop under load.
QEMU_FAULT = "iotlb_to_section: Assertion"
GUESTS = 6

SHELL_HELP = """\
A line is a command in the guest, or, behind a name and a colon, elsewhere:
  client: COMMAND    server: COMMAND    backup: COMMAND     in the namespace of a host
  qemu: COMMAND [KEY=VALUE...]                              to QEMU's monitor (set_link name=net1 up=false)
  link PORT on|off    unplug PORT    plug PORT              the cable of lan, wan, alt; hot-unplug; return
  start [LINE OF PORT CONFIGURATION]    stop                halfpoll
End of input ends it.
"""


def arguments():
    from nic_lab import MODELS
    parser = argparse.ArgumentParser(prog="tests/nic/run", description=__doc__, epilog="With --shell:\n" + SHELL_HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", choices=[*MODELS, []],
                        help=f"of {', '.join(MODELS)} (default: {' '.join(DEFAULT_MODELS)})")
    parser.add_argument("-k", dest="names", action="append", default=[], metavar="NAME",
                        help="only tests with NAME in their name")
    parser.add_argument("--e2e", action="append", default=[], metavar="NAME",
                        help="instead: tests/e2e/test_NAME.py on the guest's kernel, with its environment HALFPOLL_*")
    parser.add_argument("--halfpoll", metavar="PROGRAM", help="a release build (default: made in build/)")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--cache", metavar="FOLDER", default=str(ROOT / "build-nic"),
                        help="for downloads (default: build-nic/)")
    parser.add_argument("--shell", action="store_true",
                        help="boot the first MODEL with halfpoll and carry out commands")
    return parser.parse_args()


def build():
    """Builds the program in build/, as a release."""
    where = ROOT / "build"
    steps = [["ninja", "-C", str(where), "apps/halfpoll/halfpoll"]]
    if not (where / "build.ninja").exists():
        steps.insert(0, ["meson", "setup", "--buildtype=release", str(where), str(ROOT)])
    for step in steps:
        done = subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(step)}:\n{done.stdout[-4000:]}")
    return where / "apps" / "halfpoll" / "halfpoll"


def run_case(case, names):
    """Returns the outcomes of the case's tests. If QEMU itself has aborted, which says nothing about halfpoll, the
    tests that did not pass are tried again in another guest."""
    import main as e2e
    passed = []
    for guest in range(GUESTS):
        result = e2e.Result()
        done = {t["name"] for t in passed}
        tests = e2e.select(unittest.defaultTestLoader.loadTestsFromTestCase(case), names)
        unittest.TestSuite(t for t in tests if t.id() not in done).run(result)
        if guest == GUESTS - 1 or not any(QEMU_FAULT in t["detail"] for t in result.all):
            return passed + result.all
        print("QEMU has aborted: another guest", flush=True)
        passed += [t for t in result.all if t["outcome"] == "passed"]


def run_tests(models, args, image):
    import lab
    import main as e2e
    import test_machine
    import test_nic
    e2e.TEST_SECONDS = GUEST_TEST_SECONDS
    result = e2e.Result()
    for case in (*test_nic.cases(models, image), *test_machine.cases(models, image)):
        result.all += run_case(case, args.names)
    lab.stop_all()
    if left := lab.leftovers():
        result.note("cleanup", "failed", f"left behind: {left}")
    for model in models:
        if not any(t["name"].startswith(f"nic.{model}.") and t["outcome"] == "passed" for t in result.all):
            result.note(f"nic.{model}", "failed", "nothing was seen to work on this model")
    return result.all


def shell(model, image):
    """Executes the commands of standard input on a router with this model of NIC."""
    import lab
    from nic_lab import NicLab
    router = NicLab(model, image)
    print(f"{router.output()}\n{SHELL_HELP}Files: {router.folder}", flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        print(f"# {line.strip()}", flush=True)
        try:
            print(carry_out(router, words, line), end="", flush=True)
        except (AssertionError, KeyError, subprocess.TimeoutExpired) as e:
            print(f"{type(e).__name__}: {e}", flush=True)
    lab.stop_all()


def carry_out(router, words, line):
    import lab
    where = words[0].rstrip(":")
    if where == "qemu":
        return json.dumps(router.guest.qmp(words[1], **{k: json.loads(v) if v in ("true", "false") else v
                                                        for k, v in (w.split("=", 1) for w in words[2:])})) + "\n"
    if words[0].endswith(":"):
        return router.namespaces[where].run("sh", "-c", line.split(":", 1)[1], check=False).stdout
    if where in ("link", "unplug", "plug"):
        net = lab.NETWORKS[words[1]]
        action = {"unplug": router.unplug, "plug": router.plug_back,
                  "link": router.host_up if words[-1] == "on" else router.host_down}[where]
        action(net)
        return ""
    if where == "start":
        router.port_config = line.split(None, 1)[1] if len(words) > 1 else ""
        router.start()
        router.configure()
        return router.output()
    if where == "stop":
        return f"exit status {router.signal(signal.SIGTERM)}\n{router.output()}"
    done = router.guest.shell(line, check=False)
    return done.stdout + (f"exit status {done.returncode}\n" if done.returncode else "")


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    program = args.halfpoll or build()
    import lab
    import main as e2e
    from image import Image
    signal.signal(signal.SIGALRM, e2e.too_slow)
    lab.PREFIX = f"hp-nic-{os.getpid()}-"
    if args.e2e:
        import guest_kernel
        return guest_kernel.run(pathlib.Path(args.cache), program, args.e2e)
    models = args.models or DEFAULT_MODELS
    image = Image(pathlib.Path(args.cache), program)
    try:
        if args.shell:
            shell(models[0], image)
            return 0
        results = run_tests(models, args, image)
    finally:
        lab.stop_all()
        image.remove()
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1), encoding="utf-8")
    counts = [sum(t["outcome"] == o for t in results) for o in ("passed", "failed", "skipped")]
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    return 1 if counts[1] or not counts[0] else 0


if __name__ == "__main__":
    sys.exit(main())
