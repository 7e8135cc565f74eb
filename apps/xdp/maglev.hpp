// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace halfpoll
{

/// Mixes a word into a hash. The result is the same on every machine.
inline std::uint64_t mix(std::uint64_t hash, std::uint64_t word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15;
    return hash ^ hash >> 32;
}

inline std::uint64_t hash_text(const std::string &text, std::uint64_t seed)
{
    for (const char c : text) {
        seed = mix(seed, static_cast<std::uint8_t>(c));
    }
    return mix(mix(seed, text.size()), 0xBF58476D1CE4E5B9);
}

/// Places of a Maglev table: a prime number, so that every step visits all of them.
inline constexpr std::uint32_t MAGLEV_PLACES = 65537;

/// Assigns each place to one of `names` (at most 65536, all different); returns the index of the name for each place.
/// Each name has its own order of the places, and the names take turns: each takes its next place that is free. So the
/// shares are equal, and few places change when the names do.
inline std::vector<std::uint16_t> make_maglev(const std::vector<std::string> &names)
{
    struct order {
        std::uint64_t next, step;
    };
    constexpr std::uint32_t free = ~std::uint32_t{0};
    std::vector<order> orders;
    for (const std::string &name : names) {
        orders.push_back({hash_text(name, 1) % MAGLEV_PLACES, hash_text(name, 2) % (MAGLEV_PLACES - 1) + 1});
    }
    std::vector<std::uint32_t> owner(MAGLEV_PLACES, free);
    for (std::uint32_t taken = 0; taken < MAGLEV_PLACES; ++taken) {
        order &o = orders[taken % orders.size()];
        while (owner[o.next] != free) {
            o.next = (o.next + o.step) % MAGLEV_PLACES;
        }
        owner[o.next] = static_cast<std::uint32_t>(taken % orders.size());
    }
    return {owner.begin(), owner.end()};
}

} // namespace halfpoll
