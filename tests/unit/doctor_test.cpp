// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/doctor/doctor.hpp"
#include "apps/halfpoll/doctor/probe.hpp"
#include "fake_host.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <linux/capability.h>
#include <sys/socket.h>

namespace
{

using namespace halfpoll;
using namespace halfpoll::test;
using testing::ElementsAre;
using testing::HasSubstr;

const machine four_cpus{{0, 1, 2, 5}, "/nonexistent"};

/// Every setting that a configuration can contain.
const std::string RUNTIME = "[runtime]\ncpus = [1]\nfifo_priority = 10\nnetns = \"/proc/self/ns/net\"\n";
const std::string AF_XDP_PORT = "[[port]]\ndevice = \"af_xdp:r0\"\nshadow = \"lan0\"\nrx_queues = 2\n";
const std::string PCI_PORT = "[[port]]\ndevice = \"03:00.0\"\nname = \"nic\"\nshadow = \"wan0\"\n";
const std::string ALL = RUNTIME + "hugepages = true\n" + AF_XDP_PORT + PCI_PORT;
const std::string SMALL = RUNTIME + AF_XDP_PORT;

std::vector<finding> look(const std::string &text, const host &on, const probe_scope &scope = {})
{
    return probe_machine(parse_config(text, "r.toml", four_cpus), on, scope);
}

std::vector<std::string> ids(const std::vector<finding> &findings)
{
    std::vector<std::string> names;
    std::ranges::transform(findings, std::back_inserter(names), &finding::id);
    return names;
}

/// A machine that lacks one requirement.
struct lack {
    const char *name;
    std::string id;
    severity level;
    std::function<void(fake_host &)> remove;
    std::string problem; ///< part of the reported problem
    std::string remedy;  ///< part of the reported remedy
    std::string port;
    std::string config = ALL;
};

void PrintTo(const lack &l, std::ostream *out) { *out << l.name; }

class Lack : public testing::TestWithParam<lack>
{
};

TEST(Doctor, APoolThatQueuesCanHoldIsNamedByItsPlaces)
{
    const std::string more =
        AF_XDP_PORT + "[xdp_map.cpus]\ntype = \"cpumap\"\nentries = [{ key = 0, qsize = 16384 }]\n";
    EXPECT_THAT(ids(look(RUNTIME + more, fake_host())), ElementsAre()) << "the default suffices";
    const std::vector<finding> found = look(RUNTIME + "mbufs = 16384\n" + more, fake_host());
    ASSERT_THAT(ids(found), ElementsAre("mbufs"));
    EXPECT_EQ(found[0].level, severity::less);
    EXPECT_EQ(found[0].problem,
              "mbufs is 16384, and 25832 packets can be held at once, so ports may run out of buffers under load and "
              "lose packets (rx rings 2048, tx rings 1024, caches 2048, AF_XDP completion rings 1024, staged for ports "
              "256, hand-over rings 1024, backlogs (netdev_max_backlog) 1000, slow path 1024, cpumap queues (qsize) "
              "16384)");
    EXPECT_EQ(found[0].remedy, "mbufs = 25832 and memory_mb = 256 in [runtime], or shorter queues");
    EXPECT_THAT(look(RUNTIME + "mbufs = 25832\n" + more, fake_host()), testing::IsEmpty());
}

TEST_P(Lack, IsTheOnlyFinding)
{
    fake_host on;
    ASSERT_THAT(ids(look(GetParam().config, on)), ElementsAre()) << "before";
    GetParam().remove(on);
    const std::vector<finding> found = look(GetParam().config, on);
    ASSERT_THAT(ids(found), ElementsAre(GetParam().id));
    EXPECT_EQ(found[0].level, GetParam().level);
    EXPECT_EQ(found[0].port, GetParam().port);
    EXPECT_THAT(found[0].problem, HasSubstr(GetParam().problem));
    EXPECT_THAT(found[0].remedy, HasSubstr(GetParam().remedy));
}

TEST(Doctor, KindsThatAreNotObeyedAreNamed)
{
    const fake_host on;
    const std::vector<finding> found = look(ALL + "[forward]\nobey = [\"nft\", \"xtables\", \"bpf\", \"xfrm\"]\n", on);
    ASSERT_THAT(ids(found), ElementsAre("obey"));
    EXPECT_EQ(found[0].level, severity::advice);
    EXPECT_THAT(found[0].problem, HasSubstr("does not obey rule, ipvs, tc"));
}

std::function<void(fake_host &)> drop(unsigned capability)
{
    return [capability](fake_host &on) { on.dropped.insert(capability); };
}

const std::string SETCAP =
    "setcap cap_net_admin,cap_sys_admin,cap_net_raw,cap_bpf,cap_sys_nice,cap_perfmon,cap_ipc_lock+ep "
    "/usr/bin/halfpoll";
const std::string NIC = "/sys/bus/pci/devices/0000:03:00.0";

INSTANTIATE_TEST_SUITE_P(
    Program, Lack,
    testing::Values(
        lack{"NetAdmin", "cap_net_admin", severity::stops, drop(CAP_NET_ADMIN), "no CAP_NET_ADMIN", SETCAP, ""},
        lack{"SysAdmin", "cap_sys_admin", severity::stops, drop(CAP_SYS_ADMIN), "no CAP_SYS_ADMIN", SETCAP, ""},
        lack{"NetRaw", "cap_net_raw", severity::stops, drop(CAP_NET_RAW), "no CAP_NET_RAW", SETCAP, ""},
        lack{"Bpf", "cap_bpf", severity::stops,
             [](fake_host &on) {
                 on.dropped = {CAP_BPF, CAP_SYS_ADMIN};
             },
             "no CAP_BPF", "setcap cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock+ep", "",
             "[runtime]\ncpus = [1]\n" + AF_XDP_PORT},
        lack{"Perfmon", "cap_perfmon", severity::less,
             [](fake_host &on) {
                 on.dropped = {CAP_PERFMON, CAP_SYS_ADMIN};
                 on.put("/proc/sys/kernel/osrelease", "6.8.0");
             },
             "VLAN tags", "cap_perfmon", "", "[runtime]\ncpus = [1]\n" + AF_XDP_PORT},
        lack{"TunMissing", "tun", severity::stops, [](fake_host &on) { on.tun = ENOENT; }, "No such file",
             "modprobe tun", ""},
        lack{"TunForbidden", "tun", severity::stops, [](fake_host &on) { on.tun = EACCES; }, "Permission denied",
             "chmod 0666 /dev/net/tun", ""},
        lack{"VhostMissing", "vhost_net", severity::stops, [](fake_host &on) { on.vhost = ENOENT; },
             "cannot use /dev/vhost-net (No such file or directory)", "modprobe vhost_net", "",
             RUNTIME + "slow_path_vhost = true\n" + AF_XDP_PORT},
        lack{"VhostForbidden", "vhost_net", severity::stops, [](fake_host &on) { on.vhost = EACCES; },
             "cannot use /dev/vhost-net (Permission denied)", "SupplementaryGroups=kvm", "",
             RUNTIME + "slow_path_vhost = true\n" + AF_XDP_PORT},
        lack{"Netlink", "netlink", severity::stops, [](fake_host &on) { on.sockets[AF_NETLINK] = EAFNOSUPPORT; },
             "no rtnetlink socket", "RestrictAddressFamilies=AF_NETLINK", ""},
        lack{"IoUringSwitchedOff", "io_uring", severity::less,
             [](fake_host &on) {
                 on.uring = EPERM;
                 on.put("/proc/sys/kernel/io_uring_disabled", "2");
             },
             "so every queue spins", "sysctl -w kernel.io_uring_disabled=0", ""},
        lack{"IoUringForbidden", "io_uring", severity::less, [](fake_host &on) { on.uring = EPERM; },
             "Operation not permitted", "seccomp", ""},
        lack{"IoUringTooOld", "io_uring", severity::less, [](fake_host &on) { on.uring = EINVAL; }, "Invalid argument",
             "Linux 6.1", ""},
        lack{"IoUringNoMemory", "io_uring", severity::less, [](fake_host &on) { on.uring = ENOMEM; }, "Cannot allocate",
             "ulimit -l unlimited", ""},
        lack{"Ipv4Forwarding", "ipv4_forwarding", severity::less,
             [](fake_host &on) { on.put("/proc/sys/net/ipv4/ip_forward", "0"); },
             "net.ipv4.ip_forward is 0, so IPv4 packets are not forwarded",
             "nsenter --net=/proc/self/ns/net sysctl -w net.ipv4.ip_forward=1", ""},
        lack{"Ipv6Forwarding", "ipv6_forwarding", severity::less,
             [](fake_host &on) { on.put("/proc/sys/net/ipv6/conf/all/forwarding", "0"); },
             "net.ipv6.conf.all.forwarding is 0", "sysctl -w net.ipv6.conf.all.forwarding=1", ""}),
    [](const auto &each) { return std::string(each.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Limits, Lack,
    testing::Values(lack{"OpenFiles", "open_files", severity::stops, [](fake_host &on) { on.files = 32; },
                         "the limit of open files is 32", "LimitNOFILE=", ""},
                    lack{"AddressSpace", "address_space", severity::stops,
                         [](fake_host &on) { on.addresses_limit = 1 << 30; },
                         "the limit of the address space is 1024 MiB", "ulimit -v unlimited", ""},
                    lack{"ReadOnlyRoot", "control_folder", severity::stops,
                         [](fake_host &on) {
                             on.accesses = {{"/run/halfpoll", ENOENT}, {"/run", EROFS}};
                         },
                         "cannot make the control socket in /run (Read-only file system)", "--tmpfs /run", ""},
                    lack{"ControlFolderOfSomebodyElse", "control_folder", severity::stops,
                         [](fake_host &on) { on.accesses["/run/halfpoll"] = EACCES; },
                         "in /run/halfpoll (Permission denied)", "another path with control = ", ""},
                    lack{"LogFile", "log_file", severity::stops,
                         [](fake_host &on) {
                             on.accesses = {{"/var/log/halfpoll.log", ENOENT}, {"/var/log", EACCES}};
                         },
                         "cannot make the log file in /var/log (Permission denied)", "target = \"...\" in [log]", "",
                         SMALL + "[log]\ntarget = \"/var/log/halfpoll.log\"\n"}),
    [](const auto &each) { return std::string(each.param.name); });

INSTANTIATE_TEST_SUITE_P(
    MemoryAndCpus, Lack,
    testing::Values(
        lack{"Hugepages", "hugepages", severity::less,
             [](fake_host &on) { on.put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "100"); },
             "200 MiB of hugepages are free, memory_mb is 256", "sysctl -w vm.nr_hugepages=540", ""},
        lack{"HugepagesOfTheNode", "hugepages_node", severity::less,
             [](fake_host &on) {
                 on.put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "0");
             },
             "NUMA node 0", "echo 128 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "nic"},
        lack{"Memory", "memory", severity::less,
             [](fake_host &on) { on.put("/proc/meminfo", "MemAvailable: 99999 kB"); }, "97 MiB of memory are available",
             "memory_mb", "", SMALL},
        lack{"TransparentHugepages", "transparent_hugepages", severity::advice,
             [](fake_host &on) { on.put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"); },
             "are off", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled", "", SMALL},
        lack{"MemlockForAfXdp", "memlock", severity::stops,
             [](fake_host &on) {
                 on.memlock = 8 << 20;
                 on.dropped = {CAP_IPC_LOCK};
             },
             "8192 KiB, and the packet buffers need 152 MiB", "ulimit -l unlimited", "", SMALL},
        lack{"MemlockForVfio", "memlock", severity::stops,
             [](fake_host &on) {
                 on.memlock = 255 << 20;
                 on.dropped = {CAP_IPC_LOCK};
             },
             "need 256 MiB", "LimitMEMLOCK=infinity", "", RUNTIME + "hugepages = true\n" + PCI_PORT},
        lack{"FifoWithoutTheCapability", "sched_fifo", severity::less,
             [](fake_host &on) {
                 on.fifo = EPERM;
                 on.dropped = {CAP_SYS_NICE};
             },
             "no SCHED_FIFO", "LimitRTPRIO=99", ""},
        lack{"FifoOfInterruptThreads", "sched_fifo", severity::less, [](fake_host &on) { on.fifo = EPERM; },
             "which irq_priority would need", "leave out irq_priority", "",
             "[runtime]\ncpus = [1]\nexclusion = \"nested\"\nhugepages = true\n" + AF_XDP_PORT + "irq_priority = 50\n"},
        lack{"FifoWithoutTime", "sched_fifo", severity::less, [](fake_host &on) { on.fifo = EPERM; }, "no SCHED_FIFO",
             "cpu.rt_runtime_us", ""},
        lack{"RtThrottling", "rt_throttling", severity::advice,
             [](fake_host &on) { on.put("/proc/sys/kernel/sched_rt_runtime_us", "950000"); }, "950000 us",
             "sysctl -w kernel.sched_rt_runtime_us=-1", ""},
        lack{"FairServer", "rt_throttling", severity::advice,
             [](fake_host &on) { on.put("/proc/sys/kernel/osrelease", "6.12.0"); }, "of CPU 1",
             "echo 0 > /sys/kernel/debug/sched/fair_server/cpu1/runtime", ""},
        lack{"Isolation", "cpu_isolation", severity::advice,
             [](fake_host &on) { on.put("/sys/devices/system/cpu/isolated", ""); }, "CPU 1 is not isolated",
             "isolcpus=1 nohz_full=1", ""},
        lack{"CpuOfAnotherNode", "cpu_node", severity::advice, [](fake_host &on) { on.put(NIC + "/numa_node", "1"); },
             "CPU 1 polls it from another NUMA node than node 1", "among 3-4", "nic"}),
    [](const auto &each) { return std::string(each.param.name); });

INSTANTIATE_TEST_SUITE_P(
    AfXdp, Lack,
    testing::Values(lack{"Kernel", "kernel", severity::stops,
                         [](fake_host &on) { on.put("/proc/sys/kernel/osrelease", "5.9.16"); },
                         "Linux 5.9.16 is too old", "Linux 5.10 or newer", ""},
                    lack{"Sockets", "af_xdp", severity::stops, [](fake_host &on) { on.sockets[AF_XDP] = EAFNOSUPPORT; },
                         "no AF_XDP sockets", "CONFIG_XDP_SOCKETS", ""},
                    lack{"Map", "bpf", severity::stops, [](fake_host &on) { on.map = ENOSYS; },
                         "Function not implemented", "CONFIG_BPF_SYSCALL", ""},
                    lack{"Interface", "interface", severity::stops, [](fake_host &on) { on.link_list.resize(1); },
                         "no interface r0", "link set r0 netns", "r0"},
                    lack{"Queues", "rx_queues", severity::stops, [](fake_host &on) { on.rx_queues = 1; },
                         "r0 has 1 receive queues, rx_queues is 2", "ethtool -L r0 combined 2", "r0"},
                    lack{"AnotherProgram", "xdp_program", severity::stops,
                         [](fake_host &on) { on.link_list[1].xdp = "xdp_filter"; }, "another XDP program (xdp_filter)",
                         "ip link set dev r0 xdp off", "r0"},
                    lack{"NativeXdp", "xdp_native", severity::less, [](fake_host &on) { on.xdp_features = 0; },
                         "has no XDP", "halfpoll bind r0", "r0"},
                    lack{"ZeroCopy", "xdp_zerocopy", severity::advice,
                         [](fake_host &on) { on.xdp_features = XDP_FEATURE_BASIC | XDP_FEATURE_REDIRECT; },
                         "no zero-copy", "halfpoll bind r0", "r0"},
                    lack{"DefaultRoute", "interface_in_use", severity::less,
                         [](fake_host &on) { on.default_routes = {"r0"}; }, "r0 carries the default route",
                         "shadow lan0", "r0"}),
    [](const auto &each) { return std::string(each.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Pci, Lack,
    testing::Values(
        lack{"Device", "pci_device", severity::stops, [](fake_host &on) { on.erase(NIC); },
             "no PCI device 0000:03:00.0", "lspci -D", "nic"},
        lack{"NoDriver", "pci_driver", severity::stops, [](fake_host &on) { on.erase(NIC + "/driver"); },
             "bound to no driver, not to vfio-pci", "halfpoll bind 0000:03:00.0", "nic"},
        lack{"KernelDriver", "pci_driver", severity::stops,
             [](fake_host &on) { on.link(NIC + "/driver", "../../drivers/igb"); }, "bound to igb, not to vfio-pci",
             "halfpoll bind 0000:03:00.0", "nic"},
        lack{"IommuOff", "iommu", severity::stops,
             [](fake_host &on) {
                 on.erase("/sys/kernel/iommu_groups");
                 on.erase(NIC + "/iommu_group");
                 on.put("/sys/firmware/acpi/tables/DMAR", "");
             },
             "no IOMMU is in use", "intel_iommu=on", ""},
        lack{"AmdIommuOff", "iommu", severity::stops,
             [](fake_host &on) {
                 on.erase("/sys/kernel/iommu_groups");
                 on.erase(NIC + "/iommu_group");
                 on.put("/sys/firmware/acpi/tables/IVRS", "");
             },
             "no IOMMU is in use", "amd_iommu=off", ""},
        lack{"NoIommu", "iommu", severity::stops,
             [](fake_host &on) {
                 on.erase("/sys/kernel/iommu_groups");
                 on.erase(NIC + "/iommu_group");
             },
             "no IOMMU is in use", "firmware", ""},
        lack{"NoIommuForTheDevice", "iommu", severity::stops, [](fake_host &on) { on.erase(NIC + "/iommu_group"); },
             "no IOMMU guards this device", "firmware", "nic"},
        lack{"InterruptRemapping", "interrupt_remapping", severity::stops,
             [](fake_host &on) { on.put("/proc/interrupts", "  1:  0  9  IO-APIC   1-edge  i8042"); },
             "does not remap interrupts", "allow_unsafe_interrupts", ""},
        lack{"Group", "iommu_group", severity::stops,
             [](fake_host &on) { on.add_pci("0000:03:00.2", "ixgbe", "ixgbe", "7", "enp3s0f2"); },
             "IOMMU group 7 holds devices of the kernel too: 0000:03:00.2 (ixgbe, enp3s0f2)",
             "halfpoll bind 0000:03:00.2", "nic"},
        lack{"ModuleVfioPci", "vfio_modules", severity::stops,
             [](fake_host &on) { on.erase("/sys/bus/pci/drivers/vfio-pci"); }, "not loaded: vfio-pci",
             "modprobe -a vfio-pci", ""},
        lack{"ModuleType1", "vfio_modules", severity::stops,
             [](fake_host &on) { on.erase("/sys/module/vfio_iommu_type1"); }, "not loaded: vfio_iommu_type1",
             "modprobe -a vfio_iommu_type1", ""},
        lack{"ContainerDevice", "vfio_device", severity::stops, [](fake_host &on) { on.erase("/dev/vfio/vfio"); },
             "cannot open /dev/vfio/vfio (No such file", "modprobe vfio", ""},
        lack{"GroupDeviceForbidden", "vfio_access", severity::stops,
             [](fake_host &on) { on.opens["/dev/vfio/7"] = EACCES; }, "cannot open /dev/vfio/7 (Permission denied)",
             "chown $(id -un) /dev/vfio/7", "nic"},
        lack{"GroupDeviceMissing", "vfio_access", severity::stops, [](fake_host &on) { on.erase("/dev/vfio/7"); },
             "cannot open /dev/vfio/7 (No such file", "--device /dev/vfio/7", "nic"}),
    [](const auto &each) { return std::string(each.param.name); });

TEST(Doctor, PciWithoutHugepagesIsLess)
{
    fake_host on;
    const std::vector<finding> found = look(RUNTIME + PCI_PORT, on);
    ASSERT_THAT(ids(found), ElementsAre("hugepages_off"));
    EXPECT_EQ(found[0].level, severity::less);
    EXPECT_THAT(found[0].remedy, HasSubstr("hugepages = true"));
}

TEST(Doctor, LackOfWhatIsNotAskedForIsNoFinding)
{
    fake_host on;
    on.uring = EPERM;
    on.fifo = EPERM;
    on.dropped = {CAP_SYS_NICE, CAP_SYS_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_IPC_LOCK};
    on.memlock = 0;
    on.put("/proc/sys/kernel/sched_rt_runtime_us", "950000");
    on.put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0");
    on.erase("/sys/kernel/iommu_groups");
    on.erase("/dev/vfio");
    EXPECT_THAT(ids(look("[runtime]\ncpus = [1]\ninterrupts = false\n"
                         "[[port]]\ndevice = \"net_tap0\"\nshadow = \"lan0\"\n",
                         on)),
                ElementsAre());
}

TEST(Doctor, SharedDriverNeedsNoVfio)
{
    fake_host on;
    on.link(NIC + "/driver", "../../drivers/mlx5_core");
    on.erase("/sys/kernel/iommu_groups");
    on.erase("/sys/bus/pci/drivers/vfio-pci");
    on.erase("/dev/vfio");
    EXPECT_THAT(ids(look(RUNTIME + "hugepages = true\n" + PCI_PORT, on)), ElementsAre());
}

TEST(Doctor, InterruptsMayBeUnsafe)
{
    fake_host on;
    on.put("/proc/interrupts", "  1:  0  9  IO-APIC   1-edge  i8042");
    on.put("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y");
    EXPECT_THAT(ids(look(ALL, on)), ElementsAre());
    on.put("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N");
    on.put("/proc/interrupts", " 12:  7  GICv3  27 Level  arch_timer"); // interrupts as on a machine that is not x86
    EXPECT_THAT(ids(look(ALL, on)), ElementsAre());
}

TEST(Doctor, WhatARunningHalfpollHoldsIsNotMissing)
{
    fake_host on;
    on.put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "0");
    on.put("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "0");
    on.opens["/dev/vfio/7"] = EBUSY;
    on.link_list[1].xdp = "halfpoll_xsk";
    EXPECT_THAT(ids(look(ALL, on, {severity::advice, true})), ElementsAre());
}

TEST(Doctor, ScopeLeavesOutWhatIsMilder)
{
    fake_host on;
    on.put("/sys/devices/system/cpu/isolated", "");
    on.default_routes = {"r0"};
    on.rx_queues = 1;
    EXPECT_THAT(ids(look(ALL, on, {severity::stops, false})), ElementsAre("rx_queues"));
    EXPECT_THAT(ids(look(ALL, on, {severity::less, false})), ElementsAre("rx_queues", "interface_in_use"));
    EXPECT_THAT(ids(look(ALL, on)), ElementsAre("cpu_isolation", "rx_queues", "interface_in_use"));
}

TEST(Doctor, WithoutAConfigurationPortsNeverStopIt)
{
    fake_host on;
    EXPECT_THAT(ids(examine("", on)), ElementsAre());
    on.dropped = {CAP_NET_RAW};
    on.erase("/sys/kernel/iommu_groups");
    std::vector<finding> found = examine("", on);
    ASSERT_THAT(ids(found), ElementsAre("cap_net_raw", "iommu"));
    EXPECT_THAT(found[0].problem, HasSubstr("no AF_XDP ports: no CAP_NET_RAW"));
    EXPECT_THAT(found[1].problem, HasSubstr("no PCI ports: no IOMMU"));
    EXPECT_FALSE(stops(found));
    on.tun = ENOENT;
    found = examine("", on);
    EXPECT_TRUE(stops(found));
}

TEST(Doctor, VhostIsNoRequirementUnlessItIsWanted)
{
    fake_host on;
    on.vhost = ENOENT;
    EXPECT_THAT(ids(examine("", on)), ElementsAre());
}

TEST(Doctor, MistakesInTheConfigurationAreFindings)
{
    fake_host on;
    on.tun = ENOENT;
    const std::vector<finding> found = examine("/nonexistent/r.toml", on);
    ASSERT_THAT(ids(found), ElementsAre("config", "tun"));
    EXPECT_THAT(found[0].problem, HasSubstr("/nonexistent/r.toml"));
}

TEST(Doctor, TextIsWorstFirstWithRemedies)
{
    const std::vector<finding> found{{"a", severity::advice, "", "could be", "do a"},
                                     {"b", severity::stops, "lan", "cannot", "do b"},
                                     {"c", severity::less, "", "has not", "do c"}};
    EXPECT_EQ(doctor_text(found), "stops   lan: cannot\n        -> do b\n"
                                  "less    has not\n        -> do c\n"
                                  "advice  could be\n        -> do a\n"
                                  "halfpoll cannot run: 1 stops, 1 less, 1 advice\n");
    EXPECT_EQ(doctor_text({}), "nothing is missing\n");
}

TEST(Doctor, JsonHasEverything)
{
    const nlohmann::json out = doctor_json({{"b", severity::stops, "lan", "cannot", "do b"}});
    EXPECT_EQ(out, nlohmann::json::parse(R"({"stops": true, "findings": [{"id": "b", "severity": "stops", "port": "lan",
                                             "problem": "cannot", "remedy": "do b"}]})"));
    EXPECT_EQ(doctor_json({}), nlohmann::json::parse(R"({"stops": false, "findings": []})"));
}

} // namespace
