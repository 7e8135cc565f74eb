// SPDX-License-Identifier: BSD-3-Clause
// The settings of a kernel's namespace that are read every second: as reasons of policy, and what makes a flow.
#include "forward/events/epoll_set.hpp"
#include "forward/mirror/multipath_mirror.hpp"
#include "forward/policy/policy.hpp"
#include "forward/policy/sysctl_source.hpp"
#include "test_netns.hpp"

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <functional>
#include <optional>
#include <set>
#include <string>

using namespace halfpoll;

namespace
{

using texts = std::set<std::string>;

class policy_sysctl_test : public testing::Test
{
protected:
    policy_sysctl_test()
    {
        netns_.exec("sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        netns_.ip("link add lan0 type veth peer name wan0");
        source_.emplace(policies_, events_, netns_.name());
    }
    void set(const std::string &settings) const { netns_.exec("sysctl -q " + settings); }

    texts reasons() const
    {
        texts found;
        policies_.visit([&](policy_kind kind, const policy_reason &reason) {
            if (kind == policy_kind::sysctl) {
                found.insert(reason.text);
            }
        });
        return found;
    }
    /// Runs turns of the control loop until these are the reasons.
    void expect_reasons(const texts &wanted)
    {
        EXPECT_TRUE(test::eventually([&] {
            source_->process();
            return reasons() == wanted;
        })) << testing::PrintToString(reasons());
    }
    bool kernel_forwards(std::uint8_t family, policy_side side, const std::string &name)
    {
        const std::string index = netns_.exec("cat /sys/class/net/" + name + "/ifindex");
        return policies_.kernel_forwards(family, side, {.ifindex = std::stoi(index), .name = name});
    }

    test::test_netns netns_{"sysctl"};
    epoll_set events_;
    policy policies_;
    std::optional<sysctl_source> source_;
};

TEST_F(policy_sysctl_test, a_router_with_the_kernels_defaults_has_no_reason)
{
    EXPECT_EQ(reasons(), texts{"sysctl: not inspected yet"});
    expect_reasons({});
}

TEST_F(policy_sysctl_test, settings_of_all)
{
    set("net.ipv4.ip_forward_use_pmtu=1 net.ipv4.conf.all.route_localnet=1 net.ipv6.conf.all.proxy_ndp=1");
    expect_reasons({"sysctl net.ipv4.ip_forward_use_pmtu", "sysctl net.ipv4.conf.all.route_localnet",
                    "sysctl net.ipv6.conf.all.proxy_ndp"});
    set("net.ipv4.ip_forward_use_pmtu=0 net.ipv4.conf.all.route_localnet=0 net.ipv6.conf.all.proxy_ndp=0");
    expect_reasons({});
}

TEST_F(policy_sysctl_test, route_localnet_of_an_interface)
{
    for (unsigned kind = 0; kind < static_cast<unsigned>(policy_kind::sysctl); kind++) {
        policies_.replace(static_cast<policy_kind>(kind), {});
    }
    set("net.ipv4.conf.lan0.route_localnet=1");
    expect_reasons({"sysctl net.ipv4.conf.lan0.route_localnet"});
    EXPECT_TRUE(kernel_forwards(AF_INET, policy_side::in, "lan0"));
    EXPECT_FALSE(kernel_forwards(AF_INET, policy_side::in, "wan0"));
    EXPECT_FALSE(kernel_forwards(AF_INET6, policy_side::in, "lan0"));
    EXPECT_FALSE(kernel_forwards(AF_INET, policy_side::out, "lan0"));
}

TEST_F(policy_sysctl_test, accept_local_counts_with_a_reverse_path_check)
{
    set("net.ipv4.conf.lan0.accept_local=1 net.ipv4.conf.wan0.rp_filter=1 net.ipv4.ip_forward_use_pmtu=1");
    expect_reasons({"sysctl net.ipv4.ip_forward_use_pmtu"});
    set("net.ipv4.conf.lan0.rp_filter=2 net.ipv4.ip_forward_use_pmtu=0");
    expect_reasons({"sysctl net.ipv4.conf.lan0.accept_local"});
    set("net.ipv4.conf.all.accept_local=1 net.ipv4.conf.lan0.accept_local=0 net.ipv4.conf.lan0.rp_filter=0");
    expect_reasons({"sysctl net.ipv4.conf.all.accept_local"});
}

TEST_F(policy_sysctl_test, redirects_that_are_accepted)
{
    set("net.ipv4.conf.all.accept_redirects=1 net.ipv4.conf.lan0.accept_redirects=0");
    expect_reasons({"sysctl net.ipv4.conf.wan0.accept_redirects"});
    set("net.ipv4.conf.all.accept_redirects=0 net.ipv6.conf.lan0.forwarding=0 net.ipv6.conf.lan0.accept_redirects=1");
    expect_reasons({"sysctl net.ipv6.conf.lan0.accept_redirects"});
    set("net.ipv6.conf.lan0.forwarding=1 net.ipv4.conf.wan0.forwarding=0 net.ipv4.conf.wan0.accept_redirects=1");
    expect_reasons({"sysctl net.ipv4.conf.wan0.accept_redirects"});
    set("net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0"); // then redirects of both families are accepted
    expect_reasons({});
}

TEST_F(policy_sysctl_test, a_namespace_that_cannot_be_entered_is_a_doubt)
{
    source_.emplace(policies_, events_, "no-such-namespace");
    ASSERT_EQ(reasons().size(), 1U);
    EXPECT_NE(reasons().begin()->find("sysctl: network namespace"), std::string::npos) << *reasons().begin();
}

TEST_F(policy_sysctl_test, what_makes_a_flow_is_followed)
{
    nexthop_table table([](std::function<void()> fn) { fn(); });
    multipath_mirror follower(table, netns_.name());
    EXPECT_EQ(table.multipath4(), multipath_policy{});
    set("net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=3 "
        "net.ipv6.fib_multipath_hash_fields=2056");
    EXPECT_TRUE(test::eventually([&] {
        follower.process();
        return table.multipath4() == multipath_policy{multipath_kind::l4} &&
               table.multipath6() == multipath_policy{multipath_kind::custom, 2056};
    }));
}

} // namespace
