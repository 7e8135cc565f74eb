// SPDX-License-Identifier: BSD-3-Clause
//
// The Toeplitz hash is a product of polynomials over GF(2). Put input bit j at 2^(31-j) and key bit k at 2^k. Then
// input bit j and key bit j + i meet at 2^(31+i). So the hash, first bit lowest, is in bits 31 to 62 of the carry-less
// product of 32 bits of input and the 64 key bits that begin at the same position. The products of all input words are
// XORed; the 32 bits are cut out once, and reversed for the whole burst.
#include "flow_hash_levels.hpp"

#include <immintrin.h>

#include <array>

namespace halfpoll
{
namespace
{

/// By input word: the 64 bits of the key that begin at the word's first bit; the first one is the lowest. Set before
/// the first packet, constant after that.
alignas(16) std::array<std::uint64_t, 10> windows{};

/// The windows of words `first` and `first` + 1.
__m128i window_pair(unsigned first) noexcept
{
    return _mm_loadu_si128(reinterpret_cast<const __m128i *>(&windows[first]));
}

/// Converts four words of input to host order: the first byte is the most significant one.
__m128i host_order(__m128i words) noexcept
{
    return _mm_shuffle_epi8(words, _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
}

/// The product sum of two words, each in the low half of 64 bits.
__m128i two_words(__m128i wide, unsigned first) noexcept
{
    const __m128i keys = window_pair(first);
    return _mm_xor_si128(_mm_clmulepi64_si128(wide, keys, 0x00), _mm_clmulepi64_si128(wide, keys, 0x11));
}

__m128i four_words(const std::uint8_t *at, unsigned first) noexcept
{
    const __m128i words = host_order(_mm_loadu_si128(reinterpret_cast<const __m128i *>(at)));
    const __m128i zero = _mm_setzero_si128();
    return _mm_xor_si128(two_words(_mm_unpacklo_epi32(words, zero), first),
                         two_words(_mm_unpackhi_epi32(words, zero), first + 2));
}

/// Reverses the bits of each 32-bit lane.
__m128i reverse_bits(__m128i v) noexcept
{
    const __m128i low_half = _mm_set1_epi8(0x0F);
    const __m128i reversed = _mm_set_epi8(15, 7, 11, 3, 13, 5, 9, 1, 14, 6, 10, 2, 12, 4, 8, 0);
    const __m128i low = _mm_shuffle_epi8(_mm_slli_epi16(reversed, 4), _mm_and_si128(v, low_half));
    const __m128i high = _mm_shuffle_epi8(reversed, _mm_and_si128(_mm_srli_epi16(v, 4), low_half));
    return host_order(_mm_or_si128(low, high));
}

struct carry_less {
    using raw = std::uint64_t; ///< the product before bits 31 to 62 are cut out

    static raw low(__m128i v) noexcept { return static_cast<raw>(_mm_cvtsi128_si64(v)); }

    static raw plain(const std::uint8_t *addresses_ports) noexcept
    {
        const __m128i words = host_order(_mm_loadu_si128(reinterpret_cast<const __m128i *>(addresses_ports)));
        const __m128i zero = _mm_setzero_si128();
        const __m128i ports = _mm_clmulepi64_si128(_mm_unpackhi_epi32(words, zero), window_pair(2), 0x00);
        return low(_mm_xor_si128(two_words(_mm_unpacklo_epi32(words, zero), 0), ports));
    }
    static raw of(const flow_keys &keys) noexcept
    {
        const __m128i ports = _mm_cvtsi64_si128(rte_be_to_cpu_32(keys.ports));
        if (keys.ip6) {
            const __m128i addresses = _mm_xor_si128(four_words(keys.addresses, 0), four_words(keys.addresses + 16, 4));
            return low(_mm_xor_si128(addresses, _mm_clmulepi64_si128(ports, window_pair(8), 0x00)));
        }
        const __m128i words = host_order(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(keys.addresses)));
        const __m128i addresses = two_words(_mm_unpacklo_epi32(words, _mm_setzero_si128()), 0);
        return low(_mm_xor_si128(addresses, _mm_clmulepi64_si128(ports, window_pair(2), 0x00)));
    }
    static void finish(raw *from, unsigned n, std::uint32_t *to) noexcept
    {
        for (unsigned i = n; i < n + 3; ++i) {
            from[i] = 0; // the last group of four may have fewer
        }
        for (unsigned i = 0; i < n; i += 4) {
            const auto *products = reinterpret_cast<const __m128i *>(from + i);
            const __m128i a = _mm_srli_epi64(_mm_load_si128(products), 31);
            const __m128i b = _mm_srli_epi64(_mm_load_si128(products + 1), 31);
            const __m128 cut = _mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), _MM_SHUFFLE(2, 0, 2, 0));
            _mm_store_si128(reinterpret_cast<__m128i *>(to + i), reverse_bits(_mm_castps_si128(cut)));
        }
    }
};

} // namespace

void flow_hash_pclmul_set_key(const std::uint8_t *key) noexcept
{
    windows = {};
    for (unsigned word = 0; word < 9; ++word) {
        for (unsigned bit = 0; bit < 64; ++bit) {
            const std::uint64_t set = key[word * 4 + bit / 8] >> (7 - bit % 8) & 1;
            windows[word] |= set << bit;
        }
    }
}

void flow_hash_pclmul(rte_mbuf *const *pkts, unsigned n, std::uint32_t *hash) noexcept
{
    hash_burst<carry_less>(pkts, n, hash);
}

} // namespace halfpoll
