// SPDX-License-Identifier: BSD-3-Clause
#include "tap_steering.hpp"
#include "netio/base/bpf_code.hpp"
#include "netio/base/secret.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace halfpoll
{

using namespace bpf;

namespace
{

constexpr int ETHERNET = 14, TAG = 4, IP6 = 40, TCP = 6, UDP = 17;
constexpr int ETHERTYPE_VLAN = 0x8100, ETHERTYPE_QINQ = 0x88A8, ETHERTYPE_IP4 = 0x0800, ETHERTYPE_IP6 = 0x86DD;
constexpr std::uint8_t FRAME = BPF_REG_6; ///< the packet, where the loads below expect it
constexpr std::uint8_t AT = BPF_REG_7;    ///< offset of the header that is looked at
constexpr std::uint8_t HASH = BPF_REG_8;
constexpr std::uint8_t PROTOCOL = BPF_REG_9;

/// Loads from the frame, at AT + offset, into r0, in the CPU's order. Behind the end of the frame the program ends and
/// returns 0.
constexpr bpf_insn frame_load(std::uint8_t size, int offset)
{
    return {static_cast<std::uint8_t>(BPF_LD | size | BPF_IND), 0, AT, 0, offset};
}
constexpr bpf_insn multiply(std::uint8_t dst, int value) { return {BPF_ALU64 | BPF_MUL | BPF_K, dst, 0, 0, value}; }
constexpr bpf_insn sum(std::uint8_t dst, std::uint8_t src) { return {BPF_ALU64 | BPF_ADD | BPF_X, dst, src, 0, 0}; }
constexpr bpf_insn exclusive_or(std::uint8_t dst, std::uint8_t src)
{
    return {BPF_ALU64 | BPF_XOR | BPF_X, dst, src, 0, 0};
}
constexpr bpf_insn shift_left(std::uint8_t dst, int n) { return {BPF_ALU64 | BPF_LSH | BPF_K, dst, 0, 0, n}; }
constexpr bpf_insn shift_right(std::uint8_t dst, int n) { return {BPF_ALU64 | BPF_RSH | BPF_K, dst, 0, 0, n}; }

/// Appends: HASH = HASH * key + each of the 32-bit words from AT + first to AT + end.
void append_words(bpf_code &code, int key, int first, int end)
{
    for (int offset = first; offset < end; offset += 4) {
        code.put({frame_load(BPF_W, offset), multiply(HASH, key), sum(HASH, BPF_REG_0)});
    }
}

/// Appends: skips a VLAN tag. r0: the EtherType before and after.
void append_tag(bpf_code &code)
{
    bpf_code::label tag, none;
    code.jump(BPF_JEQ, BPF_REG_0, ETHERTYPE_VLAN, tag);
    code.jump(BPF_JNE, BPF_REG_0, ETHERTYPE_QINQ, none);
    code.place(tag);
    code.put({frame_load(BPF_H, 2), add(AT, TAG)});
    code.place(none);
}

/// A flow has the fields of flow_hash_burst(), but for IPv6 extension headers: packets with some go by their addresses.
/// `key`: a secret odd number.
bpf_code steering_program(int key)
{
    bpf_code code;
    bpf_code::label ip4, ip6, ports, done;
    code.put({move(FRAME, BPF_REG_1), set(AT, ETHERNET), set(HASH, 0), frame_load(BPF_H, -2)});
    append_tag(code);
    append_tag(code);
    code.jump(BPF_JEQ, BPF_REG_0, ETHERTYPE_IP4, ip4);
    code.jump(BPF_JEQ, BPF_REG_0, ETHERTYPE_IP6, ip6);
    code.put({set(BPF_REG_0, 0), leave()});

    code.place(ip4);
    append_words(code, key, 12, 20);
    code.put({frame_load(BPF_B, 9), move(PROTOCOL, BPF_REG_0), frame_load(BPF_H, 6), mask(BPF_REG_0, 0x3FFF)});
    code.jump(BPF_JNE, BPF_REG_0, 0, done); // a fragment
    code.put({frame_load(BPF_B, 0), mask(BPF_REG_0, 15), shift_left(BPF_REG_0, 2), sum(AT, BPF_REG_0)});
    code.jump(ports);

    code.place(ip6);
    append_words(code, key, 8, IP6);
    code.put({frame_load(BPF_B, 6), move(PROTOCOL, BPF_REG_0), add(AT, IP6)});

    code.place(ports);
    bpf_code::label has_ports;
    code.jump(BPF_JEQ, PROTOCOL, TCP, has_ports);
    code.jump(BPF_JNE, PROTOCOL, UDP, done);
    code.place(has_ports);
    append_words(code, key, 0, 4);

    code.place(done);
    code.put({multiply(HASH, key), move(BPF_REG_0, HASH), shift_right(BPF_REG_0, 32), exclusive_or(HASH, BPF_REG_0)});
    // The kernel divides by the number of queues and takes the rest.
    code.put({multiply(HASH, key), move(BPF_REG_0, HASH), shift_right(BPF_REG_0, 32), leave()});
    return code;
}

} // namespace

bool steer_by_flow(int fd) noexcept
{
    try {
        const bpf_code code = steering_program(static_cast<int>(random_secret<std::uint32_t>() | 1));
        int program = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "halfpoll_queue", "Dual BSD/GPL", code.insns().data(),
                                    code.insns().size(), nullptr);
        if (program < 0) {
            return false;
        }
        const bool taken = ioctl(fd, TUNSETSTEERINGEBPF, &program) == 0;
        close(program);
        return taken;
    } catch (const error &) { // no random bytes
        return false;
    }
}

} // namespace halfpoll
