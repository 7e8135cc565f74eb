# SPDX-License-Identifier: BSD-3-Clause
"""halfpoll as a service: not root, with only the unit's capabilities, supervised by a service manager; and its log."""

import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import time
import unittest

from lab import KERNEL, NETWORKS, PROGRAM, Lab, run, wait_for
from traffic import ping, wait_ping

LAN, WAN = NETWORKS["lan"], NETWORKS["wan"]
UNIT = pathlib.Path(__file__).parents[2] / "apps/halfpoll/data/halfpoll.service.in"


def setting(key):
    """Returns a value of the unit."""
    return re.search(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE).group(1)


class ServiceLab(Lab):
    """Runs the program as systemd would: as a user with only the unit's capabilities, with a socket to notify."""

    environment = {}

    def spawn(self, config):
        program = self.program_for_all()
        pathlib.Path(config).chmod(0o644)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(self.folder / "notify"))
        (self.folder / "notify").chmod(0o777)
        self.manager.settimeout(20)
        caps = ",".join("+" + c.removeprefix("CAP_").lower() for c in setting("AmbientCapabilities").split())
        assert setting("AmbientCapabilities") == setting("CapabilityBoundingSet")
        self.log = self.folder / "log"
        command = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--no-new-privs",
                   "--groups", setting("SupplementaryGroups"),
                   f"--inh-caps=-all,{caps}", f"--ambient-caps=-all,{caps}", f"--bounding-set=-all,{caps}",
                   program, "run", config]
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(self.folder / "notify"),
                       "RUNTIME_DIRECTORY": str(self.folder), **self.environment}
        with open(self.log, "w", encoding="utf-8") as out:
            self.process = self.router.popen(*command, stdout=out, stderr=out, env=environment)

    def notified(self, what):
        """Waits for a message that contains the line `what`."""
        end = time.monotonic() + 60
        while True:
            self.manager.settimeout(max(0.01, end - time.monotonic()))
            text = self.manager.recv(4096).decode()
            if what in text.splitlines():
                return text

    def stop(self):
        super().stop()
        if hasattr(self, "manager"):
            self.manager.close()


class WatchedLab(ServiceLab):
    environment = {"WATCHDOG_USEC": "400000"}


