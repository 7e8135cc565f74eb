// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// ip4_check(), written once on the compilers' vector types and compiled for each vector width in a file of its own. All
// checks are arithmetic on 32-bit lanes: a fault leaves a bit in `differs` or a sign bit in `negative`, so that no
// check needs a branch or a comparison.

#include "ip4_check.hpp"
#include "wire.hpp"

#include <utility>
#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace halfpoll
{
namespace
{

/// Read in place of a frame whose first segment does not hold a complete IPv4 header. It fails every check.
constexpr std::uint8_t no_frame[eth_len + ip4_len] = {};

template <unsigned W>
struct vectors;
template <>
struct vectors<4> {
    using words = std::uint32_t __attribute__((vector_size(16)));
    using bytes = std::uint8_t __attribute__((vector_size(16)));
};
template <>
struct vectors<8> {
    using words = std::uint32_t __attribute__((vector_size(32)));
    using bytes = std::uint8_t __attribute__((vector_size(32)));
};
template <>
struct vectors<16> {
    using words = std::uint32_t __attribute__((vector_size(64)));
    using bytes = std::uint8_t __attribute__((vector_size(64)));
};

// Concatenates two vectors. Written with intrinsics, since gcc 12 generates twice the instructions for the general
// shuffle.
#ifdef __AVX2__
inline vectors<8>::words join(vectors<4>::words low, vectors<4>::words high)
{
    const __m256i wide = _mm256_castsi128_si256(reinterpret_cast<__m128i>(low));
    return reinterpret_cast<vectors<8>::words>(_mm256_inserti128_si256(wide, reinterpret_cast<__m128i>(high), 1));
}
#endif
#ifdef __AVX512F__
inline vectors<16>::words join(vectors<8>::words low, vectors<8>::words high)
{
    const __m512i wide = _mm512_castsi256_si512(reinterpret_cast<__m256i>(low));
    const __m256i rest = reinterpret_cast<__m256i>(high);
    return reinterpret_cast<vectors<16>::words>(_mm512_maskz_inserti64x4(0xFF, wide, rest, 1));
}
#endif

template <unsigned W>
struct group {
    using vec = typename vectors<W>::words;
    using bytes = typename vectors<W>::bytes;
    using lane4 = vectors<4>::words;

    template <unsigned A, unsigned B, unsigned C, unsigned D, std::size_t... I>
    static vec interleave(vec x, vec y, std::index_sequence<I...>)
    {
        // Per 128 bits; an index from 4 on selects from the second operand.
        constexpr unsigned pick[4] = {A, B, C, D};
        return __builtin_shufflevector(
            x, y, (pick[I % 4] < 4 ? I / 4 * 4 + pick[I % 4] : W + I / 4 * 4 + pick[I % 4] - 4)...);
    }
    template <unsigned A, unsigned B, unsigned C, unsigned D>
    static vec interleave(vec x, vec y)
    {
        return interleave<A, B, C, D>(x, y, std::make_index_sequence<W>{});
    }

    template <std::size_t... I>
    static vec swap_bytes(vec x, std::index_sequence<I...>)
    {
        const bytes b = reinterpret_cast<bytes>(x);
        return reinterpret_cast<vec>(__builtin_shufflevector(b, b, (I / 4 * 4 + 3 - I % 4)...));
    }
    static vec swap_bytes(vec x) { return swap_bytes(x, std::make_index_sequence<W * 4>{}); }

    /// 16 bytes at `offset` of packets i, i + 4, …, one packet per 128 bits.
    static vec row(std::uint8_t *const *frame, unsigned offset)
    {
        if constexpr (W == 4) {
            return load<lane4>(frame[0] + offset);
        } else {
            return join(group<W / 2>::row(frame, offset), group<W / 2>::row(frame + W / 2, offset));
        }
    }

    /// The sign bit of each word, as one bit each.
    static std::uint32_t sign_bits(vec x)
    {
#ifdef __AVX512DQ__
        return _mm512_movepi32_mask(reinterpret_cast<__m512i>(x));
#elif defined __AVX2__
        return static_cast<std::uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(x)));
#elif defined __SSE2__
        return static_cast<std::uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(x)));
#else
        std::uint32_t bits = 0;
        for (unsigned i = 0; i < W; i++) {
            bits |= x[i] >> 31 << i;
        }
        return bits;
