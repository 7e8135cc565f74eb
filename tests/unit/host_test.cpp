// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/host/host.hpp"
#include "apps/halfpoll/nic/link_use.hpp"
#include "test_netns.hpp"

#include <halfpoll/netns.hpp>

#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <algorithm>

namespace
{

using namespace halfpoll;
using namespace halfpoll::test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

/// The host class on the real machine, in a network namespace of the test's own.
class HostNet : public testing::Test
{
protected:
    HostNet() : ns_("host"), scope_(ns_.name()) {}

    /// Adds an interface that is up and has carrier.
    void add_interface(const std::string &name)
    {
        ns_.ip("link add " + name + " type veth peer name peer-" + name);
        ns_.ip("link set " + name + " up");
        ns_.ip("link set peer-" + name + " up");
    }
    link_facts link(const std::string &name)
    {
        const std::vector<link_facts> all = on_.links();
        const auto it = std::ranges::find(all, name, &link_facts::name);
        EXPECT_NE(it, all.end()) << name;
        return it == all.end() ? link_facts{} : *it;
    }

    host on_;
    test_netns ns_;
    netns_scope scope_;
};

TEST_F(HostNet, LinksWithWhatTheyAreBuiltOn)
{
    ns_.ip("link add v0 type veth peer name v1");
    ns_.ip("link add br0 type bridge");
    ns_.ip("link set v0 master br0");
    ns_.ip("link add m0 link v1 type macvlan");
    EXPECT_EQ(link("v0").kind, "veth");
    EXPECT_EQ(link("v0").master, link("br0").index);
    EXPECT_EQ(link("v0").lower, 0) << "its peer is not below it";
    EXPECT_EQ(link("br0").kind, "bridge");
    EXPECT_EQ(link("m0").lower, link("v1").index);
    EXPECT_THAT(uses_of_link(on_, "v0"), ElementsAre("is a port of bridge br0"));
}

TEST_F(HostNet, DefaultRoutesOfBothFamiliesAndAllTables)
{
    for (const std::string name : {"d0", "d1", "d2", "d3", "d4"}) {
        add_interface(name);
    }
    EXPECT_THAT(on_.default_route_links(), IsEmpty());
    ns_.ip("route add default dev d0");
    ns_.ip("route add default dev d1 table 100");
    ns_.ip("-6 route add default dev d2");
    ns_.ip("route add default metric 50 nexthop dev d3 nexthop dev d4");
    ns_.ip("route add 192.0.2.0/24 dev d4");
    EXPECT_THAT(on_.default_route_links(), UnorderedElementsAre("d0", "d1", "d2", "d3", "d4"));
    EXPECT_THAT(uses_of_link(on_, "d3"), ElementsAre("carries the default route"));
}

TEST_F(HostNet, WhereAnAddressIs)
{
    add_interface("d0");
    ns_.ip("addr add 192.0.2.1/24 dev d0");
    ns_.ip("addr add 2001:db8::1/64 dev d0 nodad");
    EXPECT_EQ(on_.link_towards("192.0.2.7"), "d0");
    EXPECT_EQ(on_.link_towards("2001:db8::7"), "d0");
    EXPECT_EQ(on_.link_towards("198.51.100.1"), "");
    EXPECT_EQ(on_.link_towards("nonsense"), "");
    EXPECT_EQ(on_.link_of_address("192.0.2.1"), "d0");
    EXPECT_EQ(on_.link_of_address("2001:db8::1"), "d0");
    EXPECT_EQ(on_.link_of_address("192.0.2.2"), "");
}

TEST_F(HostNet, XdpOfALink)
{
    ns_.ip("link add v0 numrxqueues 3 numtxqueues 3 type veth peer name v1");
    ns_.ip("link add br0 type bridge");
    EXPECT_EQ(link("v0").xdp, "");
    EXPECT_EQ(on_.link_rx_queues("v0"), 3U);
    EXPECT_EQ(on_.link_rx_queues("nonesuch"), 0U);
    if (const auto features = on_.link_xdp_features(link("v0").index)) { // the kernel reports XDP features
        EXPECT_EQ(*features & XDP_FEATURE_BASIC, XDP_FEATURE_BASIC);
        EXPECT_EQ(on_.link_xdp_features(link("br0").index), 0U);
    }
    const bpf_insn pass[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    const int prog = bpf_prog_load(BPF_PROG_TYPE_XDP, "somebodys", "BSD", pass, std::size(pass), nullptr);
    ASSERT_GE(prog, 0);
    const int attached = bpf_link_create(prog, link("v0").index, BPF_XDP, nullptr);
    ASSERT_GE(attached, 0);
    EXPECT_EQ(link("v0").xdp, "somebodys");
    close(attached);
    close(prog);
    EXPECT_EQ(link("v0").xdp, "");
}

TEST_F(HostNet, SysctlsOfANamespace)
{
    ns_.exec("sysctl -q -w net.ipv4.ip_forward=1");
    const test_netns other("host");
    other.exec("sysctl -q -w net.ipv4.ip_forward=0");
    EXPECT_EQ(on_.sysctl("", "net/ipv4/ip_forward"), "1");
    EXPECT_EQ(on_.sysctl(other.name(), "net/ipv4/ip_forward"), "0");
    EXPECT_EQ(on_.sysctl("no-such-namespace", "net/ipv4/ip_forward"), "");
}

TEST(Host, ThisMachineRunsTheTests)
{
    const host on;
    EXPECT_EQ(on.tun_error(), 0);
    EXPECT_EQ(on.io_uring_error(), 0);
    EXPECT_EQ(on.socket_error(AF_NETLINK, SOCK_RAW, 0), 0);
    EXPECT_EQ(on.socket_error(AF_MAX, SOCK_RAW, 0), EAFNOSUPPORT);
    EXPECT_EQ(on.xsk_map_error(), 0);
    EXPECT_EQ(on.open_error("/dev/null"), 0);
    EXPECT_EQ(on.open_error("/nonexistent"), ENOENT);
    EXPECT_EQ(on.read("/proc/sys/kernel/ostype"), "Linux");
    EXPECT_EQ(on.fifo_error(1000), EINVAL);
    EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

} // namespace