@unittest.skipIf(KERNEL, "about halfpoll")
class Service(unittest.TestCase):
    def lab_with(self, kind, **options):
        lab = kind(("lan", "wan"), **options)
        self.addCleanup(lab.stop)
        return lab

    def test_runs_with_the_units_capabilities(self):
        lab = self.lab_with(ServiceLab)
        status = pathlib.Path(f"/proc/{lab.process.pid}/status").read_text(encoding="ascii")
        self.assertRegex(status, r"Uid:\s+65534\s+65534")
        self.assertIn("STATUS=forwarding between 2 ports", lab.notified("READY=1"))
        for address in (WAN.host4, WAN.host6):
            ping(lab.client, address)
        self.assertEqual({n["mode"] for n in lab.show("napi")}, {"interrupt"})
        self.assertEqual(run(PROGRAM, "show", "status", "--json", "--control", f"{lab.folder}/control").returncode, 0)
        # The capabilities suffice to close and open ports, and to make and remove shadows.
        config = lab.folder / "halfpoll.toml"
        both = config.read_text(encoding="utf-8")
        config.write_text(both.split("\n[[port]]")[0] + "\n[[port]]" + both.split("\n[[port]]")[1], encoding="utf-8")
        lab.halfpoll("reload")
        self.assertIn("MONOTONIC_USEC=", lab.notified("RELOADING=1"))
        lab.notified("READY=1")
        config.write_text(both, encoding="utf-8")
        lab.halfpoll("reload")
        lab.notified("READY=1")
        lab.nets = [WAN]
        lab.configure()
        wait_ping(lab.client, WAN.host4, 5)
        self.assertEqual(lab.signal(signal.SIGTERM), 0, lab.output())
        lab.notified("STOPPING=1")
        self.assertEqual(sorted(link["ifname"] for link in lab.router.ip_json("link")), ["lo", "p-lan", "p-wan"])

    def test_restarts_after_a_crash(self):
        """The shadows have no owner, so the next process may adopt them."""
        lab = self.lab_with(ServiceLab)
        ping(lab.client, WAN.host4)
        lab.signal(signal.SIGKILL)
        lab.manager.close()
        (lab.folder / "notify").unlink()
        lab.start()
        wait_ping(lab.client, WAN.host4, 5)

    def test_feeds_the_watchdog_and_stops_when_it_hangs(self):
        lab = self.lab_with(WatchedLab)
        for _ in range(5):
            lab.notified("WATCHDOG=1")
        data = next(t for t in pathlib.Path(f"/proc/{lab.process.pid}/task").iterdir()
                    if (t / "comm").read_text(encoding="ascii").startswith("hp/"))
        with Stopped(int(data.name)):  # a data CPU that does not respond
            wait_for("what is under way is heard", lambda: self.quiet(lab), 5)
        lab.notified("WATCHDOG=1")

    @staticmethod
    def quiet(lab):
        """True if no message comes for longer than the watchdog allows."""
        lab.manager.settimeout(1)
        try:
            lab.manager.recv(4096)
            return False
        except socket.timeout:
            return True

    def test_unit_is_well_formed(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze")
        lab = Lab(("lan",), start=False)
        self.addCleanup(lab.stop)
        # A folder of its own, so that only this unit is checked; its user and program need not exist here.
        text = UNIT.read_text(encoding="utf-8").replace("@bindir@/halfpoll", PROGRAM)
        path = lab.folder / "halfpoll.service"
        path.write_text(text.replace("User=halfpoll", "User=daemon").replace("Group=halfpoll", "Group=daemon")
                        .replace("man:halfpoll(8)", "man:ip(8)"), encoding="utf-8")
        done = run("systemd-analyze", "verify", "--man=no", path, check=False)
        self.assertEqual((done.returncode, [line for line in done.stdout.splitlines() if "halfpoll" in line]), (0, []))

    def test_journal_gets_priorities(self):
        """JOURNAL_STREAM names stderr, as when systemd connects stderr to the journal."""
        class JournalLab(ServiceLab):
            def spawn(self, config):
                log = self.folder / "log"
                log.touch()
                log.chmod(0o666)
                stat = log.stat()
                self.environment = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
                super().spawn(config)
        lab = self.lab_with(JournalLab)
        ping(lab.client, WAN.host4)
        lab.host_down(WAN)
        wait_for("the log says it", lambda: "<6>wan: link down" in lab.output(), 5)
        self.assertTrue(all(re.match(r"<[3-7]>", line) for line in lab.output().splitlines()), lab.output())

    def test_log_file_rotates_and_is_limited(self):
        lab = Lab(("lan", "wan"), start=False)
        self.addCleanup(lab.stop)
        log = lab.folder / "halfpoll.log"
        lab.extra_config = f'\n[log]\ntarget = "{log}"\n'
        lab.start()
        def flap():
            lab.host_down(WAN)
            wait_for("down is seen", lambda: lab.interface("wan")["state"] == "no carrier", 3)
            lab.host_up(WAN)
            wait_for("up is seen", lambda: lab.interface("wan")["state"] == "up", 3)
            flaps.append(1)
            return len(re.findall("wan: link", log.read_text(encoding="utf-8"))) < 2 * len(flaps) - 2

        flaps = []
        wait_for("fewer messages than changes: ten in five seconds pass", flap, step=0)
        lab.host_down(LAN)
        wait_for("another port is heard", lambda: "lan: link down" in log.read_text(encoding="utf-8"), 3)
        log.rename(lab.folder / "halfpoll.log.1")
        lab.halfpoll("reload")
        lab.host_up(LAN)
        wait_for("the new file is used", lambda: log.exists() and "lan: link up" in log.read_text(encoding="utf-8"), 3)
        lab.signal(signal.SIGTERM)
        text = (lab.folder / "halfpoll.log.1").read_text(encoding="utf-8") + log.read_text(encoding="utf-8")
        self.assertRegex(text, "left out")
        self.assertEqual(lab.output(), "")


class Stopped:
    """`with`: stops one thread of a process with ptrace; the others run."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid):
        self.tid = tid
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(self, request):
        if self.libc.ptrace(request, self.tid, None, None) < 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")

    def __enter__(self):
        self.ptrace(self.SEIZE)
        self.ptrace(self.INTERRUPT)
        os.waitpid(self.tid, self.WALL)

    def __exit__(self, *_):
        self.ptrace(self.DETACH)
