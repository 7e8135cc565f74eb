// SPDX-License-Identifier: BSD-3-Clause
#include "kernel_pass.hpp"

#include "netio/base/bpf_code.hpp"
#include <halfpoll/routing_protocols.hpp>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <rte_byteorder.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

namespace halfpoll
{

using namespace bpf;

namespace
{

// By number: the headers of Debian 12 lack the types of Linux 6.6.
constexpr std::uint32_t TCX_INGRESS = 46, TCX_EGRESS = 47;
constexpr int TCX_NEXT = -1;

/// What the programs look at.
struct pass_state {
    std::uint32_t passing; ///< PASS_…
    std::uint32_t shadow;  ///< ifindex of the interface that receives them
    std::uint32_t device;  ///< ifindex of the device by which the shadow's packets leave; 0: they do not pass
};
constexpr int PASS_IP4 = 1, PASS_IP6 = 2, PASS_TCP_OF_BOX = 4;
constexpr std::uint32_t MAX_ADDRESSES = 65536;

constexpr int ETHERNET = 14, IP4 = 20, IP6 = 40, PORTS = 4;
constexpr int TCP = 6, UDP = 17, ICMP6 = 58;
constexpr int FIRST_ND = 133, LAST_ND = 137; // types of ICMPv6

/// Appends a jump to `to` if one of the ports that r1 points to is in the list.
void append_ports(bpf_code &code, std::span<const std::uint16_t> ports, bpf_code::label &to)
{
    code.put({load(BPF_H, BPF_REG_4, BPF_REG_1, 0), load(BPF_H, BPF_REG_5, BPF_REG_1, 2)});
    for (const std::uint16_t port : ports) {
        code.jump(BPF_JEQ, BPF_REG_4, RTE_BE16(port), to);
        code.jump(BPF_JEQ, BPF_REG_5, RTE_BE16(port), to);
    }
}

/// Appends a jump to `keep` for a packet of a routing protocol. r1: its transport header, PORTS bytes long at least;
/// r3: its protocol.
void append_routing(bpf_code &code, bpf_code::label &keep)
{
    bpf_code::label not_tcp, done;
    for (const std::uint8_t protocol : ROUTING_PROTOCOLS) {
        code.jump(BPF_JEQ, BPF_REG_3, protocol, keep);
    }
    code.jump(BPF_JNE, BPF_REG_3, TCP, not_tcp);
    append_ports(code, ROUTING_TCP_PORTS, keep);
    code.jump(done);
    code.place(not_tcp);
    code.jump(BPF_JNE, BPF_REG_3, UDP, done);
    append_ports(code, ROUTING_UDP_PORTS, keep);
    code.place(done);
}

constexpr int ADDRESS = -16; ///< where a box_address is on the stack

/// Appends: r1: the transport header, r3: the protocol, of an IPv4 packet whose frame begins at r1 and ends at r2; on
/// the stack: its destination.
void append_ip4(bpf_code &code, bpf_code::label &keep, bpf_code::label &other)
{
    code.put({move(BPF_REG_3, BPF_REG_1), add(BPF_REG_3, ETHERNET + IP4 + PORTS)});
    code.jump_if(BPF_JGT, BPF_REG_3, BPF_REG_2, keep);
    code.put(load(BPF_B, BPF_REG_4, BPF_REG_1, ETHERNET));
    code.jump(BPF_JNE, BPF_REG_4, 0x45, keep); // options
    code.put({load(BPF_H, BPF_REG_4, BPF_REG_1, ETHERNET + 6), mask(BPF_REG_4, RTE_BE16(0x1FFF))});
    code.jump(BPF_JNE, BPF_REG_4, 0, other); // a later fragment has no ports
    code.put({load(BPF_W, BPF_REG_4, BPF_REG_1, ETHERNET + 16), store(BPF_W, BPF_REG_10, ADDRESS + 12, BPF_REG_4),
              set(BPF_REG_4, 0), store(BPF_DW, BPF_REG_10, ADDRESS, BPF_REG_4),
              set(BPF_REG_4, static_cast<int>(RTE_BE32(0xFFFF))), store(BPF_W, BPF_REG_10, ADDRESS + 8, BPF_REG_4)});
    code.put({load(BPF_B, BPF_REG_3, BPF_REG_1, ETHERNET + 9), add(BPF_REG_1, ETHERNET + IP4)});
}

/// The same for IPv6, without extension headers. Neighbour discovery does not pass.
void append_ip6(bpf_code &code, bpf_code::label &keep, bpf_code::label &other)
{
    code.put({move(BPF_REG_3, BPF_REG_1), add(BPF_REG_3, ETHERNET + IP6 + PORTS)});
    code.jump_if(BPF_JGT, BPF_REG_3, BPF_REG_2, keep);
    for (int word = 0; word < 16; word += 4) {
        code.put({load(BPF_W, BPF_REG_4, BPF_REG_1, ETHERNET + 24 + word),
                  store(BPF_W, BPF_REG_10, ADDRESS + word, BPF_REG_4)});
    }
    code.put({load(BPF_B, BPF_REG_3, BPF_REG_1, ETHERNET + 6), add(BPF_REG_1, ETHERNET + IP6)});
    bpf_code::label not_icmp;
    code.jump(BPF_JNE, BPF_REG_3, ICMP6, not_icmp);
    code.put(load(BPF_B, BPF_REG_4, BPF_REG_1, 0));
    code.jump(BPF_JLT, BPF_REG_4, FIRST_ND, other);
    code.jump(BPF_JGT, BPF_REG_4, LAST_ND, other);
    code.jump(keep);
    code.place(not_icmp);
}

/// Returns an fd or -errno.
int load_classifier(const bpf_code &code)
{
    return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "halfpoll_pass", "Dual BSD/GPL", code.insns().data(),
                         code.insns().size(), nullptr);
}

/// Returns an fd, or a negative number.
int link_tcx(int program, int ifindex, std::uint32_t where) noexcept
{
    bpf_attr attr{};
    attr.link_create.prog_fd = static_cast<std::uint32_t>(program);
    attr.link_create.target_ifindex = static_cast<std::uint32_t>(ifindex);
    attr.link_create.attach_type = where;
    return static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr));
}

