// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/packet/forwarder.hpp"
#include "forward/tables/ip_prefix.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace halfpoll
{

/// The prefixes that found a table full, each with its stand-in: the prefix in the FIB whose entry punts for it
/// meanwhile. It is the prefix itself if that is in the FIB, else the longest covering prefix that needs no room.
class stand_in_table
{
public:
    explicit stand_in_table(forwarder &fwd) : fwd_(fwd) {}

    /// Returns false, and notes which table is full, if the FIB has no room for the prefix.
    bool fits(const ip_prefix &prefix);
    /// True if a longer prefix has no room and its stand-in is shorter than `prefix`: an entry for `prefix` would take
    /// the packets of the longer prefix.
    bool hides_one(const ip_prefix &prefix) const;

    /// The stand-in of a prefix; no value: the prefix has room, or needs none.
    std::optional<ip_prefix> of(const ip_prefix &prefix) const;
    /// True if an entry punts for other prefixes than its own.
    bool serves(const ip_prefix &entry) const { return serving_.contains(entry); }
    /// Makes `entry` the stand-in of a prefix, after which the caller leaves the former stand-in. Returns true if
    /// `entry` begins to serve.
    bool enter(const ip_prefix &prefix, const ip_prefix &entry);
    /// The prefix has a stand-in, and needs none any more. The caller leaves the former one.
    void erase(const ip_prefix &prefix) { without_room_.erase(prefix); }
    /// Returns true if the former stand-in of a prefix ceases to serve.
    bool leave(const ip_prefix &prefix, const ip_prefix &entry);

    std::size_t size() const noexcept { return without_room_.size(); }
    /// The prefix without room that precedes `prefix` in their order, or the last one. There is at least one.
    const ip_prefix &previous(const ip_prefix &prefix) const;

    std::string full_table; ///< the table that found no room last; empty: a group found none for its members

private:
    forwarder &fwd_;
    std::map<ip_prefix, ip_prefix> without_room_;
    /// The stand-ins that differ from the prefix without room, and the number of prefixes that each stands in for.
    std::map<ip_prefix, std::uint32_t> serving_;
};

} // namespace halfpoll
