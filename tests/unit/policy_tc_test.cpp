// SPDX-License-Identifier: BSD-3-Clause
#include "policy_rig.hpp"

#include "forward/policy/tc_source.hpp"

#include <libmnl/libmnl.h>

#include <filesystem>
#include <fstream>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace halfpoll
{
namespace
{

using texts_of = std::vector<std::string>;
const std::string all_packets = " protocol all u32 match u32 0 0 ";

/// Interfaces `lan0` and `lan1`, joined.
class policy_tc : public test::policy_rig<tc_source>
{
protected:
    policy_tc() : policy_rig("tc", policy_kind::tc)
    {
        netns_.ip("link add lan0 type veth peer name lan1");
        netns_.ip("link set lan0 up");
        netns_.ip("link set lan1 up");
        lan0_ = std::stoi(netns_.ip("-o link show lan0")); // begins with the ifindex
    }

    /// Runs a command, which must succeed.
    void tc(const std::string &command) { netns_.exec("tc " + command); }
    /// False: the kernel cannot do it.
    bool has(const std::string &command)
    {
        return test::run("ip netns exec " + netns_.name() + " tc " + command).status == 0;
    }

    int lan0_ = 0;
};

TEST_F(policy_tc, before_the_first_look_the_kernel_forwards)
{
    make_source();
    EXPECT_EQ(texts(), texts_of{"tc: not inspected yet"});
    expect({});
}

TEST_F(policy_tc, a_shaper_concerns_what_leaves_by_its_interface)
{
    make_source();
    expect({});
    tc("qdisc add dev lan0 root tbf rate 1mbit burst 10k limit 10k");
    expect({"tc tbf on lan0"});
    for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
        EXPECT_TRUE(kernel_forwards(family, policy_side::out, lan0_));
        EXPECT_FALSE(kernel_forwards(family, policy_side::in, lan0_));
        EXPECT_FALSE(kernel_forwards(family, policy_side::out, lan0_ + 1));
    }
    tc("qdisc del dev lan0 root");
    expect({});
}

TEST_F(policy_tc, what_was_there_before)
{
    tc("qdisc add dev lan0 root tbf rate 1mbit burst 10k limit 10k");
    tc("qdisc add dev lan1 clsact");
    tc("filter add dev lan1 ingress" + all_packets + "classid 1:1");
    make_source();
    expect({"tc ingress filter on lan1", "tc tbf on lan0"});
}

TEST_F(policy_tc, queues_are_no_reason_unless_they_take_less_than_a_packet)
{
    make_source();
    for (const std::string queue : {"pfifo", "pfifo limit 10", "bfifo limit 100000", "pfifo_fast"}) {
        tc("qdisc replace dev lan0 root " + queue);
        expect({});
    }
    tc("qdisc replace dev lan0 root bfifo limit 100");
    expect({"tc bfifo on lan0"});
    tc("qdisc replace dev lan0 root pfifo limit 0");
    expect({"tc pfifo on lan0"});
    tc("qdisc replace dev lan0 root pfifo limit 5");
    expect({});
}

TEST_F(policy_tc, clsact_is_a_reason_while_it_has_filters)
{
    make_source();
    tc("qdisc add dev lan0 clsact");
    expect({});
    tc("filter add dev lan0 ingress pref 1" + all_packets + "classid 1:1");
    expect({"tc ingress filter on lan0"});
    EXPECT_TRUE(kernel_forwards(AF_INET, policy_side::in, lan0_));
    EXPECT_FALSE(kernel_forwards(AF_INET, policy_side::out, lan0_));
    tc("filter add dev lan0 ingress pref 2" + all_packets + "classid 1:1");
    tc("filter add dev lan0 egress pref 1" + all_packets + "classid 1:1");
    expect({"tc egress filter on lan0", "tc ingress filter on lan0"});
    EXPECT_TRUE(kernel_forwards(AF_INET6, policy_side::out, lan0_));
    tc("filter del dev lan0 ingress pref 1");
    settle();
    expect({"tc egress filter on lan0", "tc ingress filter on lan0"});
    tc("filter del dev lan0 ingress");
    expect({"tc egress filter on lan0"});
    tc("qdisc del dev lan0 clsact");
    expect({});
}

TEST_F(policy_tc, ingress_qdisc)
{
    make_source();
    tc("qdisc add dev lan0 ingress");
    expect({});
    tc("filter add dev lan0 parent ffff:" + all_packets + "classid 1:1");
    expect({"tc ingress filter on lan0"});
    make_source();
    expect({"tc ingress filter on lan0"});
    tc("qdisc del dev lan0 ingress");
    expect({});
}

TEST_F(policy_tc, a_shared_block_is_a_reason_with_or_without_filters)
{
    make_source();
    tc("qdisc add dev lan0 ingress_block 22 egress_block 23 clsact");
    expect({"tc egress block on lan0", "tc ingress block on lan0"});
    tc("filter add block 22" + all_packets + "classid 1:1");
    expect({"tc egress block on lan0", "tc ingress block on lan0"});
    tc("qdisc del dev lan0 clsact");
    expect({});
}

TEST_F(policy_tc, a_discipline_below_another_one)
{
    netns_.ip("link add lan2 numtxqueues 2 type veth peer name lan3");
    netns_.ip("link set lan2 up");
    make_source();
    if (!has("qdisc replace dev lan2 root handle 1: mq")) {
        GTEST_SKIP() << "this kernel attaches no mq to a veth";
    }
    expect({});
    tc("qdisc add dev lan2 parent 1:1 tbf rate 1mbit burst 10k limit 10k");
    expect({"tc tbf on lan2"});
    tc("qdisc del dev lan2 parent 1:1");
    expect({});
}

TEST_F(policy_tc, a_filter_below_a_classful_discipline_adds_nothing)
{
    if (!has("qdisc add dev lan0 root handle 1: htb")) {
        GTEST_SKIP() << "this kernel has no htb";
    }
    make_source();
    expect({"tc htb on lan0"});
    tc("filter add dev lan0 parent 1:" + all_packets + "classid 1:1");
    settle();
    EXPECT_EQ(texts(), texts_of{"tc htb on lan0"});
}

TEST_F(policy_tc, filters_of_fq_codel)
{
    if (!has("qdisc add dev lan0 root fq_codel")) {
        GTEST_SKIP() << "this kernel has no fq_codel";
    }
    make_source();
    expect({});
    tc("filter add dev lan0" + all_packets + "classid 1:1");
    expect({"tc filter on lan0"});
    make_source();
    expect({"tc filter on lan0"});
    tc("qdisc replace dev lan0 root fq_codel ce_threshold 1ms");
    expect({"tc fq_codel on lan0", "tc filter on lan0"});
}

TEST_F(policy_tc, interfaces_are_renamed_and_go)
{
    tc("qdisc add dev lan0 root tbf rate 1mbit burst 10k limit 10k");
    make_source();
    expect({"tc tbf on lan0"});
    netns_.ip("link set lan0 down");
    netns_.ip("link set lan0 name wan0");
    expect({"tc tbf on wan0"});
    netns_.ip("link del wan0");
    expect({});
}

/// Many filters come and go beside one that stays: it is a reason all the time.
TEST_F(policy_tc, a_flood_of_filters)
{
    tc("qdisc add dev lan0 clsact");
    tc("filter add dev lan0 egress pref 5000" + all_packets + "classid 1:1");
    const std::string file = "/tmp/" + netns_.name() + ".batch";
    std::ofstream out(file);
    for (unsigned n = 1; n <= 1000; ++n) {
        const std::string filter = " dev lan0 egress pref " + std::to_string(n);
        out << "filter add" << filter << all_packets << "classid 1:1\nfilter del" << filter << "\n";
    }
    out.close();
    make_source(64U << 10);
    std::thread beside([&] { tc("-batch " + file); });
    for (int i = 0; i < 300; ++i) {
        settle();
        EXPECT_TRUE(kernel_forwards(AF_INET, policy_side::out, lan0_));
    }
    beside.join();
    std::filesystem::remove(file);
    expect({"tc egress filter on lan0"});
    tc("filter del dev lan0 egress");
    expect({});
}

TEST_F(policy_tc, lost_messages_are_a_doubt)
{
    make_source(4096U);
    expect({});
    for (int i = 0; i < 20; ++i) {
        tc("qdisc replace dev lan1 root pfifo limit " + std::to_string(10 + i));
    }
    tc("qdisc add dev lan0 root tbf rate 1mbit burst 10k limit 10k");
    source_->process();
    EXPECT_EQ(texts(), texts_of{"tc: messages of the kernel were lost"});
    EXPECT_TRUE(kernel_forwards(AF_INET, policy_side::in, lan0_));
    EXPECT_TRUE(kernel_forwards(AF_INET6, policy_side::in, lan0_ + 1));
    expect({"tc tbf on lan0"});
}

/// A message about a queueing discipline, as the kernel would send it.
class qdisc_of
{
public:
    explicit qdisc_of(const char *kind)
    {
        message_ = mnl_nlmsg_put_header(space_);
        message_->nlmsg_type = RTM_NEWQDISC;
        mnl_nlmsg_put_extra_header(message_, sizeof(tcmsg));
        mnl_attr_put_strz(message_, TCA_KIND, kind);
    }
    qdisc_of &option(std::uint16_t type, std::uint32_t value)
    {
        nlattr *options = mnl_attr_nest_start(message_, TCA_OPTIONS);
        mnl_attr_put_u32(message_, type, value);
        mnl_attr_nest_end(message_, options);
        return *this;
    }
    bool neutral() const { return parse_qdisc(*message_).is_neutral(); }

private:
    alignas(nlmsghdr) char space_[256] = {};
    nlmsghdr *message_;
};

TEST(policy_tc_messages, kinds)
{
    for (const char *kind : {"noqueue", "pfifo_fast", "mq", "fq", "fq_codel"}) {
        EXPECT_TRUE(qdisc_of(kind).neutral()) << kind;
    }
    for (const char *kind : {"tbf", "htb", "hfsc", "netem", "cake", "red", "sfq", "codel", "ets", "taprio", "mqprio",
                             "prio", "blackhole", "a kind of tomorrow", ""}) {
        EXPECT_FALSE(qdisc_of(kind).neutral()) << kind;
    }
}

TEST(policy_tc_messages, options_that_pace_or_mark)
{
    EXPECT_TRUE(qdisc_of("fq").option(TCA_FQ_FLOW_MAX_RATE, ~0U).neutral());
    EXPECT_FALSE(qdisc_of("fq").option(TCA_FQ_FLOW_MAX_RATE, 1000).neutral());
    EXPECT_FALSE(qdisc_of("fq").option(TCA_FQ_CE_THRESHOLD, 1000).neutral());
    EXPECT_TRUE(qdisc_of("fq_codel").option(TCA_FQ_CODEL_LIMIT, 1000).neutral());
    EXPECT_FALSE(qdisc_of("fq_codel").option(TCA_FQ_CODEL_CE_THRESHOLD, 1000).neutral());
}

} // namespace
} // namespace halfpoll