void close_fd(int &fd) noexcept
{
    if (fd >= 0) {
        ::close(fd);
    }
    fd = -1;
}

} // namespace

kernel_pass::kernel_pass(int device) : device_(device)
{
    state_ = bpf_map_create(BPF_MAP_TYPE_ARRAY, "halfpoll_pass", sizeof(int), sizeof(pass_state), 1, nullptr);
    counts_ = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "halfpoll_passed", sizeof(int), 8, COUNTERS, nullptr);
    LIBBPF_OPTS(bpf_map_create_opts, on_demand, .map_flags = BPF_F_NO_PREALLOC);
    addresses_ = bpf_map_create(BPF_MAP_TYPE_HASH, "halfpoll_box", sizeof(box_address), 1, MAX_ADDRESSES, &on_demand);
    in_ = state_ >= 0 ? load_in() : state_;
    out_ = state_ >= 0 && counts_ >= 0 ? load_out() : std::min(state_, counts_);
    const int worst = std::min({state_, counts_, addresses_, in_, out_});
    refused_ = worst < 0 ? -worst : 0;
    if (refused_ != 0 || !attach_in()) {
        close_fd(counts_);
    }
}

kernel_pass::~kernel_pass()
{
    for (int *fd : {&out_link_, &in_link_, &out_, &in_, &addresses_, &counts_, &state_}) {
        close_fd(*fd);
    }
}

