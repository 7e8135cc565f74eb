// SPDX-License-Identifier: BSD-3-Clause
#include "source_rig.hpp"

#include "forward/policy/xtables_source.hpp"

#include <halfpoll/netns.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace halfpoll
{
namespace
{

class policy_xtables_test : public testing::Test
{
protected:
    void SetUp() override
    {
        const auto tried = test::run("ip netns exec " + rig_.netns.name() + " iptables-legacy -t filter -S");
        if (tried.status != 0) {
            GTEST_SKIP() << "iptables-legacy: " << tried.output;
        }
    }
    void iptables(const std::string &arguments) { rig_.netns.exec("iptables-legacy -w " + arguments); }
    void ip6tables(const std::string &arguments) { rig_.netns.exec("ip6tables-legacy -w " + arguments); }

    test::source_rig<xtables_source> rig_{policy_kind::xtables};
};

TEST_F(policy_xtables_test, empty_tables_are_no_reason)
{
    for (const char *table : {"filter", "nat", "mangle", "raw"}) {
        iptables(std::string("-t ") + table + " -S");
        ip6tables(std::string("-t ") + table + " -S");
    }
    rig_.start();
    EXPECT_EQ(rig_.texts(), std::set<std::string>());
}

/// Nobody asks for a table here: the source must not, either, since the kernel makes a table when it is asked for one.
TEST_F(policy_xtables_test, makes_no_table)
{
    const test::source_rig<xtables_source> untouched(policy_kind::xtables);
    EXPECT_EQ(untouched.netns.exec("cat /proc/net/ip_tables_names /proc/net/ip6_tables_names"), "");
}

TEST_F(policy_xtables_test, rules)
{
    iptables("-A FORWARD -s 192.0.2.1 -j DROP");
    rig_.expect({"4: iptables filter FORWARD"});
    ip6tables("-t raw -A PREROUTING -s 2001:db8::1 -j DROP");
    rig_.expect({"4: iptables filter FORWARD", "6: ip6tables raw PREROUTING"});
    iptables("-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu");
    iptables("-t nat -A POSTROUTING -j MASQUERADE");
    rig_.expect({"4: iptables filter FORWARD", "4: iptables mangle FORWARD", "4: iptables nat POSTROUTING",
                 "6: ip6tables raw PREROUTING"});
    iptables("-F FORWARD");
    iptables("-t mangle -F");
    iptables("-t nat -F");
    rig_.expect({"6: ip6tables raw PREROUTING"});
    ip6tables("-t raw -F");
    rig_.expect({});
}

/// A policy is changed without a change of the size of the table.
TEST_F(policy_xtables_test, chain_policies)
{
    iptables("-P FORWARD DROP");
    rig_.expect({"4: iptables filter FORWARD"});
    iptables("-P FORWARD ACCEPT");
    rig_.expect({});
    ip6tables("-t mangle -P POSTROUTING DROP");
    rig_.expect({"6: ip6tables mangle POSTROUTING"});
    ip6tables("-t mangle -P POSTROUTING ACCEPT");
    rig_.expect({});
}

TEST_F(policy_xtables_test, what_concerns_the_box_only_is_no_reason)
{
    iptables("-A INPUT -p tcp --dport 22 -j ACCEPT");
    iptables("-P INPUT DROP");
    iptables("-A OUTPUT -p udp -j DROP");
    iptables("-t nat -A OUTPUT -p tcp -j REDIRECT");
    iptables("-N unused");
    iptables("-A unused -j DROP");
    rig_.start();
    EXPECT_EQ(rig_.texts(), std::set<std::string>());
    iptables("-A FORWARD -j unused");
    rig_.expect({"4: iptables filter FORWARD"});
}

/// The policy of an empty chain stands behind all other rules.
TEST_F(policy_xtables_test, many_rules)
{
    const std::string file = std::filesystem::temp_directory_path() / rig_.netns.name();
    std::ofstream out(file);
    out << "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n";
    for (int i = 0; i < 20000; ++i) {
        out << "-A INPUT -s 10." << i / 65536 << "." << i / 256 % 256 << "." << i % 256 << " -j DROP\n";
    }
    out << "COMMIT\n";
    out.close();
    rig_.netns.exec("iptables-legacy-restore " + file);
    std::filesystem::remove(file);
    rig_.expect({"4: iptables filter FORWARD"});
    iptables("-P FORWARD ACCEPT");
    rig_.expect({});
}

/// What cannot be known is a reason.
TEST_F(policy_xtables_test, without_permission)
{
    policy policies;
    const epoll_set events;
    std::set<std::string> texts;
    const netns_scope inside(rig_.netns.name());
    ASSERT_EQ(seteuid(65534), 0);
    const xtables_source source(policies, events, "");
    ASSERT_EQ(seteuid(0), 0);
    policies.visit([&](policy_kind kind, const policy_reason &reason) {
        if (kind == policy_kind::xtables) {
            texts.insert(reason.text);
        }
    });
    EXPECT_THAT(texts, testing::ElementsAre("ip6tables: tables: Operation not permitted",
                                            "iptables: tables: Operation not permitted"));
}

} // namespace
} // namespace halfpoll
