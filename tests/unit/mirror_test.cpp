// SPDX-License-Identifier: BSD-3-Clause
#include "fake_wire.hpp"
#include "fib_checker.hpp"
#include "optimized.hpp"

#include "forward/mirror/mirror.hpp"
#include "forward/netlink/netlink.hpp"

#include <gmock/gmock.h>
#include <libmnl/libmnl.h>
#include <nlohmann/json.hpp>
#include <rte_mempool.h>

#include <fstream>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <random>
#include <sys/resource.h>

namespace halfpoll
{
namespace
{

/// Two ports with shadows lan0 (192.0.2.1/24, 2001:db8:0::1/64) and lan1 (198.51.100.1/24, 2001:db8:1::1/64), a
/// forwarder and a mirror.
class mirror_test : public testing::Test
{
protected:
    explicit mirror_test(const table_sizes &sizes = {})
    {
        pool_ = rte_pktmbuf_pool_create("mirror_test", 2047, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
        runtime_options options;
        options.warn = [this](const std::string &text) { warnings_ += text + "\n"; };
        rt_ = std::make_unique<runtime>(options);
        core_ = std::make_unique<net_core>(*rt_, pool_);
        slow_path_options slow_options;
        slow_options.netns = netns_.name();
        slow_ = std::make_unique<slow_path>(*core_, slow_options);
        fwd_ = std::make_unique<forwarder>(*core_, slow_.get(), sizes);
        core_->set_rx_handler(forwarder::receive, fwd_.get());
        add_port(wires_[0], "port0", "lan0");
        add_port(wires_[1], "port1", "lan1");
        netns_.exec("sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        netns_.ip("addr add 192.0.2.1/24 dev lan0");
        netns_.ip("addr add 198.51.100.1/24 dev lan1");
        netns_.ip("addr add 2001:db8::1/64 dev lan0 nodad");
        netns_.ip("addr add 2001:db8:1::1/64 dev lan1 nodad");
        mirror_ = std::make_unique<mirror>(*fwd_, *slow_, netns_.name());
        test::eventually([this] { // the kernel installs IPv6 addresses from a work queue
            settle();
            return to("2001:db8::") == "punt local" && to("2001:db8::1") == "punt local" &&
                   to("2001:db8:1::1") == "punt local";
        });
    }

    ~mirror_test() override
    {
        mirror_.reset();
        EXPECT_EQ(fwd_->routes4().size(), 0U) << "the mirror took its prefixes out";
        EXPECT_EQ(fwd_->routes6().size(), 0U);
        for (shadow *s : slow_->shadows()) {
            slow_->remove_shadow(*s, true);
        }
        for (net_device *dev : core_->devices()) {
            core_->unregister_netdevice(*dev);
        }
        fwd_.reset();
        slow_.reset();
        core_.reset();
        rt_.reset();
        rte_mempool_free(pool_);
    }

    void add_port(test::fake_wire &wire, const std::string &port, const std::string &name)
    {
        net_device_options options;
        options.name = port;
        net_device &dev = core_->register_netdevice(std::make_unique<test::fake_port>(wire), options);
        slow_->set_carrier(slow_->add_shadow(dev, name), true);
        shadows_[name] = &dev;
        netns_.ip("link set " + name + " up");
    }

    /// Runs an `ip` command and waits until the mirror has applied its effect.
    void ip(const std::string &command)
    {
        netns_.ip(command);
        settle();
    }
    /// Runs turns of the control loop until no work is left.
    void settle()
    {
        for (mirror_->process(); !mirror_->settled(); mirror_->process()) {
            pollfd p{.fd = mirror_->fd(), .events = POLLIN, .revents = 0};
            poll(&p, 1, -1);
        }
    }
    /// Runs `ip` commands that may fail, in one process.
    void ip_batch(const std::vector<std::string> &commands)
    {
        const std::string file = "/tmp/" + netns_.name() + ".batch";
        std::ofstream out(file);
        for (const std::string &command : commands) {
            out << command << "\n";
        }
        out.close();
        test::run("ip -n " + netns_.name() + " -force -batch " + file);
        std::filesystem::remove(file);
    }
    void beside(const std::function<void()> &work, const std::function<void()> &turn);
    void set_carrier(net_device &dev, bool up)
    {
        dev.carrier = up;
        dev.running = up;
        slow_->set_carrier(*slow_->of_device(dev), up);
        mirror_->device_changed(dev);
        settle();
    }

    /// A link as `ip` shows it.
    nlohmann::json link_of(const std::string &name)
    {
        return nlohmann::json::parse(netns_.ip("-j -d link show dev " + name)).at(0);
    }
    /// Waits until the kernel takes, or no longer takes, frames to other link addresses on lan0, and the port follows.
    void expect_promiscuous(bool expected, const std::string &why)
    {
        EXPECT_TRUE(test::eventually([&] {
            settle();
            return fwd_->interfaces().get(shadows_["lan0"]->ifindex)->untagged.promiscuous == expected;
        })) << why;
        EXPECT_EQ(wires_[0].promiscuous(), expected) << why;
        EXPECT_FALSE(fwd_->interfaces().get(shadows_["lan1"]->ifindex)->untagged.promiscuous) << why;
        EXPECT_FALSE(wires_[1].promiscuous()) << why;
    }

    /// Text of the next hop for packets to an address.
    std::string to(const std::string &address)
    {
        const ip_addr addr = test::to_addr(address).value();
        const std::uint32_t nexthop =
            addr.family == AF_INET ? fwd_->routes4().lookup(to_ipv4(addr.bytes)) : fwd_->routes6().lookup(addr.bytes);
        return test::to_text(fwd_->nexthops(), *fwd_->nexthops().get(nexthop));
    }
    std::uint32_t nexthop_of(const std::string &address)
    {
        const ip_addr addr = test::to_addr(address).value();
        std::uint32_t nexthop = nexthop_table::no_route;
        for (unsigned len = address_bits(addr.family) + 1; len-- > 0;) {
            const ip_prefix prefix = make_prefix(addr, len);
            if (addr.family == AF_INET ? fwd_->routes4().find(to_ipv4(prefix.addr.bytes), len, nexthop)
                                       : fwd_->routes6().find(prefix.addr.bytes, len, nexthop)) {
                break;
            }
        }
        return nexthop;
    }
    /// Number of buckets by device, for the group that an address leads to.
    std::map<std::string, unsigned> buckets_to(const std::string &address)
    {
        std::map<std::string, unsigned> buckets;
        const adjacency &a = *fwd_->nexthops().get(nexthop_of(address));
        for (unsigned i = 0; a.group && i < a.group->buckets.size(); ++i) {
            ++buckets[fwd_->nexthops().member(a, i).dev->name];
        }
        return buckets;
    }
    /// Whether IPv4 and IPv6 packets that come in by a shadow are left to the kernel.
    using families = std::pair<bool, bool>;
    families left_to_kernel(const std::string &name)
    {
        settle();
        const rx_interface &in = fwd_->interfaces().get(shadows_[name]->ifindex)->untagged;
        return {in.kernel4, in.kernel6};
    }
    std::vector<std::string> rule_reasons()
    {
        std::vector<std::string> texts;
        mirror_->policies().visit([&](policy_kind kind, const policy_reason &reason) {
            if (kind == policy_kind::rule) {
                texts.push_back(reason.text);
            }
        });
        return texts;
    }
    /// The number of IPv4 prefixes that exist when only addresses are configured.
    std::size_t routes_of_the_box4()
    {
        std::size_t n = 0;
        fwd_->routes4().for_each([&](std::uint32_t addr, unsigned len, std::uint32_t) {
            const unsigned net = addr >> 24;
            n += net == 127 || net == 224 || net == 192 || net == 198 || len == 0;
        });
        return n;
    }
    /// Expects that the whole FIB agrees with the output of `ip`.
    void expect_equal()
    {
        std::string different;
        test::eventually([&] { // the kernel may still be changing its own IPv6 routes
            settle();
            const test::fib_expectation expected(netns_, shadows_);
            different = test::difference(expected.fib(), test::actual_fib(*fwd_));
            return different.empty();
        });
        EXPECT_EQ(different, "");
    }

    test::test_netns netns_{"mirror"};
    std::string warnings_;
    test::fake_wire wires_[2]{test::fake_wire(1), test::fake_wire(2)};
    rte_mempool *pool_ = nullptr;
    std::unique_ptr<runtime> rt_;
    std::unique_ptr<net_core> core_;
    std::unique_ptr<slow_path> slow_;
    std::unique_ptr<forwarder> fwd_;
    test::fib_expectation::shadow_map shadows_;
    std::unique_ptr<mirror> mirror_;
};

const char *const hop0 = "port0 02:bb:00:00:00:02 mtu 1500";
const char *const hop1 = "port1 02:bb:00:00:01:02 mtu 1500";
const char *const both = "group(port0 02:bb:00:00:00:02 mtu 1500 | port1 02:bb:00:00:01:02 mtu 1500)";
const char *const neigh0 = "neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:02 dev lan0";
const char *const neigh1 = "neigh replace 198.51.100.2 lladdr 02:bb:00:00:01:02 dev lan1";

TEST_F(mirror_test, loads_what_is_there)
{
    EXPECT_EQ(to("192.0.2.1"), "punt local");
    EXPECT_EQ(to("192.0.2.255"), "punt local") << "broadcast";
    EXPECT_EQ(to("192.0.2.9"), "punt resolve") << "connected";
    EXPECT_EQ(to("127.0.0.1"), "punt local");
    EXPECT_EQ(to("2001:db8::1"), "punt local");
    EXPECT_EQ(to("2001:db8::9"), "punt resolve");
    EXPECT_EQ(to("2001:db8::"), "punt local") << "the router anycast address";
    EXPECT_EQ(to("203.0.113.1"), "punt no_route");
    EXPECT_EQ(to("2001:db8:f::1"), "punt no_route");
    EXPECT_EQ(to("224.0.0.5"), "punt control");
    EXPECT_EQ(to("ff02::5"), "punt control");
    EXPECT_EQ(to("fe80::1"), "punt local");
    EXPECT_EQ(mirror_->stats().resyncs, 1U);
    expect_equal();
}

TEST_F(mirror_test, devices_know_the_addresses_of_the_box)
{
    const box_address box4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 1};
    const box_address box6{0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    const auto known = [&](const box_address &address) { return wires_[1].pass_addresses().contains(address); };
    EXPECT_TRUE(known(box4));
    EXPECT_TRUE(known(box6));
    ip("addr del 192.0.2.1/24 dev lan0");
    EXPECT_FALSE(known(box4));
    ip("addr add 192.0.2.1/32 dev lan1");
    EXPECT_TRUE(known(box4));
    mirror_.reset();
    EXPECT_TRUE(wires_[1].pass_addresses().empty());
}

// A neighbour that only sends is not known: anyone could invent it.
TEST_F(mirror_test, the_slow_path_knows_neighbours_that_are_confirmed)
{
    const std::array<std::uint8_t, 4> host{192, 0, 2, 2};
    const std::array<std::uint8_t, 6> link{2, 0xbb, 0, 0, 0, 2}, other{2, 0xbb, 0, 0, 0, 0x99};
    const auto known = [&](bool host_is, bool link_is, bool other_is) {
        settle();
        return slow_->knows(host) == host_is && slow_->knows(link) == link_is && slow_->knows(other) == other_is;
    };
    ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:02 dev lan0 nud stale");
    EXPECT_TRUE(known(false, false, false));
    ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:02 dev lan0 nud reachable");
    EXPECT_TRUE(known(true, true, false));
    ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:02 dev lan0 nud stale");
    EXPECT_TRUE(known(true, true, false)) << "it is the same one";
    ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:99 dev lan0 nud stale");
    EXPECT_TRUE(known(false, false, false)) << "somebody else says that he is it";
    ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:99 dev lan0 nud permanent");
    ip("neigh replace 192.0.2.3 lladdr 02:bb:00:00:00:99 dev lan0 nud permanent");
    EXPECT_TRUE(known(true, false, true));
    ip("neigh del 192.0.2.3 dev lan0");
    EXPECT_TRUE(known(true, false, true)) << "a link address may have several";
    ip("neigh del 192.0.2.2 dev lan0");
    EXPECT_TRUE(known(false, false, false));
}

TEST_F(mirror_test, a_gateway_route_follows_its_neighbour)
{
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), "punt resolve");
    ip(neigh0);
    EXPECT_EQ(to("203.0.113.1"), hop0);
    EXPECT_EQ(to("192.0.2.2"), hop0) << "the neighbour itself";
    ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:99 dev lan0 nud stale");
    EXPECT_EQ(to("203.0.113.1"), "port0 02:bb:00:00:00:99 mtu 1500");
    expect_equal();
    ip("neigh change 192.0.2.2 dev lan0 nud failed");
    EXPECT_EQ(to("203.0.113.1"), "punt resolve");
    ip(neigh0);
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("neigh del 192.0.2.2 dev lan0");
    EXPECT_EQ(to("203.0.113.1"), "punt resolve");
    EXPECT_EQ(to("192.0.2.2"), "punt resolve");
    expect_equal();
}

TEST_F(mirror_test, the_rewrite_is_the_link_header)
{
    ip(neigh0);
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    const ip_addr v4 = test::to_addr("192.0.2.2").value();
    const ip_addr v6 = test::to_addr("2001:db8::2").value();
    const adjacency *a = fwd_->nexthops().get(fwd_->routes4().lookup(to_ipv4(v4.bytes)));
    EXPECT_THAT(std::vector<int>(a->rewrite, a->rewrite + 14),
                testing::ElementsAre(2, 0xbb, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00));
    EXPECT_EQ(a->rewrite_len, 14);
    EXPECT_EQ(a->ifindex, shadows_["lan0"]->ifindex);
    a = fwd_->nexthops().get(fwd_->routes6().lookup(v6.bytes));
    EXPECT_THAT(std::vector<int>(a->rewrite, a->rewrite + 14),
                testing::ElementsAre(2, 0xbb, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd));
    ip("link set lan0 address 02:00:00:00:00:77");
    a = fwd_->nexthops().get(fwd_->routes4().lookup(to_ipv4(v4.bytes)));
    EXPECT_EQ(to("192.0.2.2"), "punt resolve") << "the kernel forgot its neighbours";
    ip(neigh0);
    a = fwd_->nexthops().get(fwd_->routes4().lookup(to_ipv4(v4.bytes)));
    EXPECT_EQ(a->rewrite[11], 0x77);
}

TEST_F(mirror_test, the_lowest_metric_wins_and_the_next_one_takes_over)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add 203.0.113.0/24 via 198.51.100.2 metric 200");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    ip("route add 203.0.113.0/24 via 192.0.2.2 metric 100");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("route add blackhole 203.0.113.0/24 metric 50");
    EXPECT_EQ(to("203.0.113.1").substr(0, 4), "drop");
    expect_equal();
    ip("route del blackhole 203.0.113.0/24 metric 50");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("route del 203.0.113.0/24 metric 100");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    ip("route del 203.0.113.0/24");
    EXPECT_EQ(to("203.0.113.1"), "punt no_route");
    expect_equal();
}

TEST_F(mirror_test, replace_replaces_and_append_appends)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("route replace 203.0.113.0/24 via 198.51.100.2");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    ip("route append 203.0.113.0/24 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    expect_equal();
    ip("route del 203.0.113.0/24 via 198.51.100.2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("route prepend 203.0.113.0/24 via 198.51.100.2");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    expect_equal();
    mirror_->resync();
    EXPECT_EQ(to("203.0.113.1"), hop1) << "the kernel's order, not ours";
}

TEST_F(mirror_test, kinds_of_routes)
{
    ip("route add blackhole 203.0.113.0/26");
    ip("route add unreachable 203.0.113.64/26");
    ip("route add prohibit 203.0.113.128/26");
    ip("route add throw 203.0.113.192/26");
    ip("-6 route add blackhole 2001:db8:f::/48");
    ip("route add 10.0.0.0/8 dev lo");
    ip("route add table 100 172.16.0.0/12 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), std::string("drop ") + drop_reason_name(DROP_BLACKHOLE));
    EXPECT_EQ(to("203.0.113.65"), "punt no_route");
    EXPECT_EQ(to("203.0.113.129"), "punt no_route");
    EXPECT_EQ(to("203.0.113.193"), "punt no_route");
    EXPECT_EQ(to("2001:db8:f::1").substr(0, 4), "drop");
    EXPECT_EQ(to("10.1.1.1"), "punt kernel") << "the kernel forwards";
    EXPECT_EQ(to("172.16.0.1"), "punt no_route") << "another table";
    expect_equal();
}

TEST_F(mirror_test, default_routes_of_both_families)
{
    ip(neigh0);
    ip("neigh replace 2001:db8:1::2 lladdr 02:bb:00:00:01:02 dev lan1");
    ip("neigh replace fe80::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("route add default via 192.0.2.2");
    ip("-6 route add default via 2001:db8:1::2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    EXPECT_EQ(to("2001:db8:f::1"), hop1);
    EXPECT_EQ(to("ff0e::1"), "punt control");
    EXPECT_EQ(to("fe80::1"), "punt local");
    EXPECT_EQ(to("224.0.1.1"), "punt control");
    ip("-6 route replace default via fe80::2 dev lan0");
    EXPECT_EQ(to("2001:db8:f::1"), hop0);
    expect_equal();
}

TEST_F(mirror_test, an_ipv4_route_may_have_an_ipv6_gateway)
{
    ip("neigh replace fe80::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("route add 203.0.113.0/24 via inet6 fe80::2 dev lan0");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    const ip_addr addr = test::to_addr("203.0.113.1").value();
    const adjacency *a = fwd_->nexthops().get(fwd_->routes4().lookup(to_ipv4(addr.bytes)));
    EXPECT_EQ(a->rewrite[12], 0x08);
    expect_equal();
}

TEST_F(mirror_test, a_neighbour_gets_a_prefix_only_where_the_kernel_sends_straight_to_it)
{
    ip(neigh0);
    EXPECT_EQ(to("192.0.2.2"), hop0);
    ip(neigh1);
    ip("route add 192.0.2.2/32 via 198.51.100.2");
    EXPECT_EQ(to("192.0.2.2"), hop1) << "a route for it";
    ip("route del 192.0.2.2/32");
    EXPECT_EQ(to("192.0.2.2"), hop0);
    ip("route add 192.0.2.0/25 via 198.51.100.2");
    EXPECT_EQ(to("192.0.2.2"), hop1) << "a more specific route";
    expect_equal();
    ip("route del 192.0.2.0/25");
    ip("neigh replace 203.0.113.7 lladdr 02:bb:00:00:00:07 dev lan0");
    EXPECT_EQ(to("203.0.113.7"), "punt no_route") << "off link";
    ip("route add 203.0.113.0/24 dev lan0");
    EXPECT_EQ(to("203.0.113.7"), "port0 02:bb:00:00:00:07 mtu 1500");
    ip("route add 203.0.113.8/32 dev lan0");
    EXPECT_EQ(to("203.0.113.8"), "punt resolve");
    ip("neigh replace 203.0.113.8 lladdr 02:bb:00:00:00:08 dev lan0");
    EXPECT_EQ(to("203.0.113.8"), "port0 02:bb:00:00:00:08 mtu 1500");
    ip("neigh replace 203.0.113.7 lladdr 02:bb:00:00:01:07 dev lan1");
    EXPECT_EQ(to("203.0.113.7"), "port0 02:bb:00:00:00:07 mtu 1500") << "the route says lan0";
    expect_equal();
}

TEST_F(mirror_test, link_down_and_up)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("route add 203.0.113.0/24 via 198.51.100.2 metric 10");
    ip("link set lan0 down");
    EXPECT_EQ(to("203.0.113.1"), hop1) << "the kernel removed the route and said nothing";
    EXPECT_EQ(to("192.0.2.2"), "punt no_route");
    expect_equal();
    ip("link set lan0 up");
    ip(neigh0);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    expect_equal();
}

std::vector<std::string> many_routes(int n, const std::string &via)
{
    std::vector<std::string> commands;
    for (int i = 0; i < n; ++i) {
        commands.push_back("route add 10." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ".0/24 via " +
                           via);
    }
    return commands;
}

/// Runs `work` in another thread and `turn` repeatedly until `work` is done.
void mirror_test::beside(const std::function<void()> &work, const std::function<void()> &turn)
{
    std::atomic<bool> done{false};
    std::thread other([&] {
        work();
        done = true;
    });
    while (!done) {
        turn();
        pollfd p{.fd = mirror_->fd(), .events = POLLIN, .revents = 0};
        poll(&p, 1, 1); // leaves the processor to the other thread until there is something to do
    }
    other.join();
    settle();
}

TEST_F(mirror_test, a_dump_on_the_word_of_a_link_sees_the_kernels_routes_gone)
{
    for (int round = 0; round < (test::optimized ? 3 : 1); ++round) {
        ip("link set lan0 up");
        ip(neigh0);
        std::vector<std::string> commands = many_routes(20'000, "192.0.2.2");
        for (std::size_t i = 0; i < commands.size();
             ++i) { // different metrics keep the kernel busy before it flushes the routes
            commands[i] += " metric " + std::to_string(i + 1);
        }
        ip_batch(commands);
        settle();
        EXPECT_EQ(to("10.78.31.1"), hop0);
        beside([this] { netns_.ip("link set lan0 down"); }, [this] { mirror_->process(); });
        EXPECT_LT(fwd_->routes4().size(), 100U);
    }
    expect_equal();
}

TEST_F(mirror_test, ipv6_routes_that_go_without_a_word)
{
    netns_.exec("sysctl -q net.ipv6.route.skip_notify_on_dev_down=1 net.ipv6.conf.lan0.keep_addr_on_down=1");
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("route add 2001:db8:f::/48 via 2001:db8::2");
    EXPECT_EQ(to("2001:db8:f::1"), hop0);
    ip("link set lan0 down");
    EXPECT_EQ(to("2001:db8:f::1"), "punt no_route");
    expect_equal();
    ip("link set lan0 up");
    ip("addr replace 2001:db8::1/64 dev lan0 nodad");
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("route add 2001:db8:f::/48 via 2001:db8::2");
    EXPECT_EQ(to("2001:db8:f::1"), hop0);
    netns_.exec("sysctl -q net.ipv6.conf.lan0.disable_ipv6=1");
    settle();
    EXPECT_EQ(to("2001:db8:f::1"), "punt no_route");
    expect_equal();
}

TEST_F(mirror_test, next_hops_that_are_dead_though_their_link_is_up)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add 203.0.113.0/24 nexthop via 192.0.2.2 nexthop via 198.51.100.2");
    EXPECT_EQ(to("203.0.113.1"), both);
    ip("addr del 192.0.2.1/24 dev lan0");
    ip(neigh0); // the kernel forgot the neighbour
    EXPECT_EQ(to("203.0.113.1"), hop1) << "with its last address an interface is out of use";
    ip("addr add 192.0.2.1/24 dev lan0");
    EXPECT_EQ(to("203.0.113.1"), both);
}

// The kernel sends the message about the link first. Since it has many addresses to add, it revives next hops only
// later.
TEST_F(mirror_test, next_hops_that_are_dead_in_a_dump_but_not_before)
{
    std::vector<std::string> addresses;
    for (int i = 0; i < 3000; ++i) {
        addresses.push_back("addr add 10.79." + std::to_string(i / 250) + "." + std::to_string(i % 250 + 1) +
                            "/32 dev lan0");
    }
    ip_batch(addresses);
    ip(neigh1);
    ip("route add 203.0.113.0/24 nexthop via 192.0.2.2 nexthop via 198.51.100.2");
    for (int round = 0; round < 10; ++round) {
        beside([this] { ip_batch({"link set lan0 down", "link set lan0 up"}); }, [this] { mirror_->process(); });
        ip(neigh0); // the kernel forgot the neighbour
        ASSERT_EQ(to("203.0.113.1"), both) << "round " << round;
    }
}

TEST_F(mirror_test, a_dump_beside_changes_revives_nothing)
{
    ip(neigh0);
    std::vector<std::string> add = many_routes(2000, "192.0.2.2"), del;
    for (const std::string &command : add) {
        del.push_back("route del" + command.substr(std::string("route add").size()));
    }
    for (int round = 0; round < (test::optimized ? 10 : 4); ++round) {
        ip_batch(add);
        settle();
        const std::size_t left = 2000 * static_cast<std::size_t>(round + 1) / (test::optimized ? 11 : 5);
        bool dumped = false;
        beside([&] { ip_batch(del); },
               [&] {
                   mirror_->process();
                   if (!dumped && fwd_->routes4().size() < left) {
                       mirror_->resync();
                       dumped = true;
                   }
               });
        ASSERT_LT(fwd_->routes4().size(), 100U) << "round " << round;
    }
    expect_equal();
}

TEST(netlink_socket_test, hears_the_kernel_alone)
{
    const test::test_netns netns("netlink");
    netlink_socket socket(netns.name(), NETLINK_ROUTE, {RTNLGRP_LINK}, 1U << 20);
    sockaddr_nl to{};
    socklen_t size = sizeof to;
    ASSERT_EQ(getsockname(socket.fd(), reinterpret_cast<sockaddr *>(&to), &size), 0);
    netlink_socket other(netns.name(), NETLINK_ROUTE, {}, 1U << 20);
    nlmsghdr message{sizeof message, RTM_NEWROUTE, 0, 0, 0};
    ASSERT_EQ(sendto(other.fd(), &message, sizeof message, 0, reinterpret_cast<const sockaddr *>(&to), sizeof to),
              static_cast<ssize_t>(sizeof message));
    ASSERT_TRUE(socket.readable());
    unsigned heard = 0;
    const auto count = [&](const nlmsghdr &) { ++heard; };
    EXPECT_EQ(socket.receive(count), netlink_socket::received::nothing);
    EXPECT_EQ(heard, 0U);
    netns.ip("link set lo mtu 1400");
    EXPECT_EQ(socket.receive(count), netlink_socket::received::some);
    EXPECT_EQ(heard, 1U);
}

TEST_F(mirror_test, routes_go_with_their_source_address)
{
    ip("addr add 192.0.2.77/32 dev lan0");
    ip(neigh0);
    ip("route add 203.0.113.0/24 via 192.0.2.2 src 192.0.2.77");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("addr del 192.0.2.77/32 dev lan0");
    EXPECT_EQ(to("203.0.113.1"), "punt no_route");
    expect_equal();
}

TEST_F(mirror_test, carrier_lost_and_back)
{
    ip(neigh0);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    set_carrier(*core_->dev_get_by_name("port0"), false);
    EXPECT_EQ(to("203.0.113.1"), "punt resolve");
    expect_equal();
    set_carrier(*core_->dev_get_by_name("port0"), true);
    ip(neigh0);
    EXPECT_EQ(to("203.0.113.1"), hop0);
    expect_equal();
}

TEST_F(mirror_test, routes_over_dead_links_are_passed_over_where_sysctl_says_so)
{
    ip(neigh0);
    ip(neigh1);
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("neigh replace 2001:db8:1::2 lladdr 02:bb:00:00:01:02 dev lan1");
    ip_batch({"route add 203.0.113.0/24 via 192.0.2.2 metric 10", "route add 203.0.113.0/24 via 198.51.100.2 metric 20",
              "route add 203.0.114.0/24 via 192.0.2.2", "route add 203.0.112.0/22 via 198.51.100.2",
              "route add 192.0.0.0/16 via 198.51.100.2", "route add 2001:db8:f::/64 via 2001:db8::2 metric 10",
              "route add 2001:db8:f::/64 via 2001:db8:1::2 metric 20", "route add 2001:db8:f:1::/64 via 2001:db8::2",
              "route add 2001:db8:f::/48 via 2001:db8:1::2"});
    settle();
    const std::vector<std::string> addresses = {"203.0.113.1", "203.0.114.1", "2001:db8:f::1", "2001:db8:f:1::1"};
    const auto all_are = [&](const std::string &what) {
        return test::eventually([&] {
            settle();
            return std::ranges::all_of(addresses, [&](const std::string &a) { return to(a) == what; });
        });
    };
    const auto ignore = [&](const std::string &dev, int value) {
        for (const char *family : {"ipv4", "ipv6"}) {
            netns_.exec("sysctl -q net." + std::string(family) + ".conf." + dev +
                        ".ignore_routes_with_linkdown=" + std::to_string(value));
        }
    };
    ignore("lan0", 1);
    EXPECT_TRUE(all_are(hop0)) << "it has its carrier";
    set_carrier(*core_->dev_get_by_name("port0"), false);
    EXPECT_TRUE(all_are(hop1)) << "the next metric, or the next shorter prefix";
    EXPECT_EQ(to("192.0.2.2"), hop1) << "not by its own link";
    expect_equal();
    ignore("lan0", 0);
    EXPECT_TRUE(all_are("punt resolve"));
    expect_equal();
    ignore("all", 1);
    EXPECT_TRUE(all_are(hop1));
    set_carrier(*core_->dev_get_by_name("port0"), true);
    EXPECT_TRUE(all_are(hop0));
    EXPECT_EQ(to("192.0.2.2"), hop0);
    expect_equal();
}

TEST_F(mirror_test, address_of_the_shadow)
{
    net_device &dev = *core_->dev_get_by_name("port0");
    ip("link set lan0 address 02:cc:00:00:00:01");
    ip("neigh add 192.0.2.2 lladdr 02:bb:00:00:00:02 dev lan0");
    const rte_ether_addr mac{{2, 0xcc, 0, 0, 0, 1}};
    EXPECT_TRUE(rte_is_same_ether_addr(&dev.mac, &mac)) << "the device follows";
    EXPECT_TRUE(dev.running);
    EXPECT_EQ(to("192.0.2.2"), "port0 02:bb:00:00:00:02 mtu 1500");
    core_->fail_netdevice(dev, "unplugged");
    ip("link set lan0 address 02:cc:00:00:00:02");
    EXPECT_EQ(dev.mac.addr_bytes[5], 2U) << "for its return";
}

TEST_F(mirror_test, mtu_of_the_shadow_and_of_the_route)
{
    ip(neigh0);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("route add 203.0.114.0/24 via 192.0.2.2 mtu 1300");
    EXPECT_EQ(to("203.0.114.1"), "port0 02:bb:00:00:00:02 mtu 1300");
    ip("link set lan0 mtu 1400");
    EXPECT_EQ(to("203.0.113.1"), "port0 02:bb:00:00:00:02 mtu 1400");
    EXPECT_EQ(to("203.0.114.1"), "port0 02:bb:00:00:00:02 mtu 1300");
    EXPECT_EQ(wires_[0].mtu(), 1400U) << "the device follows";
    EXPECT_EQ(wires_[1].mtu(), 1500U);
    ip("link set lan0 mtu 1280");
    EXPECT_EQ(to("203.0.114.1"), "port0 02:bb:00:00:00:02 mtu 1280");
    EXPECT_EQ(mirror_->stats().errors, 0U);
    ip("link set lan0 mtu 9100");
    EXPECT_EQ(to("203.0.113.1"), "port0 02:bb:00:00:00:02 mtu 1280") << "the device does not take it";
    EXPECT_EQ(mirror_->stats().errors, 1U);
    EXPECT_THAT(warnings_, testing::HasSubstr("9100"));
    EXPECT_EQ(link_of("lan0")["mtu"], 1280) << "the shadow gets the device's MTU back";
    expect_equal();
}

TEST_F(mirror_test, what_the_device_refuses_the_shadow_does_not_keep)
{
    netns_.ip("link set lan0 mtu 9100"); // and at once, before it is seen:
    ip("link set lan0 mtu 1400");
    EXPECT_EQ(link_of("lan0")["mtu"], 1400) << "a later value is not overwritten";
    EXPECT_EQ(wires_[0].mtu(), 1400U);
    const std::string mac = link_of("lan0")["address"];
    wires_[0].refuse_promiscuous();
    ip("link set lan0 address 02:cc:00:00:00:01");
    EXPECT_EQ(link_of("lan0")["address"], mac);
    EXPECT_TRUE(rte_is_same_ether_addr(&core_->dev_get_by_name("port0")->mac, &wires_[0].mac));
    EXPECT_TRUE(core_->dev_get_by_name("port0")->running);
    EXPECT_THAT(warnings_, testing::HasSubstr("shadow lan0 gets the MTU and the link address of its port back"));
    EXPECT_EQ(mirror_->stats().errors, 2U);
}

TEST_F(mirror_test, ipv6_has_an_mtu_of_its_own)
{
    const auto comes_to = [&](const std::string &what) {
        EXPECT_TRUE(test::eventually([&] {
            settle();
            return to("2001:db8:f::1") == "port0 02:bb:00:00:00:02 mtu " + what;
        })) << what
            << ", found " << to("2001:db8:f::1");
    };
    ip(neigh0);
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("route add 2001:db8:f::/48 via 2001:db8::2");
    comes_to("1500");
    netns_.exec("sysctl -q net.ipv6.conf.lan0.mtu=1400");
    comes_to("1400");
    EXPECT_EQ(to("203.0.113.1"), hop0) << "IPv4 has another one";
    mirror_->resync();
    comes_to("1400");
    ip("link set lan0 mtu 1450"); // this resets the IPv6 MTU in the kernel
    comes_to("1450");
    ip("route replace 2001:db8:f::/48 via 2001:db8::2 mtu 1300");
    comes_to("1300");
}

TEST_F(mirror_test, ipv6_that_is_disabled_on_an_interface)
{
    const ifindex_t lan0 = core_->dev_get_by_name("port0")->ifindex;
    const auto forwards = [&](bool wanted) {
        return test::eventually([&] {
            settle();
            return fwd_->interfaces().get(lan0)->untagged.forwarding6 == wanted;
        });
    };
    EXPECT_TRUE(forwards(true));
    netns_.exec("sysctl -q net.ipv6.conf.lan0.disable_ipv6=1");
    EXPECT_TRUE(forwards(false));
    netns_.exec("sysctl -q net.ipv6.conf.lan0.disable_ipv6=0");
    EXPECT_TRUE(forwards(true));
}

TEST_F(mirror_test, multipath_shares_by_weight)
{
    ip("route add 203.0.113.0/24 nexthop via 192.0.2.2 weight 1 nexthop via 198.51.100.2 weight 3");
    EXPECT_EQ(to("203.0.113.1"), "punt resolve");
    ip(neigh0);
    EXPECT_EQ(to("203.0.113.1"), hop0) << "nobody knows the other one's link address";
    expect_equal();
    ip(neigh1);
    EXPECT_EQ(to("203.0.113.1"), both);
    EXPECT_EQ(buckets_to("203.0.113.1"), (std::map<std::string, unsigned>{{"port0", 64}, {"port1", 192}}));
    const std::uint32_t index = nexthop_of("203.0.113.1");
    net_device &port0 = *core_->dev_get_by_name("port0");
    set_carrier(port0, false);
    EXPECT_EQ(to("203.0.113.1"), hop1);
    expect_equal();
    set_carrier(port0, true);
    ip(neigh0);
    EXPECT_EQ(to("203.0.113.1"), both);
    EXPECT_EQ(nexthop_of("203.0.113.1"), index) << "the prefix was not touched";
    ip("route add 203.0.114.0/24 nexthop via 192.0.2.2 weight 1 nexthop via 198.51.100.2 weight 3");
    EXPECT_EQ(nexthop_of("203.0.114.1"), index) << "shared";
    ip("route replace 203.0.114.0/24 nexthop via 192.0.2.2 weight 2 nexthop via 198.51.100.2 weight 2");
    EXPECT_EQ(buckets_to("203.0.114.1"), (std::map<std::string, unsigned>{{"port0", 128}, {"port1", 128}}));
    ip("link set lan0 down");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    expect_equal();
    ip("link set lan1 down");
    EXPECT_EQ(to("203.0.113.1"), "punt no_route") << "the kernel took it out";
    expect_equal();
}

TEST_F(mirror_test, a_default_route_may_be_multipath_too)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add default nexthop via 192.0.2.2 nexthop via 198.51.100.2");
    EXPECT_EQ(to("203.0.113.1"), both);
    ip("route replace default via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    expect_equal();
    ip("route del default");
    EXPECT_EQ(to("203.0.113.1"), "punt no_route");
}

TEST_F(mirror_test, ipv6_multipath_one_by_one)
{
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("neigh replace 2001:db8:1::2 lladdr 02:bb:00:00:01:02 dev lan1");
    ip("-6 route add 2001:db8:f::/48 nexthop via 2001:db8::2 weight 3 nexthop via 2001:db8:1::2 weight 1");
    EXPECT_EQ(to("2001:db8:f::1"), both);
    EXPECT_EQ(buckets_to("2001:db8:f::1"), (std::map<std::string, unsigned>{{"port0", 192}, {"port1", 64}}));
    expect_equal();
    ip("-6 route del 2001:db8:f::/48 via 2001:db8::2");
    EXPECT_EQ(to("2001:db8:f::1"), hop1);
    expect_equal();
    ip("-6 route append 2001:db8:f::/48 via 2001:db8::3 dev lan0");
    EXPECT_EQ(to("2001:db8:f::1"), hop1) << "nobody knows that one's link address";
    ip("-6 route append 2001:db8:f::/48 via 2001:db8::2 dev lan0");
    EXPECT_EQ(to("2001:db8:f::1"), both);
    expect_equal();
    ip("-6 route replace 2001:db8:f::/48 via 2001:db8::2");
    EXPECT_EQ(to("2001:db8:f::1"), hop0);
    expect_equal();
    ip("-6 route add 2001:db8:f::/48 via 2001:db8:1::2 metric 10");
    EXPECT_EQ(to("2001:db8:f::1"), hop1);
    ip("-6 route replace unreachable 2001:db8:f::/48 metric 10");
    EXPECT_EQ(to("2001:db8:f::1"), "punt no_route");
    expect_equal();
    ip("-6 route del 2001:db8:f::/48 metric 10");
    ip("-6 route del 2001:db8:f::/48");
    EXPECT_EQ(to("2001:db8:f::1"), "punt no_route");
    expect_equal();
}

TEST_F(mirror_test, routes_with_next_hop_objects)
{
    ip(neigh0);
    ip(neigh1);
    ip("nexthop add id 1 via 192.0.2.2 dev lan0");
    ip("nexthop add id 2 via 198.51.100.2 dev lan1");
    ip("route add 203.0.113.0/24 nhid 1");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("nexthop replace id 1 via 198.51.100.2 dev lan1");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    ip("nexthop add id 10 group 2");
    ip("route replace 203.0.113.0/24 nhid 10");
    EXPECT_EQ(to("203.0.113.1"), hop1);
    expect_equal();
    ip("nexthop del id 2");
    EXPECT_EQ(to("203.0.113.1"), "punt no_route");
    expect_equal();
}

TEST_F(mirror_test, a_changed_object_touches_no_prefix)
{
    ip(neigh0);
    ip(neigh1);
    netns_.exec("sysctl -q net.ipv4.nexthop_compat_mode=0");
    ip("nexthop add id 1 via 192.0.2.2 dev lan0");
    ip("nexthop add id 2 via 198.51.100.2 dev lan1");
    ip("nexthop add id 10 group 1,3/2,1");
    std::vector<std::string> commands;
    for (int i = 0; i < 1000; ++i) {
        commands.push_back("route add 10." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ".0/24 nhid 10");
    }
    commands.push_back("route add 2001:db8:f::/48 nhid 10");
    ip_batch(commands);
    settle();
    EXPECT_EQ(to("10.3.200.1"), both);
    EXPECT_EQ(buckets_to("10.3.200.1"), (std::map<std::string, unsigned>{{"port0", 192}, {"port1", 64}}));
    const std::uint32_t index = nexthop_of("10.3.200.1");
    const std::uint64_t messages = mirror_->stats().messages;
    ip("nexthop replace id 10 group 1/2");
    EXPECT_EQ(buckets_to("10.3.200.1"), (std::map<std::string, unsigned>{{"port0", 128}, {"port1", 128}}));
    ip("nexthop replace id 1 via 198.51.100.2 dev lan1");
    EXPECT_EQ(to("10.3.200.1"), hop1);
    EXPECT_EQ(nexthop_of("10.3.200.1"), index);
    // The kernel's settings of IPv6 are read every second, so that some more messages may come.
    EXPECT_LT(mirror_->stats().messages, messages + 100) << "a message for each change, not for each route";
    ip("nexthop replace id 20 blackhole");
    ip("route add 203.0.113.0/24 nhid 20");
    EXPECT_EQ(to("203.0.113.1").substr(0, 4), "drop");
    ip("nexthop replace id 20 via 192.0.2.2 dev lan0");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("nexthop del id 10");
    EXPECT_EQ(to("10.3.200.1"), "punt no_route");
    EXPECT_EQ(fwd_->routes4().size(), 1U + routes_of_the_box4()) << "the routes went without a word, and were missed";
}

TEST_F(mirror_test, objects_that_go_with_the_carrier)
{
    ip(neigh0);
    ip(neigh1);
    ip("nexthop add id 1 via 192.0.2.2 dev lan0");
    ip("nexthop add id 2 via 198.51.100.2 dev lan1");
    ip("nexthop add id 10 group 1/2 type resilient buckets 32");
    ip("route add 203.0.113.0/24 nhid 10");
    ip("route add 203.0.114.0/24 nhid 1");
    EXPECT_EQ(to("203.0.113.1"), both);
    EXPECT_EQ(to("203.0.114.1"), hop0);
    net_device &port0 = *core_->dev_get_by_name("port0");
    set_carrier(port0, false);
    EXPECT_EQ(to("203.0.113.1"), hop1);
    test::eventually([this] {
        settle();
        return to("203.0.114.1") == "punt no_route";
    });
    EXPECT_EQ(to("203.0.114.1"), "punt no_route") << "the kernel removed the object and the route";
    expect_equal();
    set_carrier(port0, true);
    expect_equal();
}

TEST_F(mirror_test, an_object_without_gateway)
{
    ip("nexthop add id 5 dev lan0");
    ip("route add 203.0.113.0/24 nhid 5");
    EXPECT_EQ(to("203.0.113.9"), "punt resolve");
    ip("neigh replace 203.0.113.9 lladdr 02:bb:00:00:00:02 dev lan0");
    EXPECT_EQ(to("203.0.113.9"), hop0);
    expect_equal();
    ip("nexthop replace id 5 via 198.51.100.2 dev lan1");
    ip(neigh1);
    EXPECT_EQ(to("203.0.113.9"), hop1);
    expect_equal();
}

TEST_F(mirror_test, rules_that_lead_elsewhere_leave_the_family_to_the_kernel)
{
    const auto left = [this] { return left_to_kernel("lan0"); };
    ip(neigh0);
    ip("neigh replace 2001:db8:1::2 lladdr 02:bb:00:00:01:02 dev lan1");
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("-6 route add 2001:db8:f::/48 via 2001:db8:1::2");
    ip("rule add from 10.0.0.0/8 lookup 100");
    EXPECT_EQ(left(), families(true, false));
    ip("rule del from 10.0.0.0/8 lookup 100");
    EXPECT_EQ(left(), families(false, false));
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("rule add iif lo lookup 100");
    ip("rule add oif lan0 lookup 100");
    ip("rule add from 10.0.0.0/8 lookup 100 pref 100");
    ip("rule del pref 100");
    EXPECT_EQ(left(), families(false, false)) << "these are about packets of the box";
    ip("-6 rule add fwmark 1 blackhole");
    EXPECT_EQ(left(), families(false, true));
    mirror_->resync();
    EXPECT_EQ(left(), families(false, true));
    ip("-6 rule del fwmark 1 blackhole");
    expect_equal();
    ip("rule del table main");
    EXPECT_EQ(left(), families(true, false)) << "nothing leads to the main table";
    ip("rule add pref 32766 table main");
    expect_equal();
}

/// Rules that are added to those that the kernel makes, and what becomes of packets that come in by lan0 and by lan1.
/// `reason`: begins with it; empty: there is none.
struct rules_row {
    std::vector<std::string> rules;
    const char *reason;
    bool lan0, lan1; ///< left to the kernel
};

const rules_row rules_rows[] = {
    // Whatever the kernel would look up elsewhere.
    {{"add pref 100 not iif lo table 100"}, "100 not iif lo lookup 100", true, true},
    {{"add pref 100 not oif wan0 table 100"}, "100 not oif wan0 lookup 100", true, true},
    {{"add pref 100 not uidrange 1-5 table 100"}, "100 not uidrange 1-5 lookup 100", true, true},
    {{"add pref 100 not tun_id 5 table 100"}, "100 not tun_id lookup 100", true, true},
    {{"add pref 100 not fwmark 5 table 100"}, "100 not fwmark 0x5 lookup 100", true, true},
    {{"add pref 100 uidrange 0-0 table 100"}, "100 uidrange 0-0 lookup 100", true, true},
    {{"add pref 100 fwmark 1/3 table 100"}, "100 fwmark 0x1/0x3 lookup 100", true, true},
    {{"add pref 100 fwmark 0/3 table 100"}, "100 fwmark 0x0/0x3 lookup 100", true, true},
    {{"add pref 100 tos 0x10 table 100"}, "100 tos 0x10 lookup 100", true, true},
    {{"add pref 100 ipproto udp sport 5-9 dport 7 table 100"}, "100 ipproto udp sport 5-9 dport 7", true, true},
    {{"add pref 100 blackhole"}, "100 blackhole", true, true},
    {{"add pref 100 ipproto tcp prohibit"}, "100 ipproto tcp prohibit", true, true},
    {{"add pref 100 unreachable"}, "100 unreachable", true, true},
    // What concerns no forwarded packet.
    {{"add pref 100 iif lo table 100"}, "", false, false},
    {{"add pref 100 oif lan0 table 100"}, "", false, false},
    {{"add pref 100 uidrange 1-5 table 100"}, "", false, false},
    {{"add pref 100 tun_id 5 table 100"}, "", false, false},
    {{"add pref 100 l3mdev"}, "", false, false},
    {{"add pref 100 nop"}, "", false, false},
    {{"add pref 100 iif lo fwmark 1 blackhole"}, "", false, false},
    {{"add pref 100 not from all table 100"}, "", false, false},
    {{"add pref 100 table default"}, "", false, false}, // it is empty
    // One interface.
    {{"add pref 100 iif lan0 table 100"}, "100 iif lan0 lookup 100", true, false},
    {{"add pref 100 iif wlan0 table 100"}, "100 iif wlan0 lookup 100", false, false},
    {{"add pref 100 iif lan0 table 100", "add pref 90 iif lan1 fwmark 1 table 7"}, "100 iif lan0", true, true},
    {{"add pref 100 not iif lan0 table 100"}, "100 not iif lan0 lookup 100", true, true},
    // Order: what comes too late.
    {{"add pref 40000 table 100"}, "", false, false},
    {{"add pref 40000 blackhole"}, "", false, false},
    {{"add pref 90 table main", "add pref 100 fwmark 1 table 100"}, "", false, false},
    {{"add pref 90 fwmark 1 table main", "add pref 100 table 100"}, "100 lookup 100", true, true},
    {{"add pref 90 fwmark 1 table main"}, "", false, false},
    {{"add pref 90 iif lan0 table main", "add pref 100 table 100"}, "100 lookup 100", true, true},
    {{"add pref 90 suppress_prefixlength 0 table main"}, "", false, false},
    {{"add pref 90 suppress_prefixlength 0 table main", "add pref 100 not fwmark 1 table 100"},
     "100 not fwmark 0x1 lookup 100",
     true,
     true},
    {{"add pref 90 suppress_ifgroup 3 table main", "del pref 32766"}, ": none leads to the main table", true, true},
    {{"del pref 32766"}, ": none leads to the main table", true, true},
    {{"flush"}, ": none leads to the main table", true, true},
    {{"flush", "del pref 0"}, ": none leads to the main table", true, true},
    {{"add pref 10 table local", "del pref 0"}, "", false, false},
    {{"add pref 10 table main", "add pref 20 table local", "del pref 0"}, "10 lookup main", true, true},
    {{"add pref 10 table main"}, "", false, false},
    // goto.
    {{"add pref 90 goto 32766", "add pref 100 table 100"}, "", false, false},
    {{"add pref 90 fwmark 1 goto 32766", "add pref 100 iif lo table 100"}, "90 fwmark 0x1 goto 32766", true, true},
    {{"add pref 90 iif lan0 goto 110", "add pref 100 table main", "add pref 110 table 100"},
     "110 lookup 100",
     true,
     false},
    {{"add pref 90 goto 4711"}, "", false, false}, // there is no such rule
    {{"add pref 90 goto 40000", "add pref 40000 nop"}, ": none leads to the main table", true, true},
};

TEST_F(mirror_test, rules_are_followed_as_the_kernel_follows_them)
{
    for (const std::string family : {"-4", "-6"}) {
        const std::string name = family == "-4" ? "ip rule" : "ip -6 rule";
        for (const rules_row &row : rules_rows) {
            SCOPED_TRACE(family + " " + testing::PrintToString(row.rules));
            for (const std::string &rule : row.rules) {
                netns_.ip(family + " rule " + rule);
            }
            EXPECT_EQ(left_to_kernel("lan0"), (family == "-4" ? families(row.lan0, false) : families(false, row.lan0)));
            EXPECT_EQ(left_to_kernel("lan1"), (family == "-4" ? families(row.lan1, false) : families(false, row.lan1)));
            const std::string wanted = *row.reason == 0 ? "" : name + (*row.reason == ':' ? "" : " ") + row.reason;
            const auto fits = [&](const std::string &text) { return text.starts_with(wanted); };
            const std::vector<std::string> texts = rule_reasons();
            EXPECT_EQ(std::ranges::any_of(texts, fits), *row.reason != 0) << testing::PrintToString(texts);
            if (&row == &rules_rows[0] || row.rules.size() > 1) { // a dump takes longer than a row
                mirror_->resync();
                EXPECT_EQ(rule_reasons(), texts) << "as a dump shows them";
            }
            netns_.ip(family + " rule flush");
            netns_.exec("sh -c 'ip " + family + " rule del pref 0 2>/dev/null; true'");
            for (const char *rule : {"pref 0 table local", "pref 32766 table main", "pref 32767 table default"}) {
                netns_.ip(family + " rule add " + std::string(rule));
            }
            EXPECT_EQ(left_to_kernel("lan0"), families(false, false)) << "as in the beginning";
        }
    }
}

TEST_F(mirror_test, a_rule_for_an_interface_concerns_the_way_back_where_it_is_checked)
{
    ip(neigh1);
    ip("route add 203.0.113.0/24 via 198.51.100.2");
    ip("rule add iif lan1 table 100");
    EXPECT_EQ(left_to_kernel("lan0"), families(false, false));
    EXPECT_EQ(to("203.0.113.1"), hop1);
    netns_.exec("sysctl -q net.ipv4.conf.lan0.rp_filter=2");
    settle();
    EXPECT_EQ(to("203.0.113.1"), "punt kernel") << "where it leaves, the answer would come in";
    netns_.exec("sysctl -q net.ipv4.conf.lan0.rp_filter=0");
    settle();
    EXPECT_EQ(to("203.0.113.1"), hop1);
}

TEST_F(mirror_test, a_rule_for_an_interface_follows_its_name)
{
    ip("rule add iif lan0 table 100");
    EXPECT_EQ(left_to_kernel("lan0"), families(true, false));
    ip("link set lan0 down");
    ip("link set lan0 name uplink0");
    ip("link set uplink0 up");
    EXPECT_EQ(left_to_kernel("lan0"), families(false, false)) << "the key is the port's first name";
    ip("link set lan1 down");
    ip("link set lan1 name lan0");
    EXPECT_EQ(left_to_kernel("lan1"), families(true, false));
}

TEST_F(mirror_test, a_rule_for_an_alternative_name_concerns_the_interface)
{
    ip("link property add dev lan1 altname uplink");
    ip("rule add iif uplink table 100");
    EXPECT_EQ(left_to_kernel("lan0"), families(false, false));
    EXPECT_EQ(left_to_kernel("lan1"), families(true, false));
}

TEST_F(mirror_test, a_rule_acts_with_its_message)
{
    std::vector<char> space(256);
    nlmsghdr *message = mnl_nlmsg_put_header(space.data());
    message->nlmsg_type = RTM_NEWRULE;
    auto *header = static_cast<fib_rule_hdr *>(mnl_nlmsg_put_extra_header(message, sizeof(fib_rule_hdr)));
    header->family = AF_INET;
    header->action = FR_ACT_BLACKHOLE;
    mnl_attr_put_u32(message, FRA_PRIORITY, 100);
    const rx_port *port = fwd_->interfaces().get(shadows_["lan0"]->ifindex);
    EXPECT_FALSE(port->untagged.kernel4);
    mirror_->apply(*message);
    port = fwd_->interfaces().get(shadows_["lan0"]->ifindex);
    EXPECT_TRUE(port->untagged.kernel4) << "it waits for no dump";
    message->nlmsg_type = RTM_DELRULE;
    mirror_->apply(*message);
    port = fwd_->interfaces().get(shadows_["lan0"]->ifindex);
    EXPECT_FALSE(port->untagged.kernel4);
}

TEST_F(mirror_test, the_default_table_counts_while_it_has_routes)
{
    ip(neigh0);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("route add throw 203.0.114.0/24");
    EXPECT_EQ(to("203.0.114.1"), "punt no_route");
    ip("route add 10.0.0.0/8 via 192.0.2.2 table default");
    EXPECT_EQ(left_to_kernel("lan0"), families(false, false)) << "it comes behind main";
    EXPECT_EQ(to("203.0.113.1"), hop0);
    EXPECT_EQ(to("10.1.1.1"), "punt kernel") << "main has nothing for it";
    EXPECT_EQ(to("203.0.114.1"), "punt kernel");
    expect_equal();
    ip("rule add pref 100 table default");
    EXPECT_EQ(left_to_kernel("lan0"), families(true, false));
    ip("rule del pref 100");
    mirror_->resync();
    expect_equal();
    ip("route add default via 192.0.2.2");
    EXPECT_EQ(to("10.1.1.1"), hop0) << "main has something for everything";
    expect_equal();
    ip("route del default");
    EXPECT_EQ(to("10.1.1.1"), "punt kernel");
    ip("route add 11.0.0.0/8 via 192.0.2.2 table default");
    ip("route del 10.0.0.0/8 table default");
    expect_equal();
    ip("link set lan0 down");
    EXPECT_EQ(to("10.1.1.1"), "punt no_route") << "the kernel removed the last route without a word";
    expect_equal();
    ip("-6 rule add pref 40000 table default");
    ip("-6 route add 2001:db8:f::/48 via 2001:db8:1::2 table default");
    EXPECT_EQ(to("2001:db8:f::1"), "punt kernel");
    ip("-6 rule del pref 40000");
    EXPECT_EQ(to("2001:db8:f::1"), "punt no_route");
}

TEST_F(mirror_test, a_route_with_a_tos_leaves_its_prefix_to_the_kernel)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("route add 203.0.113.128/25 via 192.0.2.2");
    ip("route add 203.0.113.0/24 tos 0x10 via 198.51.100.2");
    EXPECT_EQ(to("203.0.113.1"), "punt kernel");
    EXPECT_EQ(to("203.0.113.129"), hop0) << "the longer prefix comes first";
    EXPECT_EQ(mirror_->stats().special_prefixes, 1U);
    expect_equal();
    ip("route del 203.0.113.0/24 tos 0");
    EXPECT_EQ(to("203.0.113.1"), "punt kernel");
    ip("route add 203.0.112.0/22 via 192.0.2.2");
    ip("route replace 203.0.113.0/24 tos 0x10 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), "punt kernel") << "not by the shorter prefix";
    EXPECT_EQ(to("203.0.112.1"), hop0);
    expect_equal();
    mirror_->resync();
    expect_equal();
    ip("route add 203.0.113.0/24 tos 0x08 via 192.0.2.2");
    ip("route del 203.0.113.0/24 tos 0x10");
    EXPECT_EQ(to("203.0.113.1"), "punt kernel");
    ip("route add blackhole 203.0.113.0/24");
    EXPECT_EQ(to("203.0.113.1"), "punt kernel");
    ip("route del 203.0.113.0/24 tos 0x08");
    EXPECT_EQ(to("203.0.113.1").substr(0, 4), "drop");
    EXPECT_EQ(mirror_->stats().special_prefixes, 0U);
    expect_equal();
}

TEST_F(mirror_test, routes_with_a_tos_go_without_a_word)
{
    ip(neigh0);
    ip(neigh1);
    ip("nexthop add id 1 via 198.51.100.2 dev lan1");
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    ip("route add 203.0.113.0/24 tos 0x10 via 198.51.100.2");
    ip("route add 203.0.114.0/24 via 192.0.2.2");
    ip("route add 203.0.114.0/24 tos 0x10 nhid 1");
    ip("route add 192.0.2.0/25 tos 0x10 via 198.51.100.2");
    EXPECT_EQ(to("203.0.114.1"), "punt kernel");
    EXPECT_EQ(to("192.0.2.2"), "punt kernel") << "the neighbour is in that network";
    EXPECT_EQ(to("192.0.2.1"), "punt local");
    expect_equal();
    ip("nexthop del id 1");
    EXPECT_EQ(to("203.0.114.1"), hop0);
    ip("link set lan1 down");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    EXPECT_EQ(to("192.0.2.2"), hop0);
    EXPECT_EQ(mirror_->stats().special_prefixes, 0U);
    expect_equal();
}

TEST_F(mirror_test, a_route_with_a_source_leaves_its_prefix_to_the_kernel)
{
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("neigh replace 2001:db8:1::2 lladdr 02:bb:00:00:01:02 dev lan1");
    ip("-6 route add default via 2001:db8::2");
    ip("-6 route add 2001:db8:f::/48 via 2001:db8::2");
    if (test::run("ip -n " + netns_.name() + " -6 route add default from 2001:db8:5::/64 via 2001:db8:1::2").status) {
        GTEST_SKIP() << "the kernel has no routes by source (CONFIG_IPV6_SUBTREES)";
    }
    settle();
    EXPECT_EQ(to("2001:db8:e::1"), "punt kernel");
    EXPECT_EQ(to("2001:db8:f::1"), hop0) << "the destination comes first";
    expect_equal();
    ip("-6 route append default from 2001:db8:5::/64 via 2001:db8::3 dev lan0");
    ip("-6 route replace default from 2001:db8:5::/64 via 2001:db8:1::2");
    expect_equal();
    mirror_->resync();
    expect_equal();
    ip("-6 route add default from 2001:db8:6::/64 via 2001:db8:1::2");
    ip("-6 route del default from 2001:db8:5::/64");
    EXPECT_EQ(to("2001:db8:e::1"), "punt kernel");
    ip("-6 route del default from 2001:db8:6::/64");
    EXPECT_EQ(to("2001:db8:e::1"), hop0);
    ip("-6 route add 2001:db8::/80 from 2001:db8:6::/64 via 2001:db8:1::2");
    EXPECT_EQ(to("2001:db8::2"), "punt kernel") << "the neighbour is in that network";
    expect_equal();
    ip("link set lan1 down");
    EXPECT_EQ(to("2001:db8::2"), hop0);
    expect_equal();
}

TEST_F(mirror_test, shows_and_tells_why_packets_are_left_to_the_kernel)
{
    std::string news;
    mirror_->on_policy_news = [&](policy_news::event what, const std::string &text) {
        news += (what == policy_news::event::appeared ? "+ " : "- ") + text + "\n";
    };
    const auto reasons = [this] { // "lan0 IPv4: rule"
        std::vector<std::string> found;
        mirror_->visit_policies([&](const interface_policy &p) {
            for (const auto &reason : p.reasons) {
                found.push_back(p.name + (p.family == AF_INET ? " IPv4" : " IPv6") +
                                (p.kernel_in ? " kernel" : " fast") + ": " + std::string(reason.kind));
            }
        });
        return found;
    };
    ASSERT_TRUE(test::eventually([&] { // all kinds have been inspected
        settle();
        return reasons().empty();
    }));
    ip("rule add from 10.0.0.0/8 lookup 100");
    EXPECT_THAT(reasons(), testing::UnorderedElementsAre("lan0 IPv4 kernel: rule", "lan1 IPv4 kernel: rule"));
    EXPECT_THAT(news, testing::HasSubstr("+ IPv4: the kernel alone forwards: ip rule"));
    policy_set kinds = policy_obey_all;
    kinds[static_cast<std::size_t>(policy_kind::rule)] = false;
    mirror_->policies().obey(kinds);
    EXPECT_THAT(reasons(), testing::Contains("lan0 IPv4 fast: rule")) << "shown, though not obeyed";
    mirror_->policies().obey(policy_obey_all);
    ip("rule del from 10.0.0.0/8 lookup 100");
    EXPECT_THAT(news, testing::HasSubstr("- IPv4: no longer left to the kernel because of ip rule"));
    ip("link add br0 type bridge");
    ip("link set lan0 master br0");
    EXPECT_THAT(reasons(), testing::UnorderedElementsAre("lan0 IPv4 kernel: upper", "lan0 IPv6 kernel: upper"));
}

TEST_F(mirror_test, neighbours_in_use_stay_fresh_in_the_kernel)
{
    netns_.exec("sysctl -q net.ipv4.neigh.lan0.ucast_solicit=1 net.ipv4.neigh.lan0.mcast_solicit=1");
    for (const char *const last : {"2", "3", "4"}) {
        ip(std::string("neigh replace 192.0.2.") + last + " lladdr 02:bb:00:00:00:0" + last + " dev lan0 nud stale");
    }
    ip("neigh replace 192.0.2.5 lladdr 02:bb:00:00:00:05 dev lan0 nud permanent");
    ip("route add default via 192.0.2.3");
    const auto state = [this](const std::string &address) {
        return nlohmann::json::parse(netns_.ip("-j neigh show " + address))[0]["state"][0].get<std::string>();
    };
    mirror_->tend_neighbours();
    EXPECT_EQ(mirror_->stats().probes, 0U) << "not used";
    for (const char *const used : {"192.0.2.2", "203.0.113.1", "192.0.2.5"}) {
        fwd_->nexthops().mark_used(nexthop_of(used));
    }
    mirror_->tend_neighbours();
    EXPECT_EQ(mirror_->stats().probes, 2U);
    EXPECT_EQ(state("192.0.2.2"), "DELAY");
    EXPECT_EQ(state("192.0.2.3"), "DELAY") << "by the default route";
    EXPECT_EQ(state("192.0.2.4"), "STALE");
    EXPECT_EQ(state("192.0.2.5"), "PERMANENT");
    mirror_->tend_neighbours();
    EXPECT_EQ(mirror_->stats().probes, 2U) << "once is enough";
    EXPECT_EQ(to("192.0.2.2"), hop0);
}

TEST_F(mirror_test, members_of_groups_are_looked_for)
{
    ip(neigh0);
    ip("route add 203.0.113.0/24 nexthop via 192.0.2.2 nexthop via 198.51.100.2");
    ip("route add 203.0.114.0/24 via 192.0.2.77");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    mirror_->tend_neighbours();
    EXPECT_EQ(mirror_->stats().probes, 1U) << "packets that wait for 192.0.2.77 go to the kernel, which looks for it";
    const auto neighbours = nlohmann::json::parse(netns_.ip("-j neigh show 198.51.100.2"));
    ASSERT_EQ(neighbours.size(), 1U);
    EXPECT_EQ(neighbours[0]["state"][0], "INCOMPLETE");
}

TEST_F(mirror_test, a_shadow_that_belongs_to_a_bridge_is_left_to_the_kernel)
{
    const ifindex_t port = shadows_["lan0"]->ifindex;
    EXPECT_FALSE(fwd_->interfaces().get(port)->untagged.kernel_only);
    ip("link add name br0 type bridge");
    ip("link set lan0 master br0");
    EXPECT_TRUE(fwd_->interfaces().get(port)->untagged.kernel_only);
    EXPECT_FALSE(fwd_->interfaces().get(shadows_["lan1"]->ifindex)->untagged.kernel_only);
    ip("link set br0 up");
    ip("route add 203.0.113.0/24 dev br0");
    EXPECT_EQ(to("203.0.113.1"), "punt kernel");
    ip("link set lan0 nomaster");
    EXPECT_FALSE(fwd_->interfaces().get(port)->untagged.kernel_only);
    expect_equal();
}

TEST_F(mirror_test, frames_to_other_stations_are_taken_where_the_kernel_takes_them)
{
    const test::test_netns container("mirror");
    expect_promiscuous(false, "at first");
    ip("link add mv0 link lan0 type macvlan mode bridge");
    expect_promiscuous(false, "the macvlan is down");
    ip("link set mv0 up");
    EXPECT_TRUE(fwd_->interfaces().get(shadows_["lan0"]->ifindex)->untagged.promiscuous) << "at once";
    expect_promiscuous(true, "macvlan");
    EXPECT_FALSE(fwd_->interfaces().get(shadows_["lan0"]->ifindex)->untagged.kernel_only);
    ip("link set mv0 netns " + container.name());
    expect_promiscuous(false, "the macvlan is down in its new namespace");
    container.ip("link set mv0 up");
    expect_promiscuous(true, "macvlan elsewhere");
    container.ip("link del mv0");
    expect_promiscuous(false, "the macvlan is gone");
    ip("link set lan0 promisc on");
    expect_promiscuous(true, "set by hand");
    ip("link add name br0 type bridge");
    ip("link set lan0 master br0");
    ip("link set lan0 promisc off");
    expect_promiscuous(true, "bridge");
    core_->set_promiscuous(*core_->dev_get_by_name("port0"), true);
    ip("link set lan0 nomaster");
    EXPECT_TRUE(wires_[0].promiscuous()) << "by the options of the port";
    core_->set_promiscuous(*core_->dev_get_by_name("port0"), false);
    expect_promiscuous(false, "nobody wants it");
    wires_[0].refuse_promiscuous();
    ip("link set lan0 promisc on");
    settle();
    EXPECT_EQ(mirror_->stats().errors, 1U);
    EXPECT_THAT(warnings_, testing::HasSubstr("cannot be promiscuous"));
    EXPECT_TRUE(fwd_->interfaces().get(shadows_["lan0"]->ifindex)->untagged.promiscuous);
}

TEST_F(mirror_test, an_interface_that_takes_every_frame_of_a_shadow)
{
    const auto kernel_only = [this] { return fwd_->interfaces().get(shadows_["lan0"]->ifindex)->untagged.kernel_only; };
    const auto upper = [this](const std::string &kind, int message) {
        std::vector<char> space(512);
        nlmsghdr *link = mnl_nlmsg_put_header(space.data());
        link->nlmsg_type = static_cast<std::uint16_t>(message);
        static_cast<ifinfomsg *>(mnl_nlmsg_put_extra_header(link, sizeof(ifinfomsg)))->ifi_index = 1009;
        mnl_attr_put_u32(link, IFLA_LINK,
                         static_cast<std::uint32_t>(slow_->of_device(*shadows_["lan0"])->kernel_ifindex));
        nlattr *info = mnl_attr_nest_start(link, IFLA_LINKINFO);
        mnl_attr_put_strz(link, IFLA_INFO_KIND, kind.c_str());
        mnl_attr_nest_end(link, info);
        mirror_->apply(*link);
    };
    for (const std::string kind : {"ipvlan", "macsec", "of tomorrow"}) {
        upper(kind, RTM_NEWLINK);
        EXPECT_TRUE(kernel_only()) << kind;
        upper(kind, RTM_DELLINK);
        EXPECT_FALSE(kernel_only()) << kind;
    }
    for (const std::string kind : {"vxlan", "gre", "macvlan"}) {
        upper(kind, RTM_NEWLINK);
        EXPECT_FALSE(kernel_only()) << kind;
        upper(kind, RTM_DELLINK);
    }
    ip("link add mv0 link lan0 type macvlan mode passthru");
    EXPECT_TRUE(kernel_only());
    ip("link del mv0");
    EXPECT_FALSE(kernel_only());
    ip("link add mv0 link lan0 type macvlan mode private");
    ip("link add mv1 link lan0 type macvlan mode source");
    EXPECT_TRUE(kernel_only());
    ip("link del mv1");
    EXPECT_FALSE(kernel_only());
}

TEST_F(mirror_test, an_interface_gets_another_name)
{
    ip("link set lan0 down");
    ip("link set lan0 name uplink0");
    ip("link set uplink0 up");
    shadows_["uplink0"] = shadows_["lan0"];
    shadows_.erase("lan0");
    ip("neigh replace 192.0.2.2 lladdr 02:bb:00:00:00:02 dev uplink0");
    ip("route add 203.0.113.0/24 via 192.0.2.2 dev uplink0");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    expect_equal();
}

/// Makes an RTM_NEWLINK about a VLAN, for kernels without VLANs. `elsewhere`: the device below is in another namespace.
std::vector<char> vlan_link(int ifindex, int lower, std::uint16_t protocol, std::uint16_t id, unsigned mtu,
                            bool elsewhere = false)
{
    std::vector<char> space(1024);
    nlmsghdr *message = mnl_nlmsg_put_header(space.data());
    message->nlmsg_type = RTM_NEWLINK;
    auto *header = static_cast<ifinfomsg *>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
    header->ifi_index = ifindex;
    header->ifi_flags = IFF_UP | IFF_RUNNING;
    const std::uint8_t mac[] = {2, 0, 0, 0, 0, 0x56};
    mnl_attr_put(message, IFLA_ADDRESS, sizeof mac, mac);
    mnl_attr_put_u32(message, IFLA_MTU, mtu);
    mnl_attr_put_u32(message, IFLA_LINK, static_cast<std::uint32_t>(lower));
    if (elsewhere) {
        mnl_attr_put_u32(message, IFLA_LINK_NETNSID, 0);
    }
    nlattr *info = mnl_attr_nest_start(message, IFLA_LINKINFO);
    mnl_attr_put_strz(message, IFLA_INFO_KIND, "vlan");
    nlattr *data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
    mnl_attr_put_u16(message, IFLA_VLAN_ID, id);
    mnl_attr_put_u16(message, IFLA_VLAN_PROTOCOL, htons(protocol));
    mnl_attr_nest_end(message, data);
    mnl_attr_nest_end(message, info);
    return space;
}

std::vector<char> neighbour(int ifindex, const std::string &address)
{
    std::vector<char> space(256);
    nlmsghdr *message = mnl_nlmsg_put_header(space.data());
    message->nlmsg_type = RTM_NEWNEIGH;
    auto *header = static_cast<ndmsg *>(mnl_nlmsg_put_extra_header(message, sizeof(ndmsg)));
    const ip_addr addr = test::to_addr(address).value();
    header->ndm_family = addr.family;
    header->ndm_ifindex = ifindex;
    header->ndm_state = NUD_REACHABLE;
    const std::uint8_t mac[] = {2, 0xbb, 0, 0, 0, 9};
    mnl_attr_put(message, NDA_DST, address_bits(addr.family) / 8, addr.bytes.data());
    mnl_attr_put(message, NDA_LLADDR, sizeof mac, mac);
    return space;
}

std::vector<char> route(int oif, const std::string &net, unsigned len, const std::string &gateway)
{
    std::vector<char> space(256);
    nlmsghdr *message = mnl_nlmsg_put_header(space.data());
    message->nlmsg_type = RTM_NEWROUTE;
    auto *header = static_cast<rtmsg *>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
    const ip_addr dst = test::to_addr(net).value(), via = test::to_addr(gateway).value();
    header->rtm_family = dst.family;
    header->rtm_dst_len = static_cast<std::uint8_t>(len);
    header->rtm_table = RT_TABLE_MAIN;
    header->rtm_type = RTN_UNICAST;
    mnl_attr_put(message, RTA_DST, address_bits(dst.family) / 8, dst.bytes.data());
    mnl_attr_put(message, RTA_GATEWAY, address_bits(via.family) / 8, via.bytes.data());
    mnl_attr_put_u32(message, RTA_OIF, static_cast<std::uint32_t>(oif));
    return space;
}

TEST_F(mirror_test, vlans_on_a_shadow)
{
    constexpr int tagged = 1005, stacked = 1007, elsewhere = 1009;
    const auto apply = [this](const std::vector<char> &message) {
        mirror_->apply(*reinterpret_cast<const nlmsghdr *>(message.data()));
    };
    const auto header_to = [this](const std::string &address) {
        const adjacency &a = *fwd_->nexthops().get(nexthop_of(address));
        return std::vector<int>(a.rewrite, a.rewrite + a.rewrite_len);
    };
    const int lan0 = slow_->of_device(*shadows_["lan0"])->kernel_ifindex;
    apply(vlan_link(tagged, lan0, 0x88A8, 5, 1496));
    apply(vlan_link(stacked, tagged, 0x8100, 7, 1400));
    apply(vlan_link(elsewhere, 1, 0x8100, 9, 1500));
    apply(neighbour(tagged, "10.5.0.2"));
    apply(neighbour(stacked, "10.7.0.2"));
    apply(neighbour(stacked, "2001:db8:7::2"));
    apply(route(tagged, "10.50.0.0", 16, "10.5.0.2"));
    apply(route(stacked, "10.70.0.0", 16, "10.7.0.2"));
    apply(route(stacked, "2001:db8:70::", 48, "2001:db8:7::2"));
    apply(route(elsewhere, "10.90.0.0", 16, "10.9.0.2"));
    EXPECT_EQ(to("10.50.0.1"), "port0 02:bb:00:00:00:09 mtu 1496");
    EXPECT_THAT(header_to("10.50.0.1"),
                testing::ElementsAre(2, 0xbb, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0x56, 0x88, 0xa8, 0, 5, 8, 0));
    EXPECT_EQ(to("10.70.0.1"), "port0 02:bb:00:00:00:09 mtu 1400");
    EXPECT_THAT(header_to("10.70.0.1"),
                testing::ElementsAre(2, 0xbb, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0x56, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 7, 8, 0));
    EXPECT_THAT(header_to("2001:db8:70::1"), testing::ElementsAre(2, 0xbb, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0x56, 0x88, 0xa8,
                                                                  0, 5, 0x81, 0, 0, 7, 0x86, 0xdd));
    EXPECT_EQ(fwd_->nexthops().get(nexthop_of("10.70.0.1"))->oif, std::uint32_t{stacked});
    EXPECT_EQ(to("10.90.0.1"), "punt kernel") << "a VLAN on lo is the kernel's";
    apply(vlan_link(tagged, lan0, 0x8100, 6, 1300));
    EXPECT_THAT(header_to("10.50.0.1"),
                testing::ElementsAre(2, 0xbb, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0x56, 0x81, 0, 0, 6, 8, 0));
    EXPECT_EQ(header_to("10.70.0.1")[15], 6) << "what is below changed";
    set_carrier(*core_->dev_get_by_name("port0"), false);
    EXPECT_EQ(to("10.70.0.1"), "punt resolve");
}

TEST_F(mirror_test, a_vlan_on_a_device_of_another_namespace_is_the_kernels)
{
    constexpr int lower = 1005, upper = 1007;
    const auto apply = [this](const std::vector<char> &message) {
        mirror_->apply(*reinterpret_cast<const nlmsghdr *>(message.data()));
    };
    const int lan0 = slow_->of_device(*shadows_["lan0"])->kernel_ifindex;
    apply(vlan_link(upper, lan0, 0x8100, 7, 1400, true));
    apply(neighbour(upper, "10.7.0.2"));
    apply(route(upper, "10.70.0.0", 16, "10.7.0.2"));
    EXPECT_EQ(to("10.70.0.1"), "punt kernel") << "the ifindex counts in the other namespace";

    apply(vlan_link(lower, lan0, 0x8100, 5, 1400));
    apply(vlan_link(upper, lower, 0x8100, 7, 1400));
    EXPECT_EQ(to("10.70.0.1"), "port0 02:bb:00:00:00:09 mtu 1400");
    std::vector<char> gone = vlan_link(lower, lan0, 0x8100, 5, 1400);
    reinterpret_cast<nlmsghdr *>(gone.data())->nlmsg_type = RTM_DELLINK;
    apply(gone);
    EXPECT_EQ(to("10.70.0.1"), "punt kernel");
    apply(vlan_link(lower, lan0, 0x8100, 5, 1400));
    EXPECT_EQ(to("10.70.0.1"), "punt kernel") << "another device with the ifindex of the one that went";
}

TEST_F(mirror_test, a_wide_local_route_comes_before_longer_ones_of_the_main_table)
{
    ip(neigh0);
    ip("route add 203.0.113.0/25 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("route add local 203.0.113.0/24 dev lo");
    EXPECT_EQ(to("203.0.113.1"), "punt local");
    expect_equal();
    ip("route del local 203.0.113.0/24 dev lo");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    expect_equal();
}

TEST_F(mirror_test, a_shadow_that_comes_and_goes)
{
    ip(neigh0);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    net_device &port0 = *core_->dev_get_by_name("port0");
    slow_->remove_shadow(*slow_->of_device(port0), false);
    mirror_->device_changed(port0);
    EXPECT_EQ(to("203.0.113.1"), "punt kernel") << "the kernel has it alone";
    shadows_.erase("lan0");
    expect_equal();
    slow_->set_carrier(slow_->add_shadow(port0, "lan0"), true);
    shadows_["lan0"] = &port0;
    ip(neigh0);
    EXPECT_EQ(to("203.0.113.1"), hop0);
    expect_equal();
    ip("link del lan0");
    EXPECT_EQ(to("203.0.113.1"), "punt no_route");
}

TEST_F(mirror_test, a_reply_that_waits_for_a_thread_that_was_away_is_not_lost)
{
    ip(neigh0);
    ip_batch(many_routes(20'000, "192.0.2.2"));
    std::this_thread::sleep_for(std::chrono::milliseconds(1200)); // the IPv6 settings of the links are due to be read
    mirror_->process(); // ends before it has read all notifications, and has asked for the settings
    ASSERT_FALSE(mirror_->settled());
    std::this_thread::sleep_for(std::chrono::milliseconds(1200)); // longer than a load waits for a reply
    settle();
    EXPECT_EQ(mirror_->stats().resyncs, 1U);
}

TEST_F(mirror_test, five_thousand_routes_at_once)
{
    ip(neigh0);
    ip_batch(many_routes(5000, "192.0.2.2"));
    settle();
    EXPECT_EQ(to("10.19.135.1"), hop0);
    EXPECT_EQ(mirror_->stats().resyncs, 1U) << "nothing was lost";
    expect_equal();
    ip("link set lan0 down");
    EXPECT_EQ(to("10.19.135.1"), "punt no_route");
    expect_equal();
}

TEST_F(mirror_test, lost_messages_are_made_good_without_a_gap)
{
    mirror_.reset();
    netns_.ip(neigh0);
    netns_.ip("route add 203.0.113.0/24 via 192.0.2.2");
    netns_.ip("route add 203.0.114.0/24 via 192.0.2.2");
    mirror_ = std::make_unique<mirror>(*fwd_, *slow_, netns_.name(), 4096);
    const std::uint32_t address = to_ipv4(test::to_addr("203.0.113.1")->bytes);
    const std::uint32_t nexthop = fwd_->routes4().lookup(address);
    std::atomic<bool> stop{false};
    std::atomic<unsigned> gaps{0};
    std::thread reader([&] {
        while (!stop) {
            gaps += fwd_->routes4().lookup(address) != nexthop;
        }
    });
    auto commands = many_routes(2000, "192.0.2.2");
    commands.push_back("route del 203.0.114.0/24");
    commands.push_back("neigh replace 192.0.2.3 lladdr 02:bb:00:00:00:03 dev lan0");
    ip_batch(commands);
    settle();
    stop = true;
    reader.join();
    EXPECT_GE(mirror_->stats().resyncs, 2U);
    EXPECT_EQ(gaps, 0U);
    EXPECT_EQ(to("203.0.114.1"), "punt no_route");
    EXPECT_EQ(to("192.0.2.3"), "port0 02:bb:00:00:00:03 mtu 1500");
    expect_equal();
}

TEST_F(mirror_test, a_restart_ends_where_it_was)
{
    ip(neigh0);
    ip_batch(many_routes(300, "192.0.2.2"));
    settle();
    const test::fib_text before = test::actual_fib(*fwd_);
    mirror_.reset();
    EXPECT_TRUE(test::actual_fib(*fwd_).empty());
    mirror_ = std::make_unique<mirror>(*fwd_, *slow_, netns_.name());
    EXPECT_EQ(test::difference(before, test::actual_fib(*fwd_)), "");
}

TEST_F(mirror_test, random_changes_end_up_equal)
{
    std::mt19937 random(20261);
    const auto pick = [&](std::initializer_list<const char *> from) {
        return std::string(from.begin()[random() % from.size()]);
    };
    for (int round = 0; round < 25; ++round) {
        std::vector<std::string> commands;
        for (int i = 0; i < 30; ++i) {
            const bool v6 = random() % 2;
            const std::string prefix = v6 ? pick({"::/0", "2001:db8:f::/48", "2001:db8:f:1::/64", "2001:db8::2/128"})
                                          : pick({"default", "203.0.113.0/24", "203.0.113.128/25", "192.0.2.2/32"});
            const std::string metric =
                std::string(v6 ? pick({"", "", "", " from 2001:db8:5::/64"}) : pick({"", "", "", " tos 0x10"})) +
                pick({"", " metric 5", " metric 2048"});
            const std::string hop =
                v6 ? pick({" via 2001:db8::2", " via 2001:db8:1::2", " via 2001:db8::3", " dev lan0", " dev lan1",
                           " nexthop via 2001:db8::2 nexthop via 2001:db8:1::2",
                           " nexthop via 2001:db8::3 weight 2 nexthop via 2001:db8:1::2", " nhid 1", " nhid 10"})
                   : pick({" via 192.0.2.2", " via 198.51.100.2", " via 192.0.2.3", " dev lan0", " dev lan1",
                           " nexthop via 198.51.100.2 nexthop via 192.0.2.2",
                           " nexthop via 198.51.100.2 weight 3 nexthop via 192.0.2.3", " nhid 2", " nhid 10"});
            const std::string neighbour =
                pick({"192.0.2.2 dev lan0", "192.0.2.3 dev lan0", "198.51.100.2 dev lan1", "2001:db8::2 dev lan0",
                      "2001:db8::3 dev lan0", "2001:db8:1::2 dev lan1"});
            switch (random() % 9) {
            case 8:
                commands.push_back(pick(
                    {"nexthop replace id 1 via 2001:db8::2 dev lan0", "nexthop replace id 1 via 2001:db8:1::2 dev lan1",
                     "nexthop replace id 2 via 192.0.2.2 dev lan0", "nexthop replace id 2 via 198.51.100.2 dev lan1",
                     "nexthop replace id 10 group 1,2/2,1", "nexthop replace id 10 group 2",
                     "nexthop replace id 10 group 2/1", "nexthop del id 1", "nexthop del id 10"}));
                break;
            case 0:
            case 1:
                commands.push_back("route " + pick({"add ", "append "}) + prefix + hop + metric);
                break;
            case 2:
                commands.push_back("route replace " + prefix + hop + metric);
                break;
            case 3:
                commands.push_back("route replace " + pick({"blackhole ", "unreachable "}) + prefix + metric);
                break;
            case 4:
                commands.push_back("route del " + prefix + (random() % 2 ? hop : "") + metric);
                break;
            case 5:
                commands.push_back("neigh del " + neighbour);
                break;
            default:
                commands.push_back("neigh replace " + neighbour + " lladdr 02:bb:00:00:00:0" + pick({"1", "2"}) +
                                   pick({" nud stale", " nud permanent"}));
            }
        }
        if (round % 5 == 4) {
            commands.push_back("link set lan0 down");
            commands.push_back("link set lan0 up");
            commands.push_back("addr replace 2001:db8::1/64 dev lan0 nodad");
        }
        ip_batch(commands);
        expect_equal();
        if (HasFailure()) {
            for (const std::string &command : commands) {
                std::printf("  ip %s\n", command.c_str());
            }
            return;
        }
    }
    EXPECT_EQ(mirror_->stats().resyncs, 1U);
}

/// A mirror with tables that a few routes fill.
class small_tables_test : public mirror_test
{
protected:
    small_tables_test() : mirror_test({.nexthops = 40, .groups4 = 8, .groups6 = 64}) { settle(); }

    bool all_have_room()
    {
        return test::eventually([this] {
            settle();
            return mirror_->stats().without_room == 0;
        });
    }
    /// The next hop of the longest prefix in `fib` that covers an address.
    static std::string look_up(const test::fib_text &fib, const ip_addr &addr)
    {
        for (unsigned len = address_bits(addr.family) + 1; len-- > 0;) {
            if (const auto found = fib.find(make_prefix(addr, len)); found != fib.end()) {
                return found->second;
            }
        }
        return "punt no_route";
    }
    /// Expects that the first address of each prefix has the expected next hop, or is punted because a table is full.
    /// Returns the number of those that are punted.
    unsigned expect_equal_or_punted()
    {
        std::string different;
        unsigned punted = 0;
        test::eventually([&] {
            settle();
            const test::fib_text expected = test::fib_expectation(netns_, shadows_).fib();
            different.clear();
            punted = 0;
            for (const auto &[prefix, unused] : expected) {
                const std::string address = test::to_text(prefix).substr(0, test::to_text(prefix).find('/'));
                const std::string found = to(address), wanted = look_up(expected, prefix.addr);
                punted += found == "punt table_full";
                different += found == wanted || found == "punt table_full"
                                 ? ""
                                 : address + " is: " + found + ", expected: " + wanted + "\n";
            }
            return different.empty();
        });
        EXPECT_EQ(different, "");
        return punted;
    }
};

std::vector<std::string> gateways(const std::string &verb, unsigned n)
{
    std::vector<std::string> commands;
    for (unsigned i = 0; i < n; ++i) {
        commands.push_back("route " + verb + " 10.1." + std::to_string(i) + ".0/24 via 192.0.2." +
                           std::to_string(100 + i));
    }
    return commands;
}

TEST_F(small_tables_test, a_prefix_whose_new_next_hop_has_no_room_is_punted)
{
    ip(neigh0);
    ip("route add 203.0.113.0/24 via 192.0.2.2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip_batch(gateways("add", 40));
    settle();
    EXPECT_GT(mirror_->stats().without_room, 0U);
    EXPECT_THAT(warnings_, testing::HasSubstr("next hops: all 40 are in use: no room for"));
    ip("route replace 203.0.113.0/24 via 198.51.100.9");
    EXPECT_EQ(to("203.0.113.1"), "punt table_full") << "not by its old one";
    EXPECT_GT(expect_equal_or_punted(), 1U);
    ip_batch(gateways("del", 40));
    EXPECT_TRUE(all_have_room()) << "it is tried again";
    EXPECT_EQ(to("203.0.113.1"), "punt resolve");
    EXPECT_THAT(warnings_, testing::HasSubstr("all prefixes have room again"));
    expect_equal();
}

TEST_F(small_tables_test, a_mirror_that_cannot_start_leaves_nothing_behind)
{
    const auto descriptors = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                             std::filesystem::directory_iterator());
    };
    mirror_.reset();
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const auto open = descriptors();
    const auto start = [this] {
        try {
            mirror_ = std::make_unique<mirror>(*fwd_, *slow_, netns_.name());
        } catch (const error &) {
        }
        return mirror_ != nullptr;
    };
    unsigned refused = 0;
    for (int round = 0; round < (test::optimized ? 20 : 10); ++round) { // the table has next hops for 8 mirrors
        bool started = false;
        for (int more = 1; !started; ++more) {
            const rlimit few{.rlim_cur = static_cast<rlim_t>(open + more), .rlim_max = before.rlim_max};
            setrlimit(RLIMIT_NOFILE, &few);
            started = start();
            setrlimit(RLIMIT_NOFILE, &before);
            refused += started ? 0 : 1;
            mirror_.reset();
            fwd_->reclaim();
            ASSERT_EQ(descriptors(), open);
            ASSERT_EQ(fwd_->routes4().size() + fwd_->routes6().size(), 0U);
        }
    }
    EXPECT_GT(refused, test::optimized ? 20U : 10U);
    ASSERT_TRUE(test::eventually([&] {
        fwd_->reclaim();
        return start();
    })) << "once grace periods are over";
    EXPECT_TRUE(all_have_room()) << "once grace periods are over";
    expect_equal();
}

TEST_F(small_tables_test, a_group_whose_members_have_no_room_is_punted)
{
    ip(neigh0);
    ip("nexthop add id 1 via 192.0.2.2 dev lan0");
    ip("nexthop add id 2 via 192.0.2.3 dev lan0");
    ip("nexthop add id 10 group 1");
    ip("route add 203.0.113.0/24 nhid 10");
    ip("route add 203.0.114.0/24 nhid 10");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip_batch(gateways("add", 40));
    settle();
    ip("nexthop replace id 10 group 1/2");
    EXPECT_EQ(to("203.0.113.1"), "punt table_full") << "half a group is another one";
    const auto without_room = mirror_->stats().without_room;
    ip("route del 203.0.114.0/24");
    EXPECT_EQ(mirror_->stats().without_room, without_room - 1) << "prefixes are counted";
    ip_batch(gateways("del", 40));
    EXPECT_TRUE(all_have_room());
    expect_equal();
}

TEST_F(small_tables_test, a_longer_prefix_without_room_is_not_left_to_the_shorter_one)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add 10.0.0.0/8 via 192.0.2.2");
    ip("route add 10.1.7.0/24 via 192.0.2.2");
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("route add 2001:db8:f000::/36 via 2001:db8::2");
    std::vector<std::string> add, remove;
    for (int i = 0; i < 16; ++i) {
        add.push_back("route add 10.1." + std::to_string(i) + ".1/32 via 198.51.100.2");
        add.push_back("route add 2001:db8:f000:" + std::to_string(i) + "::1/128 via 2001:db8:1::2");
    }
    ip_batch(add);
    settle();
    EXPECT_EQ(to("10.1.0.1"), hop1);
    EXPECT_EQ(to("10.1.7.1"), "punt table_full");
    EXPECT_EQ(to("10.1.15.1"), "punt table_full");
    EXPECT_EQ(to("10.1.16.1"), hop0);
    EXPECT_EQ(to("2001:db8:f000:15::1"), "punt table_full");
    EXPECT_EQ(to("2001:db8:f001::1"), hop0);
    EXPECT_THAT(warnings_, testing::HasSubstr("prefixes longer than /24: no room for"));
    expect_equal_or_punted();
    for (int i = 0; i < 15; ++i) {
        remove.push_back("route del 10.1." + std::to_string(i) + ".1/32");
        remove.push_back("route del 2001:db8:f000:" + std::to_string(i) + "::1/128");
    }
    ip_batch(remove);
    EXPECT_TRUE(all_have_room());
    EXPECT_EQ(to("10.1.7.1"), hop0);
    EXPECT_EQ(to("10.1.15.1"), hop1);
    expect_equal();
}

TEST_F(small_tables_test, a_prefix_with_room_does_not_take_the_packets_of_a_longer_one_without)
{
    const auto filler = [](int i) { return " 2000:" + std::to_string(100 * i) + "::/32 via 2001:db8::9"; };
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    int last = 0;
    for (; mirror_->stats().without_room == 0; ++last) { // each takes a group
        ip("route add" + filler(last));
    }
    ip("route add 2400::1/128 via 2001:db8:1::9");
    EXPECT_EQ(to("2400::1"), "punt table_full");
    for (int i = 0; i < 3; ++i) { // the last route added took no group
        ip("route del" + filler(--last));
    }
    mirror_->process();
    ip("route add 2400::/32 via 2001:db8::2");
    EXPECT_EQ(to("2400::1"), "punt table_full");
    while (last > 0) {
        ip("route del" + filler(--last));
    }
    EXPECT_TRUE(all_have_room());
    EXPECT_EQ(to("2400::1"), "punt resolve");
    EXPECT_EQ(to("2400::2"), hop0);
    expect_equal();
}

TEST_F(small_tables_test, random_changes_of_nested_prefixes)
{
    std::mt19937 random(20262);
    ip(neigh0);
    ip(neigh1);
    unsigned punted = 0;
    for (int round = 0; round < 20; ++round) {
        std::vector<std::string> commands;
        for (int i = 0; i < 40; ++i) {
            const bool v6 = random() % 2;
            const unsigned bits = v6 ? 128 : 32;
            ip_addr addr{static_cast<std::uint8_t>(v6 ? AF_INET6 : AF_INET), {}};
            for (unsigned byte = 0; byte < bits / 8; ++byte) {
                addr.bytes[byte] = static_cast<std::uint8_t>(byte < (v6 ? 4U : 2U) ? 0x20U : random() % 2);
            }
            const std::string prefix = test::to_text(make_prefix(addr, bits / 4 + random() % (bits * 3 / 4 + 1)));
            const std::string host = std::to_string(2 + random() % 24);
            const std::string gateway = v6 ? (random() % 2 ? "2001:db8::" : "2001:db8:1::") + host
                                           : (random() % 2 ? "192.0.2." : "198.51.100.") + host;
            commands.push_back((random() % 3 ? "route replace " : "route del ") + prefix + " via " + gateway);
        }
        ip_batch(commands);
        if (round % 4 == 3) {
            netns_.ip("route flush root 32.0.0.0/8");
            netns_.ip("-6 route flush root 2020::/16");
        }
        punted += expect_equal_or_punted();
        if (round % 4 == 3) {
            EXPECT_TRUE(all_have_room());
            expect_equal();
        }
        if (HasFailure()) {
            return;
        }
    }
    EXPECT_GT(punted, 100U);
}

} // namespace
} // namespace halfpoll
