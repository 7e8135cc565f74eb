// SPDX-License-Identifier: BSD-3-Clause
#include "test_netns.hpp"

#include "forward/events/epoll_set.hpp"
#include "forward/netlink/netlink.hpp"
#include "forward/policy/nft_inspection.hpp"
#include "forward/policy/nft_ruleset.hpp"
#include "forward/policy/nft_source.hpp"
#include "forward/policy/policy.hpp"

#include <halfpoll/error.hpp>

#include <gmock/gmock.h>
#include <libmnl/libmnl.h>

#include <arpa/inet.h>
#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <linux/capability.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace halfpoll
{
namespace
{

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

/// A reason in one line: its text, family, side and device.
std::string describe(const policy_reason &reason)
{
    const std::string family = reason.family == AF_INET ? "IPv4" : reason.family == AF_INET6 ? "IPv6" : "both";
    const std::string device = reason.device.empty() ? "" : " " + reason.device;
    return reason.text + ": " + family + (reason.side == policy_side::in ? " in" : " out") + device;
}

/// Takes CAP_NET_ADMIN from this thread until the end of the block.
class without_net_admin
{
public:
    without_net_admin()
    {
        syscall(SYS_capget, &header_, before_.data());
        auto now = before_;
        now[0].effective &= ~(1U << CAP_NET_ADMIN);
        EXPECT_EQ(syscall(SYS_capset, &header_, now.data()), 0);
    }
    ~without_net_admin() { EXPECT_EQ(syscall(SYS_capset, &header_, before_.data()), 0); }
    without_net_admin(const without_net_admin &) = delete;
    without_net_admin &operator=(const without_net_admin &) = delete;

private:
    __user_cap_header_struct header_{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> before_{};
};

/// A namespace with the interfaces lan0 and lan1, and a source that follows its nftables.
class policy_nft_test : public testing::Test
{
protected:
    void SetUp() override
    {
        const test::command_result found = try_nft("list ruleset");
        if (found.status != 0) {
            GTEST_SKIP() << "no nftables here: " << found.output;
        }
        netns_.ip("link add lan0 type veth peer name lan1");
        start(nft_source::default_receive_buffer);
    }

    void start(unsigned receive_buffer)
    {
        source_.reset();
        source_ = std::make_unique<nft_source>(policies_, events_, netns_.name(), receive_buffer);
    }

    test::command_result try_nft(const std::string &commands)
    {
        return test::run("ip netns exec " + netns_.name() + " nft '" + commands + "'");
    }
    /// Runs nft commands. Returns false if the kernel lacks what they need; `lacking_` says what.
    bool can(const std::string &commands)
    {
        const test::command_result result = try_nft(commands);
        const auto says = [&](const char *words) { return result.output.find(words) != std::string::npos; };
        EXPECT_TRUE(result.status == 0 || says("not supported") || says("No such file")) << result.output;
        lacking_ = result.output;
        return result.status == 0;
    }
    /// Runs nft commands in one transaction.
    void nft(const std::string &commands)
    {
        const test::command_result result = try_nft(commands);
        EXPECT_EQ(result.status, 0) << commands << ": " << result.output;
    }
    void nft_file(const std::string &commands)
    {
        const std::string file = "/tmp/" + netns_.name() + ".nft";
        std::ofstream(file) << commands;
        netns_.exec("nft -f " + file);
        std::filesystem::remove(file);
    }

    /// Runs turns of the control loop until no work is left. On a busy machine an inspection may be late.
    void settle()
    {
        const std::vector<std::string> late = {"nft: a change is not inspected yet: both in"};
        pollfd p{.fd = events_.fd(), .events = POLLIN, .revents = 0};
        do {
            source_->process();
        } while (poll(&p, 1, present() == late ? -1 : 0) > 0);
    }
    std::vector<std::string> present() const
    {
        std::vector<std::string> all;
        policies_.visit([&](policy_kind kind, const policy_reason &reason) {
            if (kind == policy_kind::nft) {
                all.push_back(describe(reason));
            }
        });
        return all;
    }
    std::vector<std::string> reasons()
    {
        settle();
        return present();
    }
    std::vector<std::string> reasons_after(const std::string &commands)
    {
        nft(commands);
        return reasons();
    }

    test::test_netns netns_{"nft"};
    policy policies_;
    epoll_set events_;
    std::unique_ptr<nft_source> source_;
    std::string lacking_;
};

TEST_F(policy_nft_test, nothing_configured_is_no_reason)
{
    EXPECT_THAT(present(), IsEmpty()) << "known as soon as it is constructed";
    EXPECT_THAT(reasons_after("add table inet t"), IsEmpty());
}

TEST_F(policy_nft_test, a_chain_counts_by_family_hook_policy_and_rules)
{
    struct row {
        const char *family, *hook, *contents;
        std::vector<std::string> expected;
    };
    const std::vector<row> rows = {
        {"ip", "forward", "", {}},
        {"ip", "prerouting", "", {}},
        {"inet", "postrouting", "policy accept;", {}},
        {"ip", "forward", "policy drop;", {"nft ip t c: IPv4 in"}},
        {"ip6", "forward", "policy drop;", {"nft ip6 t c: IPv6 in"}},
        {"inet", "forward", "policy drop;", {"nft inet t c: both in"}},
        {"ip", "forward", "accept;", {"nft ip t c: IPv4 in"}},
        {"ip6", "prerouting", "udp dport 9 drop;", {"nft ip6 t c: IPv6 in"}},
        {"inet", "prerouting", "counter;", {"nft inet t c: both in"}},
        {"ip", "postrouting", "counter;", {"nft ip t c: IPv4 in"}},
        {"inet", "input", "policy drop; counter;", {}},
        {"ip", "output", "policy drop; counter;", {}},
        {"ip6", "output", "counter;", {}},
    };
    for (const row &r : rows) {
        const std::string chain = std::string("table ") + r.family + " t { chain c { type filter hook " + r.hook +
                                  " priority 0; " + r.contents + " }; }";
        EXPECT_EQ(reasons_after(chain), r.expected) << chain;
        EXPECT_THAT(reasons_after(std::string("delete table ") + r.family + " t"), IsEmpty()) << chain;
    }
}

TEST_F(policy_nft_test, families_arp_and_bridge_are_no_reason)
{
    for (const char *table : {"arp t { chain c { type filter hook input priority 0; policy drop; counter; }; }",
                              "bridge t { chain c { type filter hook forward priority 0; policy drop; counter; }; }"}) {
        if (!can("table " + std::string(table))) {
            GTEST_SKIP() << lacking_;
        }
        EXPECT_THAT(reasons(), IsEmpty()) << table;
    }
}

TEST_F(policy_nft_test, a_chain_without_a_hook_is_no_reason_but_one_that_leads_there_is)
{
    EXPECT_THAT(
        reasons_after("table ip t { chain other { drop; }; chain c { type filter hook forward priority 0; }; }"),
        IsEmpty());
    EXPECT_THAT(reasons_after("add rule ip t c jump other"), ElementsAre("nft ip t c: IPv4 in"));
}

TEST_F(policy_nft_test, nat_counts_at_prerouting_and_postrouting)
{
    if (!can("table inet n { chain d { type nat hook prerouting priority dstnat; tcp dport 80 redirect to :8080; };"
             "chain s { type nat hook postrouting priority srcnat; masquerade; };"
             "chain i { type nat hook input priority 0; counter; }; }")) {
        GTEST_SKIP() << lacking_;
    }
    EXPECT_THAT(reasons(), UnorderedElementsAre("nft inet n d: both in", "nft inet n s: both in"));
}

TEST_F(policy_nft_test, chains_of_a_device_concern_its_packets_only)
{
    EXPECT_THAT(reasons_after("table netdev t { chain c { type filter hook ingress device lan0 priority 0; }; }"),
                IsEmpty());
    EXPECT_THAT(reasons_after("add rule netdev t c counter"), ElementsAre("nft netdev t c: both in lan0"));
    nft("flush ruleset");
    EXPECT_THAT(reasons_after("table netdev t { chain c { type filter hook ingress devices = { lan0, lan1 } "
                              "priority 0; policy drop; }; }"),
                UnorderedElementsAre("nft netdev t c: both in lan0", "nft netdev t c: both in lan1"));
    policy_set nft_alone{};
    nft_alone[static_cast<std::size_t>(policy_kind::nft)] = true;
    policies_.obey(nft_alone);
    EXPECT_TRUE(policies_.kernel_forwards(AF_INET, policy_side::in, {.name = "lan1"}));
    EXPECT_FALSE(policies_.kernel_forwards(AF_INET, policy_side::out, {.name = "lan1"}));
    EXPECT_FALSE(policies_.kernel_forwards(AF_INET, policy_side::in, {.name = "wan0"}));
}

TEST_F(policy_nft_test, ingress_of_inet)
{
    if (!can("table inet t { chain c { type filter hook ingress device lan1 priority 0; policy drop; }; }")) {
        GTEST_SKIP() << lacking_;
    }
    EXPECT_THAT(reasons(), ElementsAre("nft inet t c: both in lan1"));
}

TEST_F(policy_nft_test, egress)
{
    if (!can("table netdev t { chain c { type filter hook egress device lan0 priority 0; policy drop; }; }")) {
        GTEST_SKIP() << lacking_;
    }
    EXPECT_THAT(reasons(), ElementsAre("nft netdev t c: both out lan0"));
}

TEST_F(policy_nft_test, a_flowtable_is_no_reason)
{
    if (!can("table ip t { flowtable f { hook ingress priority 0; devices = { lan0 }; }; }")) {
        GTEST_SKIP() << lacking_;
    }
    EXPECT_THAT(reasons(), IsEmpty());
}

TEST_F(policy_nft_test, follows_each_change)
{
    const std::string forward = "nft ip t c: IPv4 in";
    EXPECT_THAT(reasons_after("table ip t { chain c { type filter hook forward priority 0; }; }"), IsEmpty());
    EXPECT_THAT(reasons_after("add rule ip t c counter"), ElementsAre(forward));
    EXPECT_THAT(reasons_after("flush chain ip t c"), IsEmpty());
    EXPECT_THAT(reasons_after("chain ip t c { policy drop; }"), ElementsAre(forward));
    EXPECT_THAT(reasons_after("table ip t { flags dormant; }"), IsEmpty());
    EXPECT_THAT(reasons_after("table ip t { }"), ElementsAre(forward)) << "awake";
    EXPECT_THAT(reasons_after("delete table ip t"), IsEmpty());
    EXPECT_THAT(reasons_after("table ip t { chain c { type filter hook forward priority 0; counter; }; }"),
                ElementsAre(forward));
    EXPECT_THAT(reasons_after("table ip6 t { chain c { type filter hook forward priority 0; counter; }; }"),
                UnorderedElementsAre(forward, "nft ip6 t c: IPv6 in"));
    EXPECT_THAT(reasons_after("flush ruleset"), IsEmpty());
}

TEST_F(policy_nft_test, changes_of_sets_cost_no_inspection)
{
    nft("table ip t { set s { type ipv4_addr; }; chain c { type filter hook forward priority 0; ip saddr @s drop; }; "
        "}");
    settle();
    const std::uint64_t before = source_->inspections();
    for (int i = 0; i < 20; ++i) {
        nft("add element ip t s { 10.0.0." + std::to_string(i) + " }");
        settle();
    }
    nft("add set ip t other { type ipv4_addr; }");
    EXPECT_THAT(reasons(), ElementsAre("nft ip t c: IPv4 in"));
    EXPECT_LT(source_->inspections() - before, 10U) << "21 changes; time alone makes one every ten seconds";
    EXPECT_THAT(reasons_after("delete chain ip t c"), IsEmpty());
}

TEST_F(policy_nft_test, lost_messages_are_a_doubt_until_the_next_inspection)
{
    start(4096);
    ASSERT_THAT(reasons(), IsEmpty());
    std::string commands = "table ip t { chain c { type filter hook forward priority 0; counter; }\n";
    for (int i = 0; i < 500; ++i) {
        commands += "chain c" + std::to_string(i) + " { counter; }\n";
    }
    nft_file(commands + "}\n");
    source_->process();
    EXPECT_THAT(present(), ElementsAre("nft: messages were lost: both in"));
    EXPECT_TRUE(test::eventually([&] { return reasons() == std::vector<std::string>{"nft ip t c: IPv4 in"}; }));
    nft("flush chain ip t c");
    EXPECT_TRUE(test::eventually([&] { return reasons().empty(); }));
}

TEST_F(policy_nft_test, without_permission_there_is_a_doubt)
{
    {
        const without_net_admin taken;
        start(nft_source::default_receive_buffer);
        EXPECT_THAT(reasons(), ElementsAre(HasSubstr("not permitted")));
    }
    EXPECT_TRUE(test::eventually([&] { return reasons().empty(); }));
}

/// Inspects once, with a socket of its own. `before_read` runs before each read, with its number.
class lone_inspection
{
public:
    explicit lone_inspection(const std::string &netns) : socket_(netns, NETLINK_NETFILTER, {}, 1 << 20) {}
    bool consistent(const std::function<void(int)> &before_read)
    {
        nft_inspection inspection(socket_);
        auto state = nft_inspection::state::going_on;
        for (int read = 0; state != nft_inspection::state::done; ++read) {
            before_read(read);
            socket_.receive([&](const nlmsghdr &message) { state = inspection.take(message); });
        }
        reasons_ = inspection.reasons();
        return inspection.consistent();
    }
    const std::vector<policy_reason> &reasons() const { return reasons_; }

private:
    netlink_socket socket_;
    std::vector<policy_reason> reasons_;
};

TEST_F(policy_nft_test, a_change_during_an_inspection_is_noticed)
{
    lone_inspection inspection(netns_.name());
    const auto change = [&](int read) { nft("add table ip t" + std::to_string(read)); };
    const auto change_at = [&](int wanted) {
        return [&, wanted](int read) { read == wanted ? change(read) : void(); };
    };
    EXPECT_TRUE(inspection.consistent(change_at(-1)));
    EXPECT_FALSE(inspection.consistent(change_at(0))) << "after the first question is answered";
    EXPECT_FALSE(inspection.consistent(change_at(1))) << "after the dump of tables is asked for";
    EXPECT_TRUE(inspection.consistent(change_at(-1)));
}

/// The kernel counts the rules of a chain down while it prepares a transaction.
TEST_F(policy_nft_test, a_transaction_that_is_given_up_hides_no_rule)
{
    nft("table ip t { chain c { type filter hook forward priority 0; counter; }; chain other { }; }");
    const std::string file = "/tmp/" + netns_.name() + ".check";
    std::ofstream out(file);
    out << "flush chain ip t c\n";
    for (int i = 0; i < 5000; ++i) {
        out << "add rule ip t other counter\n";
    }
    out.close();
    std::atomic<bool> ended = false;
    std::thread checks([&] {
        for (int i = 0; i < 5; ++i) {
            netns_.exec("nft -c -f " + file);
        }
        ended = true;
    });
    lone_inspection inspection(netns_.name());
    while (!ended) {
        EXPECT_TRUE(inspection.consistent([](int) {}));
        EXPECT_EQ(inspection.reasons().size(), 1U);
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    checks.join();
    std::filesystem::remove(file);
}

TEST_F(policy_nft_test, changes_without_a_pause_end_in_the_right_state)
{
    nft("table ip t { chain c { type filter hook forward priority 0; }; }");
    std::atomic<bool> ended = false;
    std::thread changes([&] {
        for (int i = 0; i < 10; ++i) {
            nft("add rule ip t c counter");
            nft("flush chain ip t c");
        }
        nft("add rule ip t c counter");
        ended = true;
    });
    while (!ended) {
        pollfd p{.fd = events_.fd(), .events = POLLIN, .revents = 0};
        poll(&p, 1, 10);
        source_->process();
    }
    changes.join();
    EXPECT_TRUE(test::eventually([&] { return reasons() == std::vector<std::string>{"nft ip t c: IPv4 in"}; }));
    nft("flush chain ip t c");
    EXPECT_TRUE(test::eventually([&] { return reasons().empty(); }));
}

TEST_F(policy_nft_test, ten_thousand_chains)
{
    std::string commands = "table inet t {\n";
    for (int i = 0; i < 10000; ++i) {
        commands += "chain a_chain_with_a_long_name_" + std::to_string(i) + " { }\n";
    }
    nft_file(commands + "chain c { type filter hook forward priority 0; policy drop; }\n}\n");
    EXPECT_TRUE(test::eventually([&] { return reasons() == std::vector<std::string>{"nft inet t c: both in"}; }));
    nft("chain inet t c { policy accept; }");
    EXPECT_TRUE(test::eventually([&] { return reasons().empty(); }));
}

// ---- messages of other kernels ----

/// NFT_MSG_NEWCHAIN of a netdev chain without rules that drops.
class chain_message
{
public:
    explicit chain_message(std::uint32_t hook) : message_(mnl_nlmsg_put_header(space_.data()))
    {
        message_->nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWCHAIN;
        auto *header = static_cast<nfgenmsg *>(mnl_nlmsg_put_extra_header(message_, sizeof(nfgenmsg)));
        header->nfgen_family = NFPROTO_NETDEV;
        mnl_attr_put_strz(message_, NFTA_CHAIN_TABLE, "t");
        mnl_attr_put_strz(message_, NFTA_CHAIN_NAME, "c");
        mnl_attr_put_u32(message_, NFTA_CHAIN_POLICY, htonl(NF_DROP));
        mnl_attr_put_u32(message_, NFTA_CHAIN_USE, 0);
        hook_ = mnl_attr_nest_start(message_, NFTA_CHAIN_HOOK);
        mnl_attr_put_u32(message_, NFTA_HOOK_HOOKNUM, htonl(hook));
    }
    void device(const std::string &name) { mnl_attr_put_strz(message_, NFTA_HOOK_DEV, name.c_str()); }
    /// (type, name with its final zero or without)
    void devices(const std::vector<std::pair<std::uint16_t, std::string>> &names)
    {
        nlattr *list = mnl_attr_nest_start(message_, NFTA_HOOK_DEVS);
        for (const auto &[type, name] : names) {
            mnl_attr_put(message_, type, name.size(), name.data());
        }
        mnl_attr_nest_end(message_, list);
    }
    std::vector<std::string> reasons()
    {
        mnl_attr_nest_end(message_, hook_);
        nft_ruleset ruleset;
        ruleset.add_chain(*message_);
        std::vector<std::string> all;
        for (const policy_reason &reason : ruleset.reasons()) {
            all.push_back(describe(reason));
        }
        return all;
    }

private:
    alignas(nlmsghdr) std::array<char, 1024> space_{};
    nlmsghdr *message_;
    nlattr *hook_;
};

TEST(policy_nft, patterns_of_device_names)
{
    using namespace std::string_literals;
    constexpr std::uint16_t name = 1, prefix = 2; // NFTA_DEVICE_NAME, NFTA_DEVICE_PREFIX
    chain_message chain(NF_NETDEV_INGRESS);
    chain.devices({{name, "lan0\0"s}, {prefix, "wan\0"s}, {name, "vlan"s}});
    EXPECT_THAT(chain.reasons(), ElementsAre("nft netdev t c: both in lan0", "nft netdev t c: both in wan*",
                                             "nft netdev t c: both in vlan*"));
}

TEST(policy_nft, a_single_device)
{
    chain_message chain(NF_NETDEV_EGRESS);
    chain.device("lan0");
    EXPECT_THAT(chain.reasons(), ElementsAre("nft netdev t c: both out lan0"));
}

TEST(policy_nft, a_chain_that_no_device_is_bound_to)
{
    EXPECT_THAT(chain_message(NF_NETDEV_INGRESS).reasons(), IsEmpty());
}

TEST(policy_nft, a_message_that_is_cut_off_is_an_error)
{
    alignas(nlmsghdr) std::array<char, 64> space{};
    nlmsghdr *message = mnl_nlmsg_put_header(space.data());
    nft_ruleset ruleset;
    EXPECT_THROW(ruleset.add_table(*message), error);
    EXPECT_THROW(ruleset.add_chain(*message), error);
}

} // namespace
} // namespace halfpoll
