// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/tables/fib.hpp"

#include <cstdint>
#include <random>
#include <set>
#include <utility>
#include <vector>

/// Routing tables like the Internet's, from fixed seeds.
namespace tables
{

template <typename Addr>
struct route {
    Addr addr;
    unsigned len;
};

/// Draws a prefix length by its share, in per cent.
template <std::size_t N>
unsigned draw_length(std::mt19937_64 &random, const std::pair<unsigned, unsigned> (&shares)[N])
{
    unsigned at = random() % 100;
    for (const auto &[len, share] : shares) {
        if (at < share) {
            return len;
        }
        at -= share;
    }
    return shares[N - 1].first;
}

inline std::vector<route<std::uint32_t>> ipv4(std::size_t count)
{
    static constexpr std::pair<unsigned, unsigned> lengths[] = {{24, 60}, {22, 11}, {23, 9}, {21, 5}, {20, 5}, {19, 3},
                                                                {18, 2},  {16, 2},  {17, 1}, {28, 1}, {32, 1}};
    if (count == 1) {
        return {{10U << 24, 8}};
    }
    std::mt19937_64 random(4);
    std::set<std::pair<std::uint32_t, unsigned>> seen;
    while (seen.size() < count) {
        const unsigned len = draw_length(random, lengths);
        const auto addr = static_cast<std::uint32_t>(random());
        const unsigned net = addr >> 24;
        if (net != 0 && net != 127 && net < 224) {
            seen.emplace(addr >> (32 - len) << (32 - len), len);
        }
    }
    std::vector<route<std::uint32_t>> routes;
    for (const auto &[addr, len] : seen) {
        routes.push_back({addr, len});
    }
    return routes;
}

/// Prefixes of allocations of /32, each of which is divided into parts, and these into sites.
inline std::vector<route<halfpoll::ip6_addr>> ipv6(std::size_t count)
{
    static constexpr std::pair<unsigned, unsigned> lengths[] = {{48, 48}, {32, 14}, {44, 10}, {40, 10}, {36, 5},
                                                                {29, 3},  {46, 4},  {64, 4},  {56, 1},  {128, 1}};
    if (count == 1) {
        return {{{0x20, 0x01, 0x0d, 0xb8}, 32}};
    }
    std::mt19937_64 random(6);
    const std::uint64_t allocations = count / 12 + 1;
    std::set<std::pair<halfpoll::ip6_addr, unsigned>> seen;
    while (seen.size() < count) {
        const unsigned len = draw_length(random, lengths);
        std::mt19937_64 of_allocation(random() % allocations);
        const std::uint64_t high = of_allocation();
        const std::uint64_t low = random();
        halfpoll::ip6_addr a{0x2a, static_cast<std::uint8_t>(high >> 8 & 15), static_cast<std::uint8_t>(high),
                             static_cast<std::uint8_t>(high >> 16), static_cast<std::uint8_t>(high >> 24 & 0x1F)};
        for (unsigned i = 5; i < 16; i++) {
            a[i] = static_cast<std::uint8_t>(i < 8 ? low >> (i * 8) : 0);
        }
        for (unsigned bit = len; bit < 128; bit++) {
            a[bit / 8] = static_cast<std::uint8_t>(a[bit / 8] & ~(0x80U >> bit % 8));
        }
        seen.emplace(a, len);
    }
    std::vector<route<halfpoll::ip6_addr>> routes;
    for (const auto &[addr, len] : seen) {
        routes.push_back({addr, len});
    }
    return routes;
}

inline void randomise_host(std::uint32_t &addr, unsigned len, std::uint64_t random)
{
    addr |= len == 32 ? 0 : static_cast<std::uint32_t>(random) >> len;
}

inline void randomise_host(halfpoll::ip6_addr &addr, unsigned len, std::uint64_t random)
{
    for (unsigned bit = len; bit < 128; bit++) {
        if (random >> bit % 64 & 1) {
            addr[bit / 8] = static_cast<std::uint8_t>(addr[bit / 8] | 0x80U >> bit % 8);
        }
    }
}

/// `count` addresses, spread over the prefixes of a table.
template <typename Addr>
std::vector<Addr> destinations(const std::vector<route<Addr>> &routes, std::size_t count)
{
    std::mt19937_64 random(7);
    std::vector<Addr> found;
    while (found.size() < count) {
        const route<Addr> &r = routes[random() % routes.size()];
        Addr addr = r.addr;
        randomise_host(addr, r.len, random());
        found.push_back(addr);
    }
    return found;
}

} // namespace tables