#endif
    }

    struct columns {
        vec c0, c1, c2, c3;
    };
    /// The four 32-bit words at `offset` of W packets: one vector for each word.
    static columns transpose(std::uint8_t *const *frame, unsigned offset)
    {
        const vec r0 = row(frame, offset), r1 = row(frame + 1, offset);
        const vec r2 = row(frame + 2, offset), r3 = row(frame + 3, offset);
        const vec a = interleave<0, 4, 1, 5>(r0, r1), b = interleave<0, 4, 1, 5>(r2, r3);
        const vec c = interleave<2, 6, 3, 7>(r0, r1), d = interleave<2, 6, 3, 7>(r2, r3);
        return {interleave<0, 1, 4, 5>(a, b), interleave<2, 3, 6, 7>(a, b), interleave<0, 1, 4, 5>(c, d),
                interleave<2, 3, 6, 7>(c, d)};
    }

    /// Sets the sign bit where the first octet of an address is 0, 127 or above 223: all martians (RFC 1812 4.2.2.11,
    /// 5.3.7), and the rest of network 0 and class E, which `is_martian()` (classify.cpp) tells from them.
    static vec suspicious(vec addr)
    {
        const vec net = addr & 0xFF;
        return (net - 1) | (223 - net) | ((net ^ 127) - 1);
    }

    /// Checks packets i to i + W - 1. Each word of the result is 0 if that packet has no fault and its frame ends with
    /// it. `ip4_header_fault()` and `ip4_route()` (classify.cpp) make the same tests on the packets that fail here.
    static vec check(ip4_burst &burst, unsigned i)
    {
        // front: c2 EtherType in its upper half, c3 version to total length.
        // back: c0 identification and fragment, c1 TTL to checksum, c2 source, c3 destination.
        const columns front = transpose(burst.frame + i, 2);
        const columns back = transpose(burst.frame + i, 18);
        const vec first = front.c3, ttl = back.c1;
        const vec total = (first >> 24) | (first >> 8 & 0xFF00);
        // Negative: the frame is shorter than total length (RFC 791 3.1). Positive: it has bytes behind the packet.
        const vec fits = load<vec>(burst.pkt_len + i) - eth_len - total;

        vec sum = (first & 0xFFFF) + (first >> 16) + (back.c0 & 0xFFFF) + (back.c0 >> 16);
        sum += (ttl & 0xFFFF) + (ttl >> 16) + (back.c2 & 0xFFFF) + (back.c2 >> 16);
        sum += (back.c3 & 0xFFFF) + (back.c3 >> 16);
        sum = (sum & 0xFFFF) + (sum >> 16); // ten words: one fold gives 0xFFFF if and only if the checksum is right

        // EtherType; version and header length without options (RFC 1812 5.2.2 (3), (4)); checksum (5.2.2 (2)).
        const vec differs = (front.c2 >> 16 ^ 0x0008) | ((first & 0xFF) ^ 0x45) | (sum ^ 0xFFFF);
        // Total length (RFC 1812 5.2.2 (5)), TTL (5.3.1), source and destination (5.3.7).
        const vec negative = (total - ip4_len) | fits | ((ttl & 0xFF) - 2) | suspicious(back.c2) | suspicious(back.c3);
        const vec fault = differs | (negative & 0x80000000);

        // TTL - 1 and checksum + 1 (RFC 1624). The checksum 0xFFFF, which no correct header has, becomes 0.
        const vec checksum = (ttl >> 16) + 1;
        const vec wrapped = checksum + ((checksum + 1) >> 16);
        store(burst.ttl_word + i, static_cast<vec>(((ttl & 0xFFFF) - 1) | wrapped << 16));
        store(burst.dst + i, swap_bytes(back.c3));
        store(burst.fault + i, fault);
        return fault | fits;
    }

    /// Reads mbufs first to end - 1. Unused lanes of the last group repeat the group's first packet. Returns 0 if all
    /// frames are addressed to `mac`.
    static std::uint64_t gather(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts,
                                unsigned first, unsigned end)
    {
        std::uint64_t others = 0;
#pragma GCC unroll 4
        for (unsigned i = first; i < end; i++) {
            const rte_mbuf *m = pkts[i];
            std::uint8_t *frame = static_cast<std::uint8_t *>(m->buf_addr) + m->data_off;
            frame = m->data_len >= sizeof no_frame ? frame : const_cast<std::uint8_t *>(no_frame);
            burst.frame[i] = frame;
            burst.pkt_len[i] = m->pkt_len;
            others |= load<std::uint64_t>(frame) ^ mac;
            routes.prefetch(load_be32(frame + 30));
        }
        for (unsigned i = end; i % W != 0; i++) {
            burst.frame[i] = burst.frame[first];
            burst.pkt_len[i] = burst.pkt_len[first];
        }
        return others << 16;
    }

    /// fib4::begin() for W packets.
    static vec begin(const ip4_burst &burst, const fib4 &routes, unsigned i)
    {
#ifdef __AVX512F__
        const vec index = load<vec>(burst.dst + i) >> 8;
        return reinterpret_cast<vec>(_mm512_mask_i32gather_epi32(_mm512_setzero_si512(), 0xFFFF,
                                                                 reinterpret_cast<__m512i>(index), routes.top(), 4));
#else
        vec entry;
        for (unsigned k = 0; k < W; k++) {
            entry[k] = routes.begin(burst.dst[i + k]);
        }
        return entry;
#endif
    }

    /// Next hops of all destinations. gather() has prefetched their first table entries.
    static void look_up(ip4_burst &burst, const fib4 &routes, unsigned n)
    {
        std::uint64_t longer = 0;
        for (unsigned i = 0; i < n; i += W) {
            const vec entry = begin(burst, routes, i);
            longer |= std::uint64_t{sign_bits(entry)} << i;
            store(burst.nexthop + i, entry & fib4::value_mask);
        }
        longer &= ~std::uint64_t{0} >> (64 - n);
        for (; longer != 0; longer &= longer - 1) {
            const unsigned i = static_cast<unsigned>(std::countr_zero(longer));
            burst.nexthop[i] = routes.finish(burst.nexthop[i], burst.dst[i]);
        }
    }

    static bool check_all(ip4_burst &burst, const fib4 &routes, std::uint64_t mac, rte_mbuf *const *pkts, unsigned n)
    {
        std::uint64_t others = 0;
        vec unsound{}, bytes{};
        unsigned first = 0;
        for (unsigned i = 0; i < n; i += W) {
            first = i;
            others |= gather(burst, routes, mac, pkts, i, n - i < W ? n : i + W);
            unsound |= check(burst, i);
            bytes += load<vec>(burst.pkt_len + i);
        }
        look_up(burst, routes, n);
        const std::uint64_t surplus = first + W - n;
        burst.bytes = -surplus * burst.pkt_len[first];
        std::uint32_t any = 0;
        for (unsigned i = 0; i < W; i++) {
            any |= unsound[i];
            burst.bytes += bytes[i];
        }
        return (any | others) == 0;
    }
};

} // namespace
} // namespace halfpoll
