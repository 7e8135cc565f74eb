// SPDX-License-Identifier: BSD-3-Clause
#include "policy_rig.hpp"

#include "forward/netlink/netlink.hpp"
#include "forward/policy/xfrm_source.hpp"

#include <filesystem>
#include <fstream>
#include <sys/socket.h>

namespace halfpoll
{
namespace
{

const std::string selector = "src 10.1.0.0/24 dst 10.2.0.0/24";
const std::string text = "xfrm policy 10.1.0.0/24 -> 10.2.0.0/24 dir ";
const std::string selector6 = "src 2001:db8:1::/64 dst 2001:db8:2::/64";
const std::string text6 = "xfrm policy 2001:db8:1::/64 -> 2001:db8:2::/64 dir ";
const std::string tunnel = "tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel";

class policy_xfrm : public test::policy_rig<xfrm_source>
{
protected:
    policy_xfrm() : policy_rig("xfrm", policy_kind::xfrm) {}

    void SetUp() override
    {
        if (!netlink_socket::supported(NETLINK_XFRM)) {
            GTEST_SKIP() << "this kernel has no XFRM";
        }
    }
    void xfrm(const std::string &command) { netns_.ip("xfrm policy " + command); }
    void batch(const std::vector<std::string> &commands)
    {
        const std::string file = "/tmp/" + netns_.name() + ".batch";
        std::ofstream out(file);
        for (const std::string &command : commands) {
            out << "xfrm policy " << command << "\n";
        }
        out.close();
        netns_.ip("-batch " + file);
        std::filesystem::remove(file);
    }
    static std::string numbered(unsigned n)
    {
        return "src 10." + std::to_string(n >> 8) + "." + std::to_string(n & 255) + ".0/24 dst 192.0.2.0/24";
    }
};

TEST_F(policy_xfrm, before_the_first_look_the_kernel_forwards)
{
    make_source();
    EXPECT_EQ(texts(), std::vector<std::string>{"xfrm: not inspected yet"});
    expect({});
    EXPECT_FALSE(kernel_forwards(AF_INET, policy_side::in));
}

TEST_F(policy_xfrm, policies_that_were_there_before)
{
    xfrm("add " + selector + " dir out action block");
    xfrm("add " + selector6 + " dir fwd " + tunnel);
    make_source();
    expect({text + "out", text6 + "fwd"});
}

TEST_F(policy_xfrm, a_policy_concerns_its_family)
{
    make_source();
    expect({});
    xfrm("add " + selector + " dir fwd action block");
    expect({text + "fwd"});
    EXPECT_TRUE(kernel_forwards(AF_INET, policy_side::in));
    EXPECT_FALSE(kernel_forwards(AF_INET6, policy_side::in));
    xfrm("add " + selector6 + " dir out " + tunnel);
    expect({text + "fwd", text6 + "out"});
    EXPECT_TRUE(kernel_forwards(AF_INET6, policy_side::in));
    xfrm("delete " + selector + " dir fwd");
    expect({text6 + "out"});
    EXPECT_FALSE(kernel_forwards(AF_INET, policy_side::in));
    xfrm("delete " + selector6 + " dir out");
    expect({});
}

TEST_F(policy_xfrm, what_lets_forwarded_packets_pass_is_no_reason)
{
    make_source();
    xfrm("add " + selector + " dir in action block");
    xfrm("add " + selector6 + " dir in " + tunnel);
    xfrm("add " + selector + " dir out priority 6");
    xfrm("add " + selector + " dir fwd priority 7 mark 3");
    xfrm("add " + selector + " dir out priority 8 if_id 9 action block");
    expect({});
}

TEST_F(policy_xfrm, further_conditions_are_not_looked_at)
{
    make_source();
    xfrm("add " + selector + " proto udp dport 53 dev lo dir out action block");
    xfrm("add " + selector + " dir fwd mark 3 ptype sub action block");
    expect({text + "fwd", text + "out"});
}

TEST_F(policy_xfrm, an_update_may_take_the_reason_away)
{
    xfrm("add " + selector + " dir out action block");
    make_source();
    expect({text + "out"});
    xfrm("update " + selector + " dir out action allow");
    expect({});
    xfrm("update " + selector + " dir out action block");
    expect({text + "out"});
}

TEST_F(policy_xfrm, delete_by_index)
{
    make_source();
    xfrm("add " + selector + " dir out index 65 action block");
    expect({text + "out"});
    xfrm("delete dir out index 65");
    expect({});
}

TEST_F(policy_xfrm, a_policy_expires)
{
    make_source();
    xfrm("add " + selector + " dir out action block limit time-hard 1");
    expect({text + "out"});
    expect({});
}

TEST_F(policy_xfrm, flush)
{
    make_source();
    xfrm("add " + selector + " dir out action block");
    xfrm("add " + selector + " dir fwd ptype sub action block");
    expect({text + "fwd", text + "out"});
    xfrm("flush ptype sub");
    expect({text + "out"});
    xfrm("flush");
    expect({});
}

TEST_F(policy_xfrm, default_of_the_namespace)
{
    if (test::run("ip -n " + netns_.name() + " xfrm policy getdefault").status != 0) {
        GTEST_SKIP() << "this kernel or this ip has no defaults of XFRM policies";
    }
    xfrm("setdefault in block");
    make_source();
    expect({});
    xfrm("setdefault fwd block");
    expect({"xfrm policy default fwd block"});
    EXPECT_TRUE(kernel_forwards(AF_INET, policy_side::in));
    EXPECT_TRUE(kernel_forwards(AF_INET6, policy_side::in));
    make_source();
    expect({"xfrm policy default fwd block"});
    xfrm("setdefault fwd accept out block");
    expect({"xfrm policy default out block"});
    xfrm("setdefault out accept");
    expect({});
}

TEST_F(policy_xfrm, many_policies_are_counted)
{
    std::vector<std::string> add;
    for (unsigned n = 0; n < 5000; ++n) {
        add.push_back("add " + numbered(n) + " dir out action block");
    }
    batch(add);
    make_source();
    test::eventually([&] {
        settle();
        return texts().size() == 9;
    });
    EXPECT_EQ(texts().front(), "xfrm policy 10.0.0.0/24 -> 192.0.2.0/24 dir out");
    EXPECT_EQ(texts().back(), "xfrm policy: 4992 more");
    xfrm("delete " + numbered(0) + " dir out");
    test::eventually([&] {
        settle();
        return texts().back() == "xfrm policy: 4991 more";
    });
    EXPECT_EQ(texts().back(), "xfrm policy: 4991 more");
    xfrm("flush");
    expect({});
}

/// Changes while a dump is under way: what it shows may be older than a notification that was read before.
TEST_F(policy_xfrm, changes_during_inspections)
{
    std::vector<std::string> add, change;
    for (unsigned n = 0; n < 2000; ++n) {
        add.push_back("add " + numbered(n) + " dir out action block");
        change.push_back("delete " + numbered(n) + " dir out");
        change.push_back("add " + numbered(n) + " dir fwd action block");
    }
    batch(add);
    std::thread beside([&] { batch(change); });
    for (int i = 0; i < 20; ++i) {
        make_source();
        settle();
    }
    beside.join();
    settle();
    EXPECT_EQ(texts().back(), "xfrm policy: 1992 more");
    for (const policy_reason &reason : reasons()) {
        EXPECT_EQ(reason.text.find("dir out"), std::string::npos) << reason.text;
    }
}

TEST_F(policy_xfrm, lost_messages_are_a_doubt)
{
    make_source(4096U);
    expect({});
    std::vector<std::string> add;
    for (unsigned n = 0; n < 200; ++n) {
        add.push_back("add " + numbered(n) + " dir out");
    }
    add.push_back("add " + selector + " dir fwd action block");
    batch(add);
    source_->process();
    EXPECT_EQ(texts(), std::vector<std::string>{"xfrm: messages of the kernel were lost"});
    EXPECT_TRUE(kernel_forwards(AF_INET, policy_side::in));
    EXPECT_TRUE(kernel_forwards(AF_INET6, policy_side::in));
    expect({text + "fwd"});
}

} // namespace
} // namespace halfpoll
