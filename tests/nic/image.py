# SPDX-License-Identifier: BSD-3-Clause
"""Makes the guest's kernel and initramfs from Debian's packages and this machine's own files. Nothing is installed;
downloads and unpacked files stay in the build directory."""

import collections
import glob
import os
import pathlib
import re
import stat
import subprocess

from lab import run

HERE = pathlib.Path(__file__).resolve().parent
KERNEL = "linux-image-amd64"
# Their dependencies are added. The kernel's own NIC drivers are for the comparison in bench/.
MODULES = ("vfio-pci", "vfio_iommu_type1", "tun", "igb", "e1000e", "vmxnet3", "virtio_net", "virtio_pci",
           "vhost_net")
# Drivers that the EAL loads by itself, so that ldd does not list them.
PMDS = ("bus_pci", "bus_vdev", "mempool_ring", "net_e1000", "net_virtio", "net_vmxnet3")
PROGRAMS = ("/usr/bin/ip",)
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


class Initramfs:
    """Files by their path in the guest; write() makes a cpio archive (format "newc") of them."""

    def __init__(self):
        self.entries = {}

    def add(self, path, mode, data=b""):
        path = os.path.normpath(path)
        if path not in self.entries and path != "/":
            self.add(os.path.dirname(path), stat.S_IFDIR | 0o755)
            self.entries[path] = (mode, data)

    def file(self, path, data, mode=0o755):
        self.add(path, stat.S_IFREG | mode, data)

    def own(self, path):
        """Adds a file of this machine under its own path, with the symbolic links on that path: a library with two real
        names would be loaded twice."""
        parts, where = collections.deque(pathlib.Path(path).parts[1:]), "/"
        while parts:
            where = os.path.join(where, parts.popleft())
            if os.path.islink(where):
                target = os.readlink(where)
                self.add(where, stat.S_IFLNK | 0o777, target.encode())
                there = os.path.normpath(os.path.join(os.path.dirname(where), target))
                parts.extendleft(reversed(pathlib.Path(there).parts[1:]))
                where = "/"
        self.file(where, pathlib.Path(where).read_bytes(), os.stat(where).st_mode & 0o777)

    def program(self, path, at=None):
        """Adds a program or library with all libraries that it needs. Libraries outside the system's folders go to
        LIBRARIES."""
        if at:
            self.file(at, pathlib.Path(path).read_bytes())
        else:
            self.own(path)
        for name, library in needed(path):
            if library.startswith(("/lib", "/usr/lib")):
                self.own(library)
            else:
                self.file(f"{LIBRARIES}/{name}", pathlib.Path(library).read_bytes())

    def write(self, path):
        with open(path, "wb") as out:
            for number, (name, (mode, data)) in enumerate(self.entries.items(), 1):
                out.write(record(number, name.lstrip("/"), mode, data))
            out.write(record(0, "TRAILER!!!", 0, b""))


def record(number, name, mode, data):
    name = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % f for f in fields) + name
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


def needed(path):
    """Yields (name, path) of the shared libraries of a program."""
    for line in run("ldd", path).stdout.splitlines():
        assert "not found" not in line, f"{path}: {line.strip()}"
        found = re.match(r"\s*(?:(\S+) => )?(/\S+) \(", line)
        if found:
            yield found[1] or os.path.basename(found[2]), found[2]


def download(folder, package):
    """Fetches and unpacks a Debian package under `folder`/root, unless that was done before."""
    done = folder / f"{package}.unpacked"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{package}_*.deb"):
        old.unlink()
    fetch = ("apt-get", "-q", "-o", "Acquire::Retries=3", "download", package)
    if run(*fetch, cwd=folder, timeout=300, check=False).returncode:
        run("apt-get", "-q", "update", timeout=300)
        run(*fetch, cwd=folder, timeout=300)
    for deb in folder.glob(f"{package}_*.deb"):
        run("dpkg", "-x", deb, folder / "root", timeout=300)
        deb.unlink()
    done.touch()


def kernel_package():
    """Returns the package that Debian's meta package for the kernel depends on."""
    def depends():
        return re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", KERNEL, check=False).stdout)
    found = depends()
    if not found:
        run("apt-get", "-q", "update", timeout=300)
        found = depends()
    assert found, f"apt-cache depends {KERNEL}: no kernel package"
    return found[1]


class Image:
    """kernel and initrd: paths for QEMU. `add` adds more to the Initramfs; `modules`: further modules of the kernel."""

    def __init__(self, folder, halfpoll, add=None, modules=()):
        downloads = folder / "downloads"
        kernels = sorted(downloads.glob("linux-image-*.unpacked"))
        package = kernels[-1].stem if kernels else kernel_package()
        download(downloads, package)
        download(downloads, "busybox-static")
        self.root, self.version = downloads / "root", package.removeprefix("linux-image-")
        self.kernel = self.root / "boot" / f"vmlinuz-{self.version}"
        self.initrd = folder / f"initrd.{os.getpid()}"
        self._make(halfpoll, add, (*MODULES, *modules))

    def _make(self, halfpoll, add, modules):
        image = Initramfs()
        image.file("/init", (HERE / "init").read_bytes())
        for link in ("/bin", "/sbin", "/lib", "/lib64"):
            if os.path.islink(link):
                image.add(link, stat.S_IFLNK | 0o777, os.readlink(link).encode())
        busybox = next(p for p in (self.root / "bin/busybox", self.root / "usr/bin/busybox") if p.exists())
        image.file("/usr/bin/busybox", busybox.read_bytes())
        image.program(halfpoll, at="/usr/bin/halfpoll")
        for program in PROGRAMS:
            image.program(program)
        for pmd in PMDS:
            drivers = glob.glob(f"{LIBRARIES}/dpdk/pmds-*/librte_{pmd}.so.*")
            assert drivers, f"DPDK's driver {pmd} is not installed"
            for driver in drivers:
                image.program(driver)
        self._modules(image, modules)
        if add:
            add(image)
        image.write(self.initrd)

    def _modules(self, image, modules):
        """Adds some of the kernel's modules, and the table that modprobe reads."""
        where = self.root / "lib" / "modules" / self.version
        if not (where / "modules.dep").exists():
            run("depmod", "-b", self.root, self.version, timeout=120)
        table = dict(line.split(":", 1) for line in (where / "modules.dep").read_text(encoding="ascii").splitlines())
        by_name = {pathlib.Path(path).stem.replace("-", "_"): path for path in table}
        wanted = {}
        for name in modules:
            path = by_name.get(name.replace("-", "_"))
            if path:  # else it is built in
                for p in (path, *table[path].split()):
                    wanted[p] = table[p]
        for path in wanted:
            image.file(f"/usr/lib/modules/{self.version}/{path}", (where / path).read_bytes(), 0o644)
        lines = "".join(f"{path}:{needs}\n" for path, needs in wanted.items())
        image.file(f"/usr/lib/modules/{self.version}/modules.dep", lines.encode(), 0o644)

    def remove(self):
        self.initrd.unlink(missing_ok=True)
