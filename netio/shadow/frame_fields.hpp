// SPDX-License-Identifier: BSD-3-Clause
//
// Fields of the headers that merging and segmentation read and write.
#pragma once

#include <rte_byteorder.h>
#include <rte_ip.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace halfpoll
{

inline constexpr unsigned IP4_SHORTEST = 20, IP4_CHECKSUM = 10, IP6_LENGTH = 40;
inline constexpr unsigned TCP_SHORTEST = 20, TCP_CHECKSUM = 16, UDP_LENGTH = 8, UDP_CHECKSUM = 6;
inline constexpr unsigned TCP_FIN = 0x01, TCP_PSH = 0x08, TCP_CWR = 0x80;

inline std::uint16_t get16(const std::uint8_t *at) noexcept { return static_cast<std::uint16_t>(at[0] << 8 | at[1]); }
inline std::uint32_t get32(const std::uint8_t *at) noexcept { return std::uint32_t{get16(at)} << 16 | get16(at + 2); }
inline void put16(std::uint8_t *at, unsigned value) noexcept
{
    at[0] = static_cast<std::uint8_t>(value >> 8);
    at[1] = static_cast<std::uint8_t>(value);
}
inline void put32(std::uint8_t *at, std::uint32_t value) noexcept
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xFFFF);
}

/// A sum of words as a one's-complement sum of 16 bits.
inline std::uint16_t fold(std::uint32_t sum) noexcept
{
    sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<std::uint16_t>(sum + (sum >> 16));
}
/// The one's-complement sum of the words of some bytes, in the CPU's byte order; a last odd byte is followed by zero.
inline std::uint16_t sum_of(std::span<const std::uint8_t> bytes) noexcept
{
    return rte_be_to_cpu_16(rte_raw_cksum(bytes.data(), bytes.size()));
}

/// The link header in front of an IP packet.
struct link_header {
    unsigned length; ///< with VLAN tags
    bool ip4;        ///< else IPv6
};
/// Nothing: no IP packet follows, or its fixed header is not whole.
inline std::optional<link_header> link_header_of(std::span<const std::uint8_t> frame) noexcept
{
    for (unsigned type = 12; type + 2 <= frame.size(); type += 4) {
        switch (get16(&frame[type])) {
        case 0x8100:
        case 0x88A8:
            continue;
        case 0x0800:
            return type + 2 + IP4_SHORTEST > frame.size() ? std::nullopt : std::optional(link_header{type + 2, true});
        case 0x86DD:
            return type + 2 + IP6_LENGTH > frame.size() ? std::nullopt : std::optional(link_header{type + 2, false});
        default:
            return std::nullopt;
        }
    }
    return std::nullopt;
}

} // namespace halfpoll
