# SPDX-License-Identifier: BSD-3-Clause
"""Runs tests of tests/e2e on the kernel of the guest. Their whole lab is in the guest: namespaces, and AF_XDP on veth,
without NICs."""

import os
import pathlib
import shlex
import sys
import sysconfig
import tempfile
import time

from guest import Guest
from image import Image
from lab import PATIENCE

E2E = pathlib.Path(__file__).resolve().parent.parent / "e2e"
MODULES = ("veth", "8021q", "bridge", "vrf")
PROGRAMS = ("/usr/bin/nsenter", "/usr/bin/python3")
NOT_NEEDED = {"dist-packages", "test", "idlelib", "lib2to3", "tkinter", "__pycache__"}  # parts of Python's library
MEMORY_MB = 2048
LOOK_SECONDS = 2


def add_python(image):
    for program in PROGRAMS:
        image.program(program)
    for folder, below, files in os.walk(sysconfig.get_path("stdlib")):
        below[:] = [name for name in below if name not in NOT_NEEDED and not name.startswith("config-")]
        for path in (os.path.join(folder, file) for file in files):
            image.program(path) if path.endswith(".so") else image.own(path)


def add_tests(image, names):
    tests = [E2E / f"test_{name}.py" for name in names]
    for path in (*(p for p in E2E.glob("*.py") if not p.name.startswith("test_")), *tests):
        image.file(f"/e2e/{path.name}", path.read_bytes())


def run(cache, halfpoll, names):
    """Runs main.py in the guest and prints its output as it comes; returns its exit status."""
    def add(image):
        add_python(image)
        add_tests(image, names)
    image = Image(cache, halfpoll, add, MODULES)
    try:
        with tempfile.TemporaryDirectory(prefix=f"hp-nic-{os.getpid()}-") as folder:
            guest = Guest(folder, image, (), options=("-m", str(MEMORY_MB)), patience=PATIENCE)
            try:
                return run_in(guest)
            finally:
                guest.stop()
    finally:
        image.remove()


def run_in(guest):
    guest.modprobe("tun", *MODULES)
    settings = {k: v for k, v in os.environ.items() if k.startswith("HALFPOLL_")}
    settings["HALFPOLL_PROGRAM"] = "/usr/bin/halfpoll"
    environment = " ".join(f"{k}={shlex.quote(v)}" for k, v in settings.items())
    guest.shell(f"({environment} python3 /e2e/main.py >/run/tests 2>&1; echo $? >/run/status) &")
    shown, status = 1, ""
    while not status:
        time.sleep(LOOK_SECONDS)
        status = guest.shell("cat /run/status", check=False).stdout.strip() if ended(guest) else ""
        text = guest.run("tail", "-c", f"+{shown}", "/run/tests").stdout
        shown += len(text.encode())
        sys.stdout.write(text)
        sys.stdout.flush()
    return int(status)


def ended(guest):
    return guest.shell("[ -s /run/status ]", check=False).returncode == 0
