// SPDX-License-Identifier: BSD-3-Clause
#include "multipath_hash.hpp"

#include "wire.hpp"

#include <fstream>
#include <string>

namespace halfpoll
{
namespace
{

constexpr std::uint8_t protocol_tcp = 6, protocol_udp = 17;

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) noexcept
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15ULL;
    return hash ^ hash >> 29;
}

std::uint32_t finish(std::uint64_t hash) noexcept
{
    hash *= 0xBF58476D1CE4E5B9ULL;
    return static_cast<std::uint32_t>(hash >> 32);
}

/// A seed from boot_id, which the kernel draws at boot.
std::uint64_t boot_seed()
{
    std::string text;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> text;
    std::uint64_t seed = 0;
    for (const char c : text) {
        seed = mix(seed, static_cast<unsigned char>(c));
    }
    return seed;
}

const std::uint64_t seed = boot_seed();

/// Both ports in one word; 0 if the protocol has no ports, or if they are not in the first segment.
std::uint32_t ports(const rte_mbuf *m, std::uint8_t protocol, unsigned offset) noexcept
{
    const bool has_ports = protocol == protocol_tcp || protocol == protocol_udp;
    return has_ports && m->data_len >= offset + 4 ? load<std::uint32_t>(rte_pktmbuf_mtod_offset(m, void *, offset)) : 0;
}

} // namespace

std::uint32_t ip4_multipath_hash(const rte_mbuf *m) noexcept
{
    const auto *ip = rte_pktmbuf_mtod_offset(m, const std::uint8_t *, eth_len);
    const bool fragment = (load_be16(ip + 6) & 0x3FFF) != 0; // a fragment offset, or More Fragments (RFC 791 3.1)
    const unsigned header_len = (ip[0] & 15U) * 4;
    const std::uint64_t hash = mix(seed, load<std::uint64_t>(ip + 12));
    return finish(mix(hash, fragment ? 0 : ports(m, ip[9], eth_len + header_len)));
}

std::uint32_t ip6_multipath_hash(const rte_mbuf *m) noexcept
{
    const auto *ip = rte_pktmbuf_mtod_offset(m, const std::uint8_t *, eth_len);
    std::uint64_t hash = seed;
    for (unsigned at = 8; at < ip6_len; at += 8) {
        hash = mix(hash, load<std::uint64_t>(ip + at));
    }
    const std::uint32_t label = load_be32(ip) & 0xFFFFF;
    return finish(mix(hash, std::uint64_t{label} << 32 | ports(m, ip[6], eth_len + ip6_len)));
}

} // namespace halfpoll
