// SPDX-License-Identifier: BSD-3-Clause
//
// Toeplitz hash: for each bit that is set in the input, take 32 bits of the key that begin at the number of that bit;
// XOR them all.
#include "flow_hash_levels.hpp"
#include "netio/base/secret.hpp"

namespace halfpoll
{
namespace
{

/// Processes half a byte of input at a time: 36 bytes of input have 72 halves.
struct nibble_table {
    std::uint32_t part[72][16] = {};
};

/// 32 bits of the key, beginning with bit `first`.
std::uint32_t key_window(const flow_hash_key_bytes &key, unsigned first) noexcept
{
    std::uint64_t bits = 0;
    for (unsigned i = 0; i < 5; ++i) {
        bits = bits << 8 | key[first / 8 + i];
    }
    return static_cast<std::uint32_t>(bits >> (8 - first % 8));
}

nibble_table make_table(const flow_hash_key_bytes &key) noexcept
{
    nibble_table table;
    for (unsigned at = 0; at < 72; ++at) {
        for (unsigned nibble = 0; nibble < 16; ++nibble) {
            for (unsigned bit = 0; bit < 4; ++bit) {
                table.part[at][nibble] ^= (nibble & (8U >> bit)) ? key_window(key, at * 4 + bit) : 0;
            }
        }
    }
    return table;
}

// Set before the first packet, constant after that.
flow_hash_key_bytes the_key;
bool key_is_set = false;
nibble_table table;

struct portable {
    using raw = std::uint32_t;

    /// The contribution of `length` bytes at offset `at` of the input.
    static raw bytes(const std::uint8_t *data, unsigned length, unsigned at) noexcept
    {
        raw hash = 0;
        for (unsigned i = 0; i < length; ++i) {
            hash ^= table.part[2 * (at + i)][data[i] >> 4] ^ table.part[2 * (at + i) + 1][data[i] & 15];
        }
        return hash;
    }
    static raw plain(const std::uint8_t *addresses_ports) noexcept { return bytes(addresses_ports, 12, 0); }
    static raw of(const flow_keys &keys) noexcept
    {
        const unsigned addresses = keys.ip6 ? 32 : 8;
        std::uint8_t ports[4];
        std::memcpy(ports, &keys.ports, sizeof ports);
        return bytes(keys.addresses, addresses, 0) ^ bytes(ports, sizeof ports, addresses);
    }
    static void finish(const raw *from, unsigned n, std::uint32_t *to) noexcept
    {
        std::memcpy(to, from, n * sizeof *to);
    }
};

flow_hash_fn best_level() noexcept { return flow_hash_levels().front().hash; }

} // namespace

void set_flow_hash_key(std::span<const std::uint8_t> key) noexcept
{
    for (std::size_t i = 0; i < the_key.size(); ++i) {
        the_key[i] = key[i % key.size()];
    }
    table = make_table(the_key);
#ifdef __x86_64__
    flow_hash_pclmul_set_key(the_key.data());
#endif
    key_is_set = true;
}

const flow_hash_key_bytes &flow_hash_key()
{
    if (!key_is_set) {
        set_flow_hash_key(random_secret<flow_hash_key_bytes>());
    }
    return the_key;
}

void flow_hash_portable(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept
{
    hash_burst<portable>(pkts, n, hash);
}

std::span<const flow_hash_level> flow_hash_levels() noexcept
{
#ifdef __x86_64__
    static constexpr flow_hash_level levels[] = {{"pclmul", flow_hash_pclmul}, {"portable", flow_hash_portable}};
    static const bool pclmul = __builtin_cpu_supports("pclmul");
    return std::span(levels).subspan(pclmul ? 0 : 1);
#else
    static constexpr flow_hash_level levels[] = {{"portable", flow_hash_portable}};
    return levels;
#endif
}

void flow_hash_burst(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept
{
    static const flow_hash_fn best = best_level();
    best(pkts, n, hash);
}

} // namespace halfpoll