/// Appends: count[which] += by. `by` is one of r6 to r9, which keep their values.
void kernel_pass::append_count(bpf_code &code, counter which, std::uint8_t by) const
{
    constexpr int key = -4; // on the stack
    bpf_code::label none;
    code.put({set(BPF_REG_1, static_cast<int>(which)), store(BPF_W, BPF_REG_10, key, BPF_REG_1),
              move(BPF_REG_2, BPF_REG_10), add(BPF_REG_2, key)});
    code.load_map(BPF_REG_1, counts_);
    code.put(call(BPF_FUNC_map_lookup_elem));
    code.jump(BPF_JEQ, BPF_REG_0, 0, none);
    code.put(atomic_add(BPF_REG_0, by));
    code.place(none);
}

/// Appends a jump to `keep` if the address on the stack is none of addresses_.
void kernel_pass::append_lookup(bpf_code &code, bpf_code::label &keep) const
{
    code.load_map(BPF_REG_1, addresses_);
    code.put({move(BPF_REG_2, BPF_REG_10), add(BPF_REG_2, ADDRESS), call(BPF_FUNC_map_lookup_elem)});
    code.jump(BPF_JEQ, BPF_REG_0, 0, keep);
}

/// Unicast packets of the families pass, and those of TCP to the box, except those of routing protocols and neighbour
/// discovery: they have a way of their own through the runtime. The packets of a flow take the same way, whatever their
/// length.
void kernel_pass::append(bpf_code &code) const
{
    bpf_code::label keep, pass, not_ip4, transport, other;
    // r8: whether the packet's family passes, r7: whether TCP to the box does
    const auto look_at_family = [&](int family) {
        code.put({move(BPF_REG_8, BPF_REG_7), mask(BPF_REG_8, family), mask(BPF_REG_7, PASS_TCP_OF_BOX)});
    };
    code.load_map_value(BPF_REG_7, state_, offsetof(pass_state, passing));
    code.put(load(BPF_W, BPF_REG_7, BPF_REG_7, 0));
    code.jump(BPF_JEQ, BPF_REG_7, 0, keep);
    code.put({load(BPF_W, BPF_REG_1, BPF_REG_6, offsetof(xdp_md, data)),
              load(BPF_W, BPF_REG_2, BPF_REG_6, offsetof(xdp_md, data_end)), move(BPF_REG_3, BPF_REG_1),
              add(BPF_REG_3, ETHERNET)});
    code.jump_if(BPF_JGT, BPF_REG_3, BPF_REG_2, keep);
    code.put({load(BPF_B, BPF_REG_4, BPF_REG_1, 0), mask(BPF_REG_4, 1)});
    code.jump(BPF_JNE, BPF_REG_4, 0, keep); // a group address
    code.put(load(BPF_H, BPF_REG_4, BPF_REG_1, 12));
    code.jump(BPF_JNE, BPF_REG_4, RTE_BE16(0x0800), not_ip4);
    look_at_family(PASS_IP4);
    append_ip4(code, keep, other);
    code.jump(transport);
    code.place(not_ip4);
    code.jump(BPF_JNE, BPF_REG_4, RTE_BE16(0x86DD), keep);
    look_at_family(PASS_IP6);
    append_ip6(code, keep, other);
    code.place(transport);
    append_routing(code, keep);
    code.jump(BPF_JNE, BPF_REG_8, 0, pass);
    code.jump(BPF_JEQ, BPF_REG_7, 0, keep);
    code.jump(BPF_JNE, BPF_REG_3, TCP, keep);
    append_lookup(code, keep);
    code.jump(pass);
    code.place(other);
    code.jump(BPF_JEQ, BPF_REG_8, 0, keep);
    code.place(pass);
    code.put(set(BPF_REG_7, 1));
    append_count(code, IN, BPF_REG_7);
    code.put({set(BPF_REG_0, XDP_PASS), leave()});
    code.place(keep);
}

/// At the device: what has passed the XDP program arrives by the shadow.
int kernel_pass::load_in() const
{
    bpf_code code;
    code.load_map_value(BPF_REG_1, state_, offsetof(pass_state, shadow));
    code.put({load(BPF_W, BPF_REG_1, BPF_REG_1, 0), set(BPF_REG_2, BPF_F_INGRESS), call(BPF_FUNC_redirect), leave()});
    return load_classifier(code);
}

