// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/nic/bind_record.hpp"
#include "apps/halfpoll/nic/link_use.hpp"
#include "apps/halfpoll/nic/pci_bind.hpp"
#include "apps/halfpoll/nic/ssh_session.hpp"
#include "fake_host.hpp"
#include "refusal.hpp"

#include <halfpoll/error.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace
{

using namespace halfpoll;
using namespace halfpoll::test;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string FIRST = "0000:03:00.0";  // bound to vfio-pci
const std::string SECOND = "0000:03:00.1"; // bound to igb, interface enp3s0f1
const std::string DEVICES = "/sys/bus/pci/devices/";

struct said {
    std::vector<std::string> lines;
    tell_fn tell()
    {
        return [this](const std::string &line) { lines.push_back(line); };
    }
};

std::vector<std::string> bind(fake_host &on, const std::vector<std::string> &names, bool force = false)
{
    said s;
    pci_bind(on, names, force, s.tell());
    return s.lines;
}

std::vector<std::string> unbind(fake_host &on, const std::vector<std::string> &names, bool force = false)
{
    said s;
    pci_unbind(on, names, force, s.tell());
    return s.lines;
}

TEST(PciBind, TakesTheDeviceAndUnbindGivesItBack)
{
    fake_host on;
    EXPECT_THAT(bind(on, {SECOND}),
                ElementsAre("0000:03:00.1: igb -> vfio-pci; enp3s0f1 returns with `halfpoll unbind 0000:03:00.1`"));
    EXPECT_EQ(on.driver_of(SECOND), "vfio-pci");
    EXPECT_THAT(on.log, ElementsAre(DEVICES + SECOND + "/driver_override <- vfio-pci",
                                    DEVICES + SECOND + "/driver/unbind <- " + SECOND,
                                    "/sys/bus/pci/drivers_probe <- " + SECOND));
    on.log.clear();
    EXPECT_THAT(unbind(on, {SECOND}), ElementsAre("0000:03:00.1: vfio-pci -> (igb, enp3s0f1)"));
    EXPECT_EQ(on.driver_of(SECOND), "igb");
    EXPECT_THAT(on.log, ElementsAre(DEVICES + SECOND + "/driver_override <- \n",
                                    DEVICES + SECOND + "/driver/unbind <- " + SECOND,
                                    "/sys/bus/pci/drivers/igb/bind <- " + SECOND));
    EXPECT_EQ(on.read(DEVICES + SECOND + "/driver_override"), "(null)");
    EXPECT_THAT(on.list("/run/halfpoll-bind"), IsEmpty());
}

TEST(PciBind, InterfacesAreNamesToo)
{
    fake_host on;
    bind(on, {"enp3s0f1"});
    EXPECT_EQ(on.driver_of(SECOND), "vfio-pci");
    EXPECT_FALSE(on.exists("/sys/class/net/enp3s0f1"));
    unbind(on, {"enp3s0f1"}); // the interface is gone, but its name is remembered
    EXPECT_EQ(on.driver_of(SECOND), "igb");
}

TEST(PciBind, InterfaceOfAVirtioDevice)
{
    fake_host on;
    on.add_pci("0000:04:00.0", "virtio-pci", "virtio-pci", "9");
    on.put(DEVICES + "0000:04:00.0/virtio2/net/ens4/mtu", "1500");
    on.link("/sys/class/net/ens4/device", "../../../bus/pci/devices/0000:04:00.0/virtio2");
    on.link_list.push_back({"ens4", 11, 0, 0, "", ""});
    EXPECT_THAT(bind(on, {"ens4"}), ElementsAre(HasSubstr("virtio-pci -> vfio-pci; ens4 returns")));
    EXPECT_EQ(on.driver_of("0000:04:00.0"), "vfio-pci");
}

TEST(PciBind, ShortAddressesAndRepetitions)
{
    fake_host on;
    EXPECT_EQ(bind(on, {"03:00.1", SECOND, "enp3s0f1"}).size(), 1U);
    EXPECT_EQ(on.driver_of(SECOND), "vfio-pci");
}

TEST(PciBind, IsIdempotent)
{
    fake_host on;
    bind(on, {SECOND});
    on.log.clear();
    EXPECT_THAT(bind(on, {SECOND}), ElementsAre(SECOND + ": bound to vfio-pci already"));
    EXPECT_THAT(on.log, IsEmpty());
    unbind(on, {SECOND});
    on.log.clear();
    EXPECT_THAT(unbind(on, {SECOND}), ElementsAre(SECOND + ": bound to igb, not to vfio-pci"));
    EXPECT_THAT(on.log, IsEmpty());
}

TEST(PciBind, NamesThatAreNoDevice)
{
    fake_host on;
    EXPECT_THAT(refusal([&] { bind(on, {"enp9s0"}); }), HasSubstr("enp9s0: no such interface"));
    EXPECT_THAT(refusal([&] { bind(on, {"0000:07:00.0"}); }), HasSubstr("0000:07:00.0: no such PCI device"));
    on.put("/sys/class/net/veth0/mtu", "1500");
    EXPECT_THAT(refusal([&] { bind(on, {"veth0"}); }), HasSubstr("not on a PCI device"));
    EXPECT_THAT(refusal([&] { bind(on, {SECOND, "enp9s0"}); }), HasSubstr("enp9s0"));
    EXPECT_THAT(on.log, IsEmpty());
}

TEST(PciBind, NeverTakesOtherThanNetworkDevices)
{
    fake_host on;
    on.put(DEVICES + SECOND + "/class", "0x010802");
    EXPECT_THAT(refusal([&] { bind(on, {SECOND}, true); }), HasSubstr("no network device (class 0x010802)"));
    EXPECT_THAT(on.log, IsEmpty());
}

/// A reason why bind refuses, and its text.
struct objection {
    const char *name;
    std::function<void(fake_host &)> make;
    std::string text;
};

void PrintTo(const objection &o, std::ostream *out) { *out << o.name; }

class Refusal : public testing::TestWithParam<objection>
{
};

TEST_P(Refusal, UnlessForced)
{
    fake_host on;
    GetParam().make(on);
    EXPECT_THAT(refusal([&] { bind(on, {SECOND}); }),
                AllOf(HasSubstr(SECOND + ": " + GetParam().text), HasSubstr("--force")));
    EXPECT_THAT(on.log, IsEmpty());
    EXPECT_EQ(on.driver_of(SECOND), "igb");
    bind(on, {SECOND}, true);
    EXPECT_EQ(on.driver_of(SECOND), "vfio-pci");
}

/// enp3s0f1 has ifindex 9.
INSTANTIATE_TEST_SUITE_P(
    PciBind, Refusal,
    testing::Values(
        objection{"DefaultRoute", [](fake_host &on) { on.default_routes = {"enp3s0f1"}; },
                  "enp3s0f1 carries the default route"},
        objection{"DefaultRouteOnAVlan",
                  [](fake_host &on) {
                      on.link_list.push_back({"vlan10", 20, 0, 9, "vlan", ""});
                      on.default_routes = {"vlan10"};
                  },
                  "enp3s0f1 carries the default route through vlan10"},
        objection{"DefaultRouteOnABridgeOfAVlan",
                  [](fake_host &on) {
                      on.link_list.push_back({"vlan10", 20, 21, 9, "vlan", ""});
                      on.link_list.push_back({"br0", 21, 0, 0, "bridge", ""});
                      on.default_routes = {"br0"};
                  },
                  "enp3s0f1 carries the default route through br0"},
        objection{"PortOfABridge",
                  [](fake_host &on) {
                      on.link_list.back().master = 21;
                      on.link_list.push_back({"br0", 21, 0, 0, "bridge", ""});
                  },
                  "enp3s0f1 is a port of bridge br0"},
        objection{"PortOfABond",
                  [](fake_host &on) {
                      on.link_list.back().master = 21;
                      on.link_list.push_back({"bond0", 21, 0, 0, "bond", ""});
                  },
                  "enp3s0f1 is a port of bond bond0"},
        objection{"OwnSsh",
                  [](fake_host &on) {
                      on.env["SSH_CONNECTION"] = "198.51.100.7 50022 192.0.2.1 22";
                      on.towards["198.51.100.7"] = "enp3s0f1";
                  },
                  "enp3s0f1 carries the SSH session of 198.51.100.7"},
        objection{"SshToItsAddress",
                  [](fake_host &on) {
                      on.env["SSH_CONNECTION"] = "fe80::7%enp3s0f1 50022 fe80::1%enp3s0f1 22";
                      on.addresses["fe80::1%enp3s0f1"] = "enp3s0f1";
                  },
                  "enp3s0f1 carries the SSH session of fe80::7"},
        objection{"SshOfSomebodyElse",
                  [](fake_host &on) {
                      on.put("/proc/net/tcp",
                             "  sl  local_address\n   0: 010200C0:08AE 076433C6:C366 01 0:0 0:0 0 0 0 4711");
                      on.put("/proc/321/comm", "sshd");
                      on.link("/proc/321/fd/4", "socket:[4711]");
                      on.towards["198.51.100.7"] = "enp3s0f1";
                  },
                  "enp3s0f1 carries the SSH session of 198.51.100.7"},
        objection{"VirtualFunctions", [](fake_host &on) { on.put(DEVICES + SECOND + "/sriov_numvfs", "4"); },
                  "has 4 virtual functions"},
        objection{"InAnotherNamespace", [](fake_host &on) { on.link_list.pop_back(); },
                  "its interface is in another network namespace"},
        objection{"SysfsOfAnotherNamespace", [](fake_host &on) { on.put("/sys/class/net/enp3s0f1/ifindex", "77"); },
                  "its interface is in another network namespace"},
        objection{"NoInterface", [](fake_host &on) { on.erase(DEVICES + SECOND + "/net"); },
                  "its interface is in another network namespace"},
        objection{"NoIommu", [](fake_host &on) { on.erase(DEVICES + SECOND + "/iommu_group"); }, "no IOMMU guards it"},
        objection{"OthersInItsGroup",
                  [](fake_host &on) { on.add_pci("0000:03:00.2", "ixgbe", "ixgbe", "8", "enp3s0f2"); },
                  "its IOMMU group 8 also holds 0000:03:00.2 (ixgbe, enp3s0f2)"}),
    [](const auto &each) { return std::string(each.param.name); });

TEST(PciBind, RefusalsOfAllDevicesAreToldAtOnce)
{
    fake_host on;
    on.add_pci("0000:04:00.0", "ixgbe", "ixgbe", "9", "enp4s0");
    on.link_list.push_back({"enp4s0", 12, 0, 0, "", ""});
    on.default_routes = {"enp3s0f1", "enp4s0"};
    EXPECT_THAT(
        refusal([&] {
            bind(on, {SECOND, "enp4s0"});
        }),
        AllOf(HasSubstr("enp3s0f1 carries the default route\n"), HasSubstr("enp4s0 carries the default route\n")));
}

TEST(PciBind, AWholeGroupAtOnce)
{
    fake_host on;
    on.add_pci("0000:03:00.2", "ixgbe", "ixgbe", "8", "enp3s0f2");
    on.link_list.push_back({"enp3s0f2", 12, 0, 0, "", ""});
    on.add_pci("0000:02:00.0", "pcieport", "", "8"); // a bridge in the group does not matter
    EXPECT_EQ(bind(on, {SECOND, "0000:03:00.2"}).size(), 2U);
    EXPECT_EQ(on.driver_of("0000:03:00.2"), "vfio-pci");
}

TEST(PciBind, LoadsTheModule)
{
    fake_host on;
    on.erase("/sys/bus/pci/drivers/vfio-pci");
    EXPECT_THAT(refusal([&] { bind(on, {SECOND}); }), HasSubstr("modprobe vfio-pci"));
    EXPECT_EQ(on.driver_of(SECOND), "igb");
    on.loadable.insert("vfio-pci");
    EXPECT_THAT(bind(on, {SECOND}), ElementsAre("loaded the module vfio-pci", HasSubstr("igb -> vfio-pci")));
}

TEST(PciBind, AFailureLeavesTheDeviceAsItWas)
{
    fake_host on;
    on.vfio_refuses = true;
    EXPECT_THAT(refusal([&] { bind(on, {SECOND}); }),
                AllOf(HasSubstr("vfio-pci does not take it"), HasSubstr("bound to igb as before")));
    EXPECT_EQ(on.driver_of(SECOND), "igb");
    EXPECT_EQ(on.read(DEVICES + SECOND + "/driver_override"), "(null)");
    EXPECT_THAT(on.list("/run/halfpoll-bind"), IsEmpty());
}

TEST(PciBind, WithoutRightsNothingHappens)
{
    fake_host on;
    on.writes[DEVICES + SECOND + "/driver_override"] = EACCES;
    EXPECT_THAT(refusal([&] { bind(on, {SECOND}); }),
                AllOf(HasSubstr("driver_override (run it as root): Permission denied"), HasSubstr("as before")));
    EXPECT_EQ(on.driver_of(SECOND), "igb");
    EXPECT_THAT(on.list("/run/halfpoll-bind"), IsEmpty());
}

TEST(PciBind, ADeviceWithoutDriverReturnsToNone)
{
    fake_host on;
    on.add_pci("0000:04:00.0", "", "igb", "9");
    bind(on, {"0000:04:00.0"});
    EXPECT_EQ(on.driver_of("0000:04:00.0"), "vfio-pci");
    EXPECT_THAT(unbind(on, {"0000:04:00.0"}), ElementsAre("0000:04:00.0: vfio-pci -> (no driver)"));
    EXPECT_EQ(on.driver_of("0000:04:00.0"), "");
}

TEST(PciBind, AnOverrideIsRestored)
{
    fake_host on;
    on.put(DEVICES + SECOND + "/driver_override", "igb");
    bind(on, {SECOND});
    unbind(on, {SECOND});
    EXPECT_EQ(on.read(DEVICES + SECOND + "/driver_override"), "igb");
    EXPECT_EQ(on.driver_of(SECOND), "igb");
}

TEST(PciBind, UnbindWithoutAMemoryLetsTheDriversLook)
{
    fake_host on;
    on.put(DEVICES + FIRST + "/driver_override", "vfio-pci");
    EXPECT_THAT(unbind(on, {FIRST}), ElementsAre("0000:03:00.0: vfio-pci -> (igb)"));
    EXPECT_THAT(on.log,
                ElementsAre(DEVICES + FIRST + "/driver_override <- \n", DEVICES + FIRST + "/driver/unbind <- " + FIRST,
                            "/sys/bus/pci/drivers_probe <- " + FIRST));
}

TEST(PciBind, AMemoryThatCannotBeReadIsNone)
{
    fake_host on;
    on.put("/run/halfpoll-bind/" + FIRST, "{\"driver\": 7");
    EXPECT_FALSE(load_record(on, FIRST));
    unbind(on, {FIRST});
    EXPECT_EQ(on.driver_of(FIRST), "igb");
}

TEST(PciBind, UnbindLoadsTheFormerDriver)
{
    fake_host on;
    bind(on, {SECOND});
    on.erase("/sys/bus/pci/drivers/igb");
    on.natives[SECOND] = "";
    EXPECT_THAT(refusal([&] { unbind(on, {SECOND}); }), HasSubstr("igb, its former driver, does not take it"));
    EXPECT_TRUE(load_record(on, SECOND)) << "for another attempt";
    bind(on, {SECOND});
    on.loadable.insert("igb");
    on.put("/run/halfpoll-bind/" + SECOND, R"({"driver": "igb", "driver_override": "", "interfaces": []})");
    unbind(on, {SECOND});
    EXPECT_EQ(on.driver_of(SECOND), "igb");
}

TEST(PciBind, UnbindRefusesADeviceInUse)
{
    fake_host on;
    on.opens["/dev/vfio/7"] = EBUSY;
    EXPECT_THAT(refusal([&] { unbind(on, {FIRST}); }), HasSubstr("a program has it open"));
    EXPECT_THAT(on.log, IsEmpty());
    unbind(on, {FIRST}, true);
    EXPECT_EQ(on.driver_of(FIRST), "igb");
}

TEST(PciBind, UnbindSaysWhenVfioPciHoldsOn)
{
    fake_host on;
    on.natives[FIRST] = "vfio-pci"; // as with "options vfio-pci ids="
    EXPECT_THAT(refusal([&] { unbind(on, {FIRST}); }), HasSubstr("vfio-pci claims it by its id"));
}

TEST(SshSession, ReadsTheKernelsTables)
{
    fake_host on;
    const std::string head = "  sl  local_address rem_address\n";
    on.put("/proc/net/tcp", head + "   0: 00000000:0016 00000000:0000 0A 0:0 0:0 0 0 0 1\n"   // listening
                                   "   1: 010200C0:0016 076433C6:C366 01 0:0 0:0 0 0 0 2\n"   // sshd, port 22
                                   "   2: 010200C0:1F90 086433C6:C366 01 0:0 0:0 0 0 0 3\n"   // another service
                                   "   3: 010200C0:0016 096433C6:C366 06 0:0 0:0 0 0 0 4\n"   // time-wait
                                   "   4: 010200C0:08AE 0A6433C6:C366 01 0:0 0:0 0 0 0 5\n"); // sshd, port 2222
    on.put(
        "/proc/net/tcp6",
        head +
            "   0: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:C366 01 0:0 0:0 0 0 0 6\n"
            "   1: 0000000000000000FFFF0000010200C0:0016 0000000000000000FFFF00000B6433C6:C366 01 0:0 0:0 0 0 0 7\n");
    on.put("/proc/77/comm", "sshd-session");
    on.link("/proc/77/fd/3", "socket:[5]");
    on.link("/proc/77/fd/4", "/dev/null");
    on.put("/proc/78/comm", "nginx");
    on.link("/proc/78/fd/3", "socket:[3]");
    EXPECT_THAT(ssh_sessions(on),
                ElementsAre(ssh_session{"198.51.100.10", "192.0.2.1"}, ssh_session{"198.51.100.11", "192.0.2.1"},
                            ssh_session{"198.51.100.7", "192.0.2.1"}, ssh_session{"2001:db8::2", "2001:db8::1"}));
}

TEST(SshSession, OwnOneOnce)
{
    fake_host on;
    on.env["SSH_CONNECTION"] = "198.51.100.7 50022 192.0.2.1 22";
    on.put("/proc/net/tcp", "head\n   1: 010200C0:0016 076433C6:C366 01 0:0 0:0 0 0 0 2");
    EXPECT_THAT(ssh_sessions(on), ElementsAre(ssh_session{"198.51.100.7", "192.0.2.1"}));
}

TEST(LinkUse, OtherInterfacesDoNotMatter)
{
    fake_host on;
    on.link_list.push_back({"vlan10", 20, 0, 5, "vlan", ""}); // VLAN on r0
    on.default_routes = {"r0", "vlan10"};
    on.env["SSH_CONNECTION"] = "198.51.100.7 50022 192.0.2.1 22";
    on.towards["198.51.100.7"] = "r0";
    EXPECT_THAT(uses_of_link(on, "enp3s0f1"), IsEmpty());
    EXPECT_THAT(uses_of_link(on, "nonesuch"), IsEmpty());
    EXPECT_THAT(uses_of_link(on, "r0"),
                ElementsAre("carries the default route", "carries the default route through vlan10",
                            "carries the SSH session of 198.51.100.7"));
}

} // namespace
