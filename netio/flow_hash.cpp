// SPDX-License-Identifier: BSD-3-Clause
//
// Toeplitz: for each set bit of the input, 32 bits of the key that begin at that bit's number; all of them XORed.
#include "flow_hash.hpp"

namespace halfpoll
{
namespace
{

/// Half a byte of input at a time: 36 bytes have 72 of them.
struct nibble_table {
    std::uint32_t part[72][16] = {};
};

/// 32 bits of the key, the first of them at bit `first`.
constexpr std::uint32_t key_window(unsigned first)
{
    std::uint64_t bits = 0;
    for (unsigned i = 0; i < 5; ++i) {
        const unsigned byte = first / 8 + i;
        bits = bits << 8 | (byte < TOEPLITZ_KEY.size() ? TOEPLITZ_KEY[byte] : 0);
    }
    return static_cast<std::uint32_t>(bits >> (8 - first % 8));
}

constexpr nibble_table make_table()
{
    nibble_table table;
    for (unsigned at = 0; at < 72; ++at) {
        for (unsigned nibble = 0; nibble < 16; ++nibble) {
            for (unsigned bit = 0; bit < 4; ++bit) {
                table.part[at][nibble] ^= (nibble & (8U >> bit)) ? key_window(at * 4 + bit) : 0;
            }
        }
    }
    return table;
}

constexpr nibble_table table = make_table();

struct portable {
    using raw = std::uint32_t;

    /// `length` bytes that lie `at` bytes into the input.
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
