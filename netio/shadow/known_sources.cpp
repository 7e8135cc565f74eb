// SPDX-License-Identifier: BSD-3-Clause
#include "known_sources.hpp"

#include "netio/base/secret.hpp"

#include <rte_jhash.h>

#include <algorithm>
#include <cstring>

namespace halfpoll
{

known_sources::known_sources() : seeds_(random_secret<std::array<std::uint32_t, 2>>()), lines_(LINES) {}

source_id known_sources::id_of(const std::uint8_t *bytes, unsigned n) const noexcept
{
    std::uint32_t words[4] = {}; // rte_jhash reads aligned words
    std::memcpy(words, bytes, n);
    std::uint32_t high = seeds_[0], low = seeds_[1] + n;
    rte_jhash_32b_2hashes(words, 4, &high, &low);
    return (source_id{high} << 32 | low) | 1; // never 0
}

bool known_sources::contains(source_id id) const noexcept
{
    const line &where = lines_[(id >> 1) % LINES];
    bool found = false;
    for (const std::atomic<source_id> &each : where.ids) {
        found |= each.load(std::memory_order_relaxed) == id;
    }
    return found;
}

void known_sources::add(source_id id)
{
    if (uses_[id]++ != 0) {
        return;
    }
    for (std::atomic<source_id> &each : lines_[(id >> 1) % LINES].ids) {
        if (each.load(std::memory_order_relaxed) == 0) {
            return each.store(id, std::memory_order_relaxed);
        }
    }
}

void known_sources::remove(source_id id) noexcept
{
    const auto found = uses_.find(id);
    if (found == uses_.end() || --found->second != 0) {
        return;
    }
    uses_.erase(found);
    for (std::atomic<source_id> &each : lines_[(id >> 1) % LINES].ids) {
        if (each.load(std::memory_order_relaxed) == id) {
            each.store(0, std::memory_order_relaxed);
        }
    }
}

} // namespace halfpoll
