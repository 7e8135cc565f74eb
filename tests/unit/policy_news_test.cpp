// SPDX-License-Identifier: BSD-3-Clause
#include "forward/mirror/policy_gate.hpp"
#include "forward/mirror/policy_news.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <sys/socket.h>
#include <tuple>
#include <vector>

namespace
{

using namespace halfpoll;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint8_t ip4 = AF_INET, ip6 = AF_INET6;

/// lan0 (3), wan0 (4), the VLAN lan0.5 (5), and what policy_news tells of them.
class policy_news_test : public testing::Test
{
protected:
    policy_news_test()
    {
        for (const auto &[ifindex, name, lower] : {std::tuple{3, "lan0", 0}, {4, "wan0", 0}, {5, "lan0.5", 3}}) {
            state_.links[ifindex].what = {.ifindex = ifindex, .lower = lower, .name = name};
        }
        policies_.on_change = [this] { news_.changed(); };
        for (std::size_t kind = 0; kind < policy_kind_names.size(); ++kind) {
            policies_.replace(static_cast<policy_kind>(kind), {});
        }
    }

    std::vector<std::string> told()
    {
        std::vector<std::string> lines;
        news_.tell([&](policy_news::event what, const std::string &text) {
            lines.push_back((what == policy_news::event::appeared ? "+ " : "- ") + text);
        });
        return lines;
    }

    kernel_state state_;
    policy policies_;
    policy_news news_{state_, policies_};
    policy_gate gate_{state_, policies_};
};

TEST_F(policy_news_test, a_reason_is_told_once_and_when_it_goes)
{
    policies_.replace(policy_kind::nft, {{.family = ip4, .text = "nft ip filter forward"}});
    EXPECT_THAT(told(), ElementsAre("+ IPv4: the kernel alone forwards: nft ip filter forward"));
    EXPECT_THAT(told(), IsEmpty());
    policies_.replace(policy_kind::nft, {});
    policies_.replace(policy_kind::nft, {{.family = ip4, .text = "nft ip filter forward"}});
    EXPECT_THAT(told(), IsEmpty()) << "gone and back before anyone looked";
    policies_.replace(policy_kind::nft, {});
    EXPECT_THAT(told(), ElementsAre("- IPv4: no longer left to the kernel because of nft ip filter forward"));
}

TEST_F(policy_news_test, reasons_with_one_text_are_one)
{
    policies_.replace(policy_kind::nft, {{.family = ip4, .text = "nft inet filter forward"},
                                         {.family = ip6, .text = "nft inet filter forward"}});
    policies_.replace(policy_kind::tc, {{.ifindex = 3, .text = "tc clsact filter"},
                                        {.side = policy_side::out, .ifindex = 4, .text = "tc clsact filter"},
                                        {.ifindex = 9, .text = "tc tbf"}});
    policies_.replace(policy_kind::rule, {{.family = ip6, .device = "wan*", .text = "ip -6 rule 100 iif wan*"}});
    EXPECT_THAT(told(),
                ElementsAre("+ IPv6: the kernel alone forwards what comes in on wan*: ip -6 rule 100 iif wan*",
                            "+ IPv4 and IPv6: the kernel alone forwards: nft inet filter forward",
                            "+ IPv4 and IPv6: the kernel alone forwards what comes in on lan0 and what leaves by wan0: "
                            "tc clsact filter",
                            "+ IPv4 and IPv6: the kernel alone forwards what comes in on interface 9: tc tbf"));
}

TEST_F(policy_news_test, many_at_once_are_counted)
{
    std::vector<policy_reason> many;
    for (unsigned i = 10; i < 30; ++i) {
        many.push_back({.family = ip4, .text = "nft ip filter " + std::to_string(i)});
    }
    policies_.replace(policy_kind::nft, many);
    std::vector<std::string> lines = told();
    ASSERT_EQ(lines.size(), policy_news::most + 1U);
    EXPECT_EQ(lines.back(), "+ 12 more reasons to leave packets to the kernel (halfpoll show policy)");
    policies_.replace(policy_kind::nft, {});
    lines = told();
    ASSERT_EQ(lines.size(), policy_news::most + 1U);
    EXPECT_EQ(lines.back(), "- 12 more reasons are gone (halfpoll show policy)");
}

TEST_F(policy_news_test, only_what_is_obeyed_is_news)
{
    policies_.replace(policy_kind::nft, {{.family = ip4, .text = "nft ip filter forward"}});
    policy_set kinds = policy_obey_all;
    kinds[static_cast<std::size_t>(policy_kind::nft)] = false;
    policies_.obey(kinds);
    EXPECT_THAT(told(), IsEmpty());
    EXPECT_FALSE(gate_.kernel_forwards(ip4, policy_side::in, 3));
    policies_.obey(policy_obey_all);
    EXPECT_THAT(told(), ElementsAre("+ IPv4: the kernel alone forwards: nft ip filter forward"));
    EXPECT_TRUE(gate_.kernel_forwards(ip4, policy_side::in, 3));
}

TEST_F(policy_news_test, the_start_is_no_news)
{
    policy fresh;
    policy_news news(state_, fresh);
    EXPECT_TRUE(fresh.kernel_forwards(ip4, policy_side::in, {3, "lan0"}));
    std::vector<std::string> lines;
    news.tell([&](policy_news::event, const std::string &text) { lines.push_back(text); });
    EXPECT_THAT(lines, IsEmpty());
    fresh.doubt(policy_kind::nft, "cannot be read: Operation not permitted");
    news.changed();
    news.tell([&](policy_news::event, const std::string &text) { lines.push_back(text); });
    EXPECT_THAT(lines, ElementsAre("IPv4 and IPv6: the kernel alone forwards: nft: cannot be read: Operation not "
                                   "permitted"));
}

TEST_F(policy_news_test, the_gate_shows_what_concerns_an_interface_and_those_below_it)
{
    policies_.replace(policy_kind::nft, {{.family = ip4, .text = "nft ip filter forward"}});
    policies_.replace(policy_kind::tc, {{.ifindex = 3, .text = "tc ingress"},
                                        {.side = policy_side::out, .ifindex = 3, .text = "tc tbf"}});
    const auto texts = [this](std::uint8_t family, policy_side side, int ifindex) {
        std::vector<std::string> found;
        gate_.visit(family, side, ifindex,
                    [&](policy_kind, const policy_reason &reason) { found.push_back(reason.text); });
        return found;
    };
    EXPECT_THAT(texts(ip6, policy_side::in, 3), ElementsAre("tc ingress"));
    EXPECT_THAT(texts(ip4, policy_side::out, 3), ElementsAre("tc tbf"));
    EXPECT_THAT(texts(ip6, policy_side::in, 5), ElementsAre("tc ingress")) << "packets of a VLAN pass both";
    EXPECT_THAT(texts(ip4, policy_side::in, 4), ElementsAre("nft ip filter forward"));
    EXPECT_THAT(texts(ip6, policy_side::in, 4), IsEmpty());
}

} // namespace
