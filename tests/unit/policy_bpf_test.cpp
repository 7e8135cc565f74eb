// SPDX-License-Identifier: BSD-3-Clause
#include "source_rig.hpp"

#include "forward/policy/bpf_source.hpp"

#include <halfpoll/netns.hpp>

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>
#include <libmnl/libmnl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_hook.h>
#include <net/if.h>
#include <optional>
#include <sys/syscall.h>
#include <unistd.h>

namespace halfpoll
{
namespace
{

// By number: the headers of Debian 12 lack them.
constexpr int type_netfilter = 32;
constexpr auto attach_netfilter = static_cast<bpf_attach_type>(45);
constexpr auto tcx_ingress = static_cast<bpf_attach_type>(46);
constexpr auto tcx_egress = static_cast<bpf_attach_type>(47);

/// Loads a program that returns `verdict`.
int load(int type, int verdict, bpf_attach_type attach = {})
{
    const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, verdict}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    bpf_prog_load_opts options{};
    options.sz = sizeof options;
    options.expected_attach_type = attach;
    return bpf_prog_load(static_cast<bpf_prog_type>(type), "test", "BSD", code, std::size(code), &options);
}

/// Makes a netfilter link in the namespace of the calling thread.
int link_netfilter(int program, std::uint32_t pf, std::uint32_t hook)
{
    struct {
        std::uint32_t program, target, attach_type, flags, pf, hook;
        std::int32_t priority;
        std::uint32_t netfilter_flags;
    } attr{static_cast<std::uint32_t>(program), 0, attach_netfilter, 0, pf, hook, -128, 0};
    return static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr));
}

std::uint32_t id_of(int link)
{
    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    EXPECT_EQ(bpf_obj_get_info_by_fd(link, &info, &size), 0);
    return info.id;
}

class policy_bpf_test : public testing::Test
{
protected:
    policy_bpf_test()
    {
        rig_.netns.ip("tuntap add lan0 mode tap");
        rig_.netns.ip("link set lan0 up");
        const netns_scope inside(rig_.netns.name());
        ifindex_ = static_cast<int>(if_nametoindex("lan0"));
        in_ = "46: in by " + std::to_string(ifindex_) + ": ";
        out_ = "46: out by " + std::to_string(ifindex_) + ": ";
    }

    test::source_rig<bpf_source> rig_{policy_kind::bpf};
    int ifindex_ = 0;
    std::string in_, out_;
};

TEST_F(policy_bpf_test, interface_without_programs) { EXPECT_EQ(rig_.texts(), std::set<std::string>()); }

/// `ip link set xdp` tells the kernel by netlink, which then notifies.
TEST_F(policy_bpf_test, xdp_program)
{
    const owned_fd program(load(BPF_PROG_TYPE_XDP, XDP_PASS));
    ASSERT_GE(program.get(), 0) << std::strerror(errno);
    const netns_scope inside(rig_.netns.name());
    for (const std::uint32_t mode : {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE}) {
        ASSERT_EQ(bpf_xdp_attach(ifindex_, program.get(), mode, nullptr), 0) << std::strerror(errno);
        rig_.expect({in_ + "bpf xdp on lan0"});
        ASSERT_EQ(bpf_xdp_detach(ifindex_, mode, nullptr), 0);
        rig_.expect({});
    }
}

TEST_F(policy_bpf_test, xdp_link)
{
    const owned_fd program(load(BPF_PROG_TYPE_XDP, XDP_PASS));
    {
        const netns_scope inside(rig_.netns.name());
        const owned_fd link(bpf_link_create(program.get(), ifindex_, BPF_XDP, nullptr));
        ASSERT_GE(link.get(), 0) << std::strerror(errno);
        rig_.expect({in_ + "bpf xdp on lan0"});
    }
    rig_.expect({});
}

TEST_F(policy_bpf_test, tcx)
{
    const owned_fd program(load(BPF_PROG_TYPE_SCHED_CLS, 0));
    const netns_scope inside(rig_.netns.name());
    if (bpf_prog_attach(program.get(), ifindex_, tcx_egress, 0) != 0) {
        GTEST_SKIP() << "tcx (Linux 6.6): " << std::strerror(errno);
    }
    rig_.expect({out_ + "bpf tcx egress on lan0"});
    {
        const owned_fd link(bpf_link_create(program.get(), ifindex_, tcx_ingress, nullptr));
        ASSERT_GE(link.get(), 0) << std::strerror(errno);
        rig_.expect({in_ + "bpf tcx ingress on lan0", out_ + "bpf tcx egress on lan0"});
    }
    ASSERT_EQ(bpf_prog_detach2(program.get(), ifindex_, tcx_egress), 0);
    rig_.expect({});
}

