// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace halfpoll
{

static_assert(std::endian::native == std::endian::little, "headers are read as little-endian words");

inline constexpr unsigned eth_len = 14;
inline constexpr unsigned ip4_len = 20; ///< without options
inline constexpr unsigned ip6_len = 40;
inline constexpr std::uint16_t ethertype_ip4 = 0x0800, ethertype_ip6 = 0x86DD, ethertype_arp = 0x0806;
inline constexpr std::uint16_t ethertype_vlan = 0x8100, ethertype_qinq = 0x88A8;

template <typename T>
T load(const void *p) noexcept
{
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <typename T>
void store(void *p, T v) noexcept
{
    std::memcpy(p, &v, sizeof v);
}
inline std::uint16_t load_be16(const void *p) noexcept { return __builtin_bswap16(load<std::uint16_t>(p)); }
inline std::uint32_t load_be32(const void *p) noexcept { return __builtin_bswap32(load<std::uint32_t>(p)); }

/// The 6 bytes of a link address, in the low 48 bits of the result.
inline std::uint64_t load_mac(const void *p) noexcept
{
    return load<std::uint32_t>(p) | std::uint64_t{load<std::uint16_t>(static_cast<const std::uint8_t *>(p) + 4)} << 32;
}

} // namespace halfpoll
