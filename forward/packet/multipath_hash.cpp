// SPDX-License-Identifier: BSD-3-Clause
#include "multipath_hash.hpp"

#include "flow_fields.hpp"
#include "wire.hpp"

#include <algorithm>
#include <fstream>
#include <string>

namespace halfpoll
{
namespace
{

constexpr std::uint8_t protocol_icmp = 1, protocol_icmp6 = 58;
constexpr unsigned icmp_len = 8;

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

/// Mixes two values whose order does not matter: the hash of the other direction is the same.
std::uint64_t mix_pair(std::uint64_t hash, const flow_address &a, const flow_address &b) noexcept
{
    const auto &[low, high] = std::minmax(a, b);
    return mix(mix(mix(mix(hash, low[0]), low[1]), high[0]), high[1]);
}

std::uint64_t mix_ports(std::uint64_t hash, std::uint16_t a, std::uint16_t b) noexcept
{
    return mix(hash, std::uint64_t{std::min(a, b)} << 16 | std::max(a, b));
}

/// Mixes the fields that are set in `fields` (multipath_policy::field).
std::uint64_t mix_fields(std::uint64_t hash, const flow_fields &f, unsigned fields) noexcept
{
    const auto has = [fields](multipath_policy::field field) { return (fields & field) != 0; };
    hash = mix_pair(hash, has(multipath_policy::src) ? f.src : flow_address{},
                    has(multipath_policy::dst) ? f.dst : flow_address{});
    hash = mix_ports(hash, has(multipath_policy::sport) ? f.sport : 0, has(multipath_policy::dport) ? f.dport : 0);
    const std::uint32_t label = has(multipath_policy::label) ? f.label : 0;
    return mix(hash, std::uint64_t{label} << 8 | (has(multipath_policy::protocol) ? f.protocol : 0));
}

/// Of the fields that an administrator chose. Nothing is looked for that is not among them.
std::uint32_t custom_hash(const rte_mbuf *m, bool ip6, unsigned fields) noexcept
{
    const unsigned outer = fields & ((1U << multipath_policy::inner_shift) - 1);
    const unsigned inner = fields >> multipath_policy::inner_shift;
    std::uint64_t hash = seed;
    if (outer != 0) {
        hash = mix_fields(hash, find_flow_fields(m, ip6, flow_depth::outer), outer);
    }
    if (inner != 0) {
        const flow_fields f = find_flow_fields(m, ip6, flow_depth::innermost);
        hash = f.encapsulated ? mix_fields(hash, f, inner) : hash;
    }
    return finish(hash);
}

std::uint32_t l4_hash(const rte_mbuf *m, bool ip6) noexcept
{
    using policy = multipath_policy;
    constexpr unsigned fields = policy::src | policy::dst | policy::protocol | policy::sport | policy::dport;
    return finish(mix_fields(seed, find_flow_fields(m, ip6, flow_depth::outer), fields));
}

std::uint32_t inner_l3_hash(const rte_mbuf *m, bool ip6) noexcept
{
    using policy = multipath_policy;
    const flow_fields f = find_flow_fields(m, ip6, flow_depth::innermost);
    const unsigned more = f.ip6 ? policy::label | policy::protocol : 0U;
    return finish(mix_fields(seed, f, policy::src | policy::dst | more));
}

/// The header of the packet that an ICMP error quotes, so that an error takes the path of what it is about; of any
/// other packet its own header. `space`: for a header that lies in several segments.
const std::uint8_t *ip4_flow_header(const rte_mbuf *m, const std::uint8_t *ip, std::uint8_t (&space)[ip4_len]) noexcept
{
    if (ip[9] != protocol_icmp || (load_be16(ip + 6) & 0x1FFF) != 0) {
        return ip;
    }
    constexpr std::uint32_t errors = 1U << 3 | 1U << 4 | 1U << 5 | 1U << 11 | 1U << 12; // RFC 792, 1812 4.3.3
    const unsigned at = eth_len + (ip[0] & 15U) * 4;
    std::uint8_t type_space;
    const auto *type = static_cast<const std::uint8_t *>(rte_pktmbuf_read(m, at, 1, &type_space));
    if (type == nullptr || *type > 31 || (errors >> *type & 1) == 0) {
        return ip;
    }
    const auto *quoted = static_cast<const std::uint8_t *>(rte_pktmbuf_read(m, at + icmp_len, ip4_len, space));
    return quoted != nullptr ? quoted : ip;
}

/// As ip4_flow_header(). Of the types below 128, which are errors (RFC 4443 2.1), the kernel knows 1 to 4 as such.
const std::uint8_t *ip6_flow_header(const rte_mbuf *m, const std::uint8_t *ip, std::uint8_t (&space)[ip6_len]) noexcept
{
    constexpr unsigned at = eth_len + ip6_len;
    std::uint8_t type_space;
    const auto *type =
        ip[6] == protocol_icmp6 ? static_cast<const std::uint8_t *>(rte_pktmbuf_read(m, at, 1, &type_space)) : nullptr;
    if (type == nullptr || *type < 1 || *type > 4) {
        return ip;
    }
    const auto *quoted = static_cast<const std::uint8_t *>(rte_pktmbuf_read(m, at + icmp_len, ip6_len, space));
    return quoted != nullptr ? quoted : ip;
}

std::uint32_t ip4_l3_hash(const rte_mbuf *m) noexcept
{
    std::uint8_t space[ip4_len];
    const auto *ip = rte_pktmbuf_mtod_offset(m, const std::uint8_t *, eth_len);
    ip = ip4_flow_header(m, ip, space);
    const std::uint32_t a = load<std::uint32_t>(ip + 12), b = load<std::uint32_t>(ip + 16);
    return finish(mix(seed, std::uint64_t{std::min(a, b)} << 32 | std::max(a, b)));
}

std::uint32_t ip6_l3_hash(const rte_mbuf *m) noexcept
{
    std::uint8_t space[ip6_len];
    const auto *ip = rte_pktmbuf_mtod_offset(m, const std::uint8_t *, eth_len);
    ip = ip6_flow_header(m, ip, space);
    const std::uint64_t hash = mix_pair(seed, load<flow_address>(ip + 8), load<flow_address>(ip + 24));
    return finish(mix(hash, std::uint64_t{load_be32(ip) & 0xFFFFF} << 8 | ip[6]));
}

} // namespace

std::uint32_t ip4_multipath_hash(multipath_policy policy, const rte_mbuf *m) noexcept
{
    switch (policy.kind) {
    case multipath_kind::l4:
        return l4_hash(m, false);
    case multipath_kind::inner_l3:
        return inner_l3_hash(m, false);
    case multipath_kind::custom:
        return custom_hash(m, false, policy.fields & ~multipath_policy::label);
    default:
        return ip4_l3_hash(m);
    }
}

std::uint32_t ip6_multipath_hash(multipath_policy policy, const rte_mbuf *m) noexcept
{
    switch (policy.kind) {
    case multipath_kind::l4:
        return l4_hash(m, true);
    case multipath_kind::inner_l3:
        return inner_l3_hash(m, true);
    case multipath_kind::custom:
        return custom_hash(m, true, policy.fields);
    default:
        return ip6_l3_hash(m);
    }
}

} // namespace halfpoll