/// An interface of another kind can be no shadow.
TEST_F(policy_bpf_test, other_interfaces)
{
    rig_.netns.ip("link add veth0 type veth peer name veth1");
    const owned_fd program(load(BPF_PROG_TYPE_XDP, XDP_PASS));
    const netns_scope inside(rig_.netns.name());
    for (const char *name : {"veth0", "lo", "lan0"}) {
        ASSERT_EQ(bpf_xdp_attach(static_cast<int>(if_nametoindex(name)), program.get(), XDP_FLAGS_SKB_MODE, nullptr),
                  0);
    }
    rig_.expect({in_ + "bpf xdp on lan0"});
}

TEST_F(policy_bpf_test, netfilter_links)
{
    const owned_fd program(load(type_netfilter, NF_ACCEPT, attach_netfilter));
    if (program.get() < 0) {
        GTEST_SKIP() << "BPF programs for netfilter (Linux 6.4): " << std::strerror(errno);
    }
    const netns_scope inside(rig_.netns.name());
    {
        const owned_fd input(link_netfilter(program.get(), NFPROTO_IPV4, NF_INET_LOCAL_IN));
        const owned_fd forward(link_netfilter(program.get(), NFPROTO_IPV4, NF_INET_FORWARD));
        const owned_fd post(link_netfilter(program.get(), NFPROTO_IPV6, NF_INET_POST_ROUTING));
        ASSERT_TRUE(input.get() >= 0 && forward.get() >= 0 && post.get() >= 0) << std::strerror(errno);
        rig_.expect({"4: bpf netfilter link " + std::to_string(id_of(forward.get())) + " forward",
                     "6: bpf netfilter link " + std::to_string(id_of(post.get())) + " postrouting"});
    }
    rig_.expect({});
}

TEST_F(policy_bpf_test, kernel_with_hooks_for_programs)
{
    const owned_fd program(load(type_netfilter, NF_ACCEPT, attach_netfilter));
    EXPECT_EQ(lacks_bpf_hooks(), program.get() < 0);
}

/// What cannot be known is a reason.
TEST_F(policy_bpf_test, without_permission)
{
    policy policies;
    const epoll_set events;
    const netns_scope inside(rig_.netns.name());
    ASSERT_EQ(seteuid(65534), 0);
    const bpf_source source(policies, events, "");
    ASSERT_EQ(seteuid(0), 0);
    EXPECT_TRUE(policies.kernel_forwards(AF_INET, policy_side::in, {.ifindex = ifindex_, .name = "lan0"}));
    std::size_t reasons = 0;
    policies.visit([&](policy_kind kind, const policy_reason &reason) {
        reasons += kind == policy_kind::bpf && reason == policy_reason{.text = reason.text} ? 1 : 0;
    });
    EXPECT_EQ(reasons, 1U);
}

/// A message of the kernel's list of hooks.
struct hook_message {
    hook_message(std::uint8_t family, std::uint32_t hook, std::uint32_t type)
    {
        nlmsghdr *message = mnl_nlmsg_put_header(space);
        static_cast<nfgenmsg *>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)))->nfgen_family = family;
        mnl_attr_put_u32(message, NFNLA_HOOK_HOOKNUM, htonl(hook));
        mnl_attr_put_strz(message, NFNLA_HOOK_FUNCTION_NAME, "nf_hook_run_bpf");
        nlattr *info = mnl_attr_nest_start(message, NFNLA_HOOK_CHAIN_INFO);
        mnl_attr_put_u32(message, NFNLA_HOOK_INFO_TYPE, htonl(type));
        nlattr *description = mnl_attr_nest_start(message, NFNLA_HOOK_INFO_DESC);
        mnl_attr_put_u32(message, 1, htonl(12));
        mnl_attr_nest_end(message, description);
        mnl_attr_nest_end(message, info);
    }
    const nlmsghdr &operator*() const { return *reinterpret_cast<const nlmsghdr *>(space); }
    alignas(nlmsghdr) char space[256] = {};
};

TEST(nf_hooks_test, reasons)
{
    EXPECT_EQ(reason_of_hook(*hook_message(NFPROTO_IPV4, NF_INET_FORWARD, 2)),
              (policy_reason{.family = AF_INET, .text = "bpf netfilter program 12 forward"}));
    EXPECT_EQ(reason_of_hook(*hook_message(NFPROTO_IPV6, NF_INET_PRE_ROUTING, 2)),
              (policy_reason{.family = AF_INET6, .text = "bpf netfilter program 12 prerouting"}));
    EXPECT_EQ(reason_of_hook(*hook_message(NFPROTO_IPV4, NF_INET_LOCAL_IN, 2)), std::nullopt);
    EXPECT_EQ(reason_of_hook(*hook_message(NFPROTO_IPV4, NF_INET_FORWARD, 1)), std::nullopt) << "nftables";
}

/// A kernel that cannot list hooks says so.
TEST(nf_hooks_test, list)
{
    const test::test_netns netns("policy");
    nf_hooks hooks(netns.name());
    const auto found = hooks.look();
    EXPECT_TRUE(!found || found->empty());
}

} // namespace
} // namespace halfpoll
