// SPDX-License-Identifier: BSD-3-Clause
// Rules as messages, and what the walk makes of those that a kernel of today does not send.
#include "forward/mirror/rule_walk.hpp"
#include "forward/netlink/rule_message.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libmnl/libmnl.h>

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <vector>

namespace halfpoll
{
namespace
{

/// An RTM_NEWRULE that leads to table 100, with priority 100.
class message
{
public:
    explicit message(std::uint32_t flags = 0, std::uint8_t family = AF_INET)
    {
        nlmsghdr *h = mnl_nlmsg_put_header(space_.data());
        h->nlmsg_type = RTM_NEWRULE;
        header_ = static_cast<fib_rule_hdr *>(mnl_nlmsg_put_extra_header(h, sizeof(fib_rule_hdr)));
        header_->family = family;
        header_->action = FR_ACT_TO_TBL;
        header_->flags = flags;
        put_u32(FRA_PRIORITY, 100).put_u32(FRA_TABLE, 100).put_u32(FRA_SUPPRESS_PREFIXLEN, UINT32_MAX);
    }
    message &put_u32(std::uint16_t type, std::uint32_t value)
    {
        mnl_attr_put_u32(get(), type, value);
        return *this;
    }
    message &put_text(std::uint16_t type, const char *value)
    {
        mnl_attr_put_strz(get(), type, value);
        return *this;
    }
    message &from(std::initializer_list<std::uint8_t> address, std::uint8_t len)
    {
        header_->src_len = len;
        mnl_attr_put(get(), FRA_SRC, address.size(), std::data(address));
        return *this;
    }
    nlmsghdr *get() { return reinterpret_cast<nlmsghdr *>(space_.data()); }
    rule_message parsed() { return parse_rule(*get()).value(); }

private:
    std::vector<char> space_ = std::vector<char>(1024);
    fib_rule_hdr *header_ = nullptr;
};

rule_message lookup(std::uint32_t priority, std::uint32_t table)
{
    return {.family = AF_INET, .action = FR_ACT_TO_TBL, .priority = priority, .table = table, .text = "x"};
}

/// The texts of the reasons for which packets are left to the kernel, with a rule beside those of the kernel.
std::vector<std::string> reasons(const rule_message &rule)
{
    std::vector<rule_message> rules = {lookup(0, RT_TABLE_LOCAL), rule, lookup(32766, RT_TABLE_MAIN),
                                       lookup(32767, RT_TABLE_DEFAULT)};
    std::vector<std::string> texts;
    for (const policy_reason &reason : walk_rules(AF_INET, rules, {}).reasons) {
        texts.push_back(reason.text);
    }
    return texts;
}

TEST(rules_test, text_is_that_of_ip_rule)
{
    EXPECT_EQ(message().parsed().text, "lookup 100");
    EXPECT_EQ(message(FIB_RULE_INVERT).put_text(FRA_IIFNAME, "lo").parsed().text, "not iif lo lookup 100");
    EXPECT_EQ(message().from({10, 1, 0, 0}, 16).parsed().text, "from 10.1.0.0/16 lookup 100");
    EXPECT_EQ(message(FIB_RULE_INVERT).from({10, 1, 0, 0}, 16).parsed().text, "not from 10.1.0.0/16 lookup 100");
    EXPECT_EQ(message().put_u32(FRA_FWMASK, 3).put_u32(FRA_FWMARK, 1).put_text(FRA_OIFNAME, "wan0").parsed().text,
              "fwmark 0x1/0x3 oif wan0 lookup 100");
    EXPECT_EQ(message().put_u32(FRA_SUPPRESS_PREFIXLEN, 0).parsed().text, "lookup 100 suppress_prefixlength 0");
}

TEST(rules_test, other_families_and_cut_messages_are_none)
{
    EXPECT_FALSE(parse_rule(*message(0, 128 /* RTNL_FAMILY_IPMR */).get()));
    message cut;
    cut.get()->nlmsg_len = NLMSG_LENGTH(sizeof(fib_rule_hdr) - 1);
    EXPECT_FALSE(parse_rule(*cut.get()));
    message headless; // an attribute with a wrong size is read as 0
    mnl_attr_put_u16(headless.get(), FRA_FWMARK, 1);
    EXPECT_EQ(headless.parsed().text, "fwmark 0x0 lookup 100");
}

// A selector of a later kernel may concern any packet, even if the rule seems to be about those of the box.
TEST(rules_test, what_is_not_known_is_left_to_the_kernel)
{
    EXPECT_THAT(reasons(message().put_u32(99, 1).parsed()),
                testing::ElementsAre("ip rule 100 lookup 100 (and what is not known here)"));
    EXPECT_EQ(reasons(message().put_u32(99, 1).put_text(FRA_IIFNAME, "lo").parsed()).size(), 1U);
    EXPECT_EQ(reasons(message(1U << 30).put_text(FRA_IIFNAME, "lo").parsed()).size(), 1U) << "a flag";
    rule_message strange = lookup(100, 100);
    strange.action = 77;
    EXPECT_EQ(reasons(strange).size(), 1U);
    EXPECT_EQ(reasons(message().put_u32(FRA_FLOW, 1).put_text(FRA_IIFNAME, "lo").parsed()).size(), 0U) << "a realm";
}

TEST(rules_test, behind_main_only_packets_without_a_route_are_concerned)
{
    const std::vector<rule_message> own = {lookup(0, RT_TABLE_LOCAL), lookup(32766, RT_TABLE_MAIN),
                                           lookup(32767, RT_TABLE_DEFAULT)};
    const auto beyond = [&](const rule_message &rule, const rule_setting &setting) {
        std::vector<rule_message> rules = own;
        rules.push_back(rule);
        const rule_result result = walk_rules(AF_INET, rules, setting);
        EXPECT_TRUE(result.reasons.empty());
        return result.beyond_main;
    };
    rule_message nop{.family = AF_INET, .action = FR_ACT_NOP, .priority = 40000};
    EXPECT_FALSE(beyond(nop, {}));
    EXPECT_TRUE(beyond(nop, {.default_table = true}));
    EXPECT_TRUE(beyond(lookup(40000, 100), {}));
    EXPECT_FALSE(beyond(lookup(40000, RT_TABLE_LOCAL), {}));
    rule_message refuse{.family = AF_INET, .action = FR_ACT_PROHIBIT, .priority = 40000};
    EXPECT_FALSE(beyond(refuse, {})) << "the kernel refuses in any case";
    rule_message one = lookup(40000, 100);
    one.iif = "lan0";
    EXPECT_TRUE(beyond(one, {})) << "of one interface";
    one.iif = "lo";
    one.about_others = true;
    EXPECT_FALSE(beyond(one, {}));
}

TEST(rules_test, an_interface_is_named_for_the_way_back_of_ipv4_alone)
{
    rule_message rule = lookup(100, 100);
    rule.iif = "lan0";
    const std::vector<rule_message> rules = {lookup(0, RT_TABLE_LOCAL), rule, lookup(32766, RT_TABLE_MAIN)};
    const auto sides = [&](std::uint8_t family, bool check) {
        std::vector<policy_side> found;
        for (const policy_reason &reason : walk_rules(family, rules, {.reverse_path = check}).reasons) {
            EXPECT_EQ(reason.device, "lan0");
            found.push_back(reason.side);
        }
        return found;
    };
    EXPECT_THAT(sides(AF_INET, false), testing::ElementsAre(policy_side::in));
    EXPECT_THAT(sides(AF_INET, true), testing::ElementsAre(policy_side::in, policy_side::out));
    EXPECT_THAT(sides(AF_INET6, true), testing::ElementsAre(policy_side::in));
}

} // namespace
} // namespace halfpoll