/// At the shadow: what it sends leaves by the device. A frame that is segmented later counts as its packets.
int kernel_pass::load_out() const
{
    bpf_code code;
    bpf_code::label off, segmented;
    code.load_map_value(BPF_REG_8, state_, offsetof(pass_state, device));
    code.put(load(BPF_W, BPF_REG_8, BPF_REG_8, 0));
    code.put(load(BPF_W, BPF_REG_7, BPF_REG_1, offsetof(__sk_buff, gso_segs)));
    code.jump(BPF_JEQ, BPF_REG_8, 0, off);
    code.jump(BPF_JNE, BPF_REG_7, 0, segmented);
    code.put(set(BPF_REG_7, 1));
    code.place(segmented);
    append_count(code, OUT, BPF_REG_7);
    code.put({move(BPF_REG_1, BPF_REG_8), set(BPF_REG_2, 0), call(BPF_FUNC_redirect), leave()});
    code.place(off);
    code.put({set(BPF_REG_0, TCX_NEXT), leave()});
    return load_classifier(code);
}

bool kernel_pass::attach_in() noexcept
{
    in_link_ = link_tcx(in_, device_, TCX_INGRESS);
    return in_link_ >= 0;
}

bool kernel_pass::attach_out(int shadow) noexcept
{
    if (out_link_ < 0 || shadow_ != shadow) {
        detach_out();
        out_link_ = link_tcx(out_, shadow, TCX_EGRESS);
        shadow_ = shadow;
    }
    return out_link_ >= 0;
}

void kernel_pass::detach_out() noexcept { close_fd(out_link_); }

void kernel_pass::write_state(std::uint32_t passing, int shadow, int device) noexcept
{
    const std::uint32_t only = 0;
    const pass_state state{
        .passing = passing, .shadow = static_cast<std::uint32_t>(shadow), .device = static_cast<std::uint32_t>(device)};
    bpf_map_update_elem(state_, &only, &state, BPF_ANY);
}

bool kernel_pass::apply(const pass_to_kernel &wanted) noexcept
{
    if (!usable()) {
        return false;
    }
    const bool wants_out = wanted.out && (wanted.ip4 || wanted.ip6);
    const bool out = wants_out && attach_out(wanted.shadow);
    if (!wants_out) {
        detach_out();
    }
    write_state((wanted.ip4 ? PASS_IP4 : 0U) | (wanted.ip6 ? PASS_IP6 : 0U) |
                    (wanted.tcp_of_box ? PASS_TCP_OF_BOX : 0U),
                wanted.shadow, out ? device_ : 0);
    return true;
}

void kernel_pass::pass_address(const box_address &address, bool passes) noexcept
{
    const std::uint8_t present = 1;
    if (passes) {
        bpf_map_update_elem(addresses_, address.data(), &present, BPF_ANY);
    } else {
        bpf_map_delete_elem(addresses_, address.data());
    }
}

bool kernel_pass::owns_program(std::uint32_t id) const noexcept
{
    for (const int program : {in_, out_}) {
        bpf_prog_info info{};
        std::uint32_t length = sizeof info;
        if (program >= 0 && bpf_obj_get_info_by_fd(program, &info, &length) == 0 && info.id == id) {
            return true;
        }
    }
    return false;
}

std::uint64_t kernel_pass::count(counter which) const
{
    std::vector<std::uint64_t> by_cpu(static_cast<std::size_t>(std::max(libbpf_num_possible_cpus(), 1)));
    const std::uint32_t key = which;
    if (!usable() || bpf_map_lookup_elem(counts_, &key, by_cpu.data()) != 0) {
        return 0;
    }
    return std::accumulate(by_cpu.begin(), by_cpu.end(), std::uint64_t{0});
}

} // namespace halfpoll
