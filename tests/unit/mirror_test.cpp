// SPDX-License-Identifier: BSD-3-Clause
#include "fake_wire.hpp"
#include "fib_checker.hpp"

#include "mirror.hpp"

#include <gmock/gmock.h>
#include <rte_mempool.h>

#include <fstream>
#include <poll.h>
#include <random>

namespace halfpoll
{
namespace
{

/// Two ports, shadows lan0 (192.0.2.1/24, 2001:db8:0::1/64) and lan1 (198.51.100.1/24, 2001:db8:1::1/64), a forwarder
/// and a mirror.
class mirror_test : public testing::Test
{
protected:
    mirror_test()
    {
        pool_ = rte_pktmbuf_pool_create("mirror_test", 2047, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
        runtime_options options;
        options.warn = [this](const std::string &text) { warnings_ += text + "\n"; };
        rt_ = std::make_unique<runtime>(options);
        core_ = std::make_unique<net_core>(*rt_, pool_);
        slow_path_options slow_options;
        slow_options.netns = netns_.name();
        slow_ = std::make_unique<slow_path>(*core_, slow_options);
        fwd_ = std::make_unique<forwarder>(*core_, slow_.get());
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

    /// An `ip` command, and the mirror has seen its effect.
    void ip(const std::string &command)
    {
        netns_.ip(command);
        mirror_->process();
    }
    /// Turns of the control loop until nothing is left.
    void settle()
    {
        pollfd p{.fd = mirror_->fd(), .events = POLLIN, .revents = 0};
        while (poll(&p, 1, 0) > 0) {
            mirror_->process();
        }
    }
    /// Commands that may fail, in one process.
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
    void set_carrier(net_device &dev, bool up)
    {
        dev.carrier = up;
        dev.running = up;
        slow_->set_carrier(*slow_->of_device(dev), up);
        mirror_->device_changed(dev);
        mirror_->process();
    }

    /// What happens to a packet to that address.
    std::string to(const std::string &address)
    {
        const ip_addr addr = test::to_addr(address).value();
        const std::uint32_t nexthop =
            addr.family == AF_INET ? fwd_->routes4().lookup(to_ipv4(addr.bytes)) : fwd_->routes6().lookup(addr.bytes);
        return test::to_text(*fwd_->nexthops().get(nexthop));
    }
    /// The whole table agrees with what `ip` shows.
    void expect_equal()
    {
        std::string different;
        test::eventually([&] { // the kernel may still be at work on its own IPv6 routes
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
    EXPECT_EQ(to("10.1.1.1"), "punt other") << "the kernel forwards";
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
    expect_equal();
}

TEST_F(mirror_test, multipath_takes_the_first_next_hop_that_can_be_used)
{
    ip(neigh0);
    ip(neigh1);
    ip("route add 203.0.113.0/24 nexthop via 192.0.2.2 nexthop via 198.51.100.2");
    EXPECT_EQ(to("203.0.113.1"), hop0);
    net_device &port0 = *core_->dev_get_by_name("port0");
    set_carrier(port0, false);
    EXPECT_EQ(to("203.0.113.1"), hop1);
    expect_equal();
    set_carrier(port0, true);
    ip(neigh0);
    EXPECT_EQ(to("203.0.113.1"), hop0);
    ip("route del 203.0.113.0/24");
    EXPECT_EQ(to("203.0.113.1"), "punt no_route");
    set_carrier(port0, false);
    expect_equal();
}

TEST_F(mirror_test, ipv6_multipath_one_by_one)
{
    ip("neigh replace 2001:db8::2 lladdr 02:bb:00:00:00:02 dev lan0");
    ip("neigh replace 2001:db8:1::2 lladdr 02:bb:00:00:01:02 dev lan1");
    ip("-6 route add 2001:db8:f::/48 nexthop via 2001:db8::2 nexthop via 2001:db8:1::2");
    EXPECT_EQ(to("2001:db8:f::1"), hop0);
    ip("-6 route del 2001:db8:f::/48 via 2001:db8::2");
    EXPECT_EQ(to("2001:db8:f::1"), hop1);
    expect_equal();
    ip("-6 route append 2001:db8:f::/48 via 2001:db8::3 dev lan0");
    ip("-6 route append 2001:db8:f::/48 via 2001:db8::2 dev lan0");
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
    EXPECT_EQ(to("203.0.113.1"), "punt other") << "the kernel has it alone";
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

std::vector<std::string> many_routes(int n, const std::string &via)
{
    std::vector<std::string> commands;
    for (int i = 0; i < n; ++i) {
        commands.push_back("route add 10." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ".0/24 via " +
                           via);
    }
    return commands;
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
    mirror_->process();
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
            const std::string prefix = v6 ? pick({"default", "2001:db8:f::/48", "2001:db8:f:1::/64", "2001:db8::2/128"})
                                          : pick({"default", "203.0.113.0/24", "203.0.113.128/25", "192.0.2.2/32"});
            const std::string metric = pick({"", " metric 5", " metric 2048"});
            const std::string hop =
                v6 ? pick({" via 2001:db8::2", " via 2001:db8:1::2", " via 2001:db8::3", " dev lan0", " dev lan1",
                           " nexthop via 2001:db8::2 nexthop via 2001:db8:1::2"})
                   : pick({" via 192.0.2.2", " via 198.51.100.2", " via 192.0.2.3", " dev lan0", " dev lan1",
                           " nexthop via 198.51.100.2 nexthop via 192.0.2.2"});
            const std::string neighbour =
                pick({"192.0.2.2 dev lan0", "192.0.2.3 dev lan0", "198.51.100.2 dev lan1", "2001:db8::2 dev lan0",
                      "2001:db8::3 dev lan0", "2001:db8:1::2 dev lan1"});
            switch (random() % 8) {
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
            if (v6 && commands.back().starts_with("route")) {
                commands.back().insert(0, "-6 ");
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

} // namespace
} // namespace halfpoll
