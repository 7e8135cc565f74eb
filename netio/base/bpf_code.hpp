// SPDX-License-Identifier: BSD-3-Clause
//
// An assembler for the small BPF programs of AF_XDP ports and shadows. A compiler for them is no part of a user's
// machine.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

namespace halfpoll
{

namespace bpf
{

// Sizes are BPF_B, BPF_H, BPF_W and BPF_DW, registers BPF_REG_0 to BPF_REG_10.
constexpr bpf_insn load(std::uint8_t size, std::uint8_t dst, std::uint8_t src, int offset)
{
    return {static_cast<std::uint8_t>(BPF_LDX | size | BPF_MEM), dst, src, static_cast<std::int16_t>(offset), 0};
}
constexpr bpf_insn store(std::uint8_t size, std::uint8_t dst, int offset, std::uint8_t src)
{
    return {static_cast<std::uint8_t>(BPF_STX | size | BPF_MEM), dst, src, static_cast<std::int16_t>(offset), 0};
}
constexpr bpf_insn move(std::uint8_t dst, std::uint8_t src) { return {BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0}; }
constexpr bpf_insn set(std::uint8_t dst, int value) { return {BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value}; }
constexpr bpf_insn add(std::uint8_t dst, int value) { return {BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, value}; }
constexpr bpf_insn mask(std::uint8_t dst, int value) { return {BPF_ALU64 | BPF_AND | BPF_K, dst, 0, 0, value}; }
/// Swaps a value of 16 bits between network order and the CPU's.
constexpr bpf_insn swap16(std::uint8_t dst) { return {BPF_ALU | BPF_END | BPF_TO_BE, dst, 0, 0, 16}; }
/// *(u64 *)dst += src
constexpr bpf_insn atomic_add(std::uint8_t dst, std::uint8_t src)
{
    return {BPF_STX | BPF_DW | BPF_ATOMIC, dst, src, 0, BPF_ADD};
}
constexpr bpf_insn call(int function) { return {BPF_JMP | BPF_CALL, 0, 0, 0, function}; }
constexpr bpf_insn call_kernel(int btf_id)
{
    constexpr std::uint8_t kfunc = 2; // BPF_PSEUDO_KFUNC_CALL, missing in the headers of Debian 12
    return {BPF_JMP | BPF_CALL, 0, kfunc, 0, btf_id};
}
constexpr bpf_insn leave() { return {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}; }

} // namespace bpf

/// A program in the making. Jumps go forward, to a place that is set later.
class bpf_code
{
public:
    /// A place to jump to.
    struct label {
        std::vector<std::size_t> from; ///< jumps that wait for it
    };

    void put(const bpf_insn &insn) { code_.push_back(insn); }
    void put(std::initializer_list<bpf_insn> insns)
    {
        for (const bpf_insn &insn : insns) {
            put(insn);
        }
    }
    /// Loads the address of a map.
    void load_map(std::uint8_t dst, int map) { load_wide(dst, BPF_PSEUDO_MAP_FD, map, 0); }
    /// Loads the address of the value of a map with one element, plus an offset.
    void load_map_value(std::uint8_t dst, int map, std::size_t offset = 0)
    {
        load_wide(dst, BPF_PSEUDO_MAP_VALUE, map, static_cast<int>(offset));
    }
    /// Jumps if `dst` compares so with a value or a register: BPF_JEQ, BPF_JNE, BPF_JGT, …
    void jump(std::uint8_t condition, std::uint8_t dst, int value, label &to)
    {
        to.from.push_back(code_.size());
        put({static_cast<std::uint8_t>(BPF_JMP | condition | BPF_K), dst, 0, 0, value});
    }
    void jump_if(std::uint8_t condition, std::uint8_t dst, std::uint8_t src, label &to)
    {
        to.from.push_back(code_.size());
        put({static_cast<std::uint8_t>(BPF_JMP | condition | BPF_X), dst, src, 0, 0});
    }
    void jump(label &to)
    {
        to.from.push_back(code_.size());
        put({BPF_JMP | BPF_JA, 0, 0, 0, 0});
    }
    /// The next instruction is where the jumps to `to` lead.
    void place(const label &to)
    {
        for (const std::size_t from : to.from) {
            code_[from].off = static_cast<std::int16_t>(code_.size() - from - 1);
        }
    }
    const std::vector<bpf_insn> &insns() const noexcept { return code_; }

private:
    void load_wide(std::uint8_t dst, std::uint8_t kind, int low, int high)
    {
        put({{BPF_LD | BPF_DW | BPF_IMM, dst, kind, 0, low}, {0, 0, 0, 0, high}});
    }

    std::vector<bpf_insn> code_;
};

} // namespace halfpoll
