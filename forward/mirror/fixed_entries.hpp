// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/packet/forwarder.hpp"
#include "mirror_routes.hpp"

#include <cstdint>
#include <map>

namespace halfpoll
{

/// Next hops and prefixes that do not depend on the kernel's state. The destructor removes them.
class fixed_entries
{
    static constexpr std::uint32_t unset = route_entry::none;

public:
    /// Throws `error` if a table is full.
    explicit fixed_entries(forwarder &fwd);
    ~fixed_entries();
    fixed_entries(const fixed_entries &) = delete;
    fixed_entries &operator=(const fixed_entries &) = delete;

    /// Next hops that only punt under one class or drop for one reason.
    std::uint32_t local = unset, control = unset, kernel = unset, table_full = unset, blackhole = unset;

    /// Prefixes that are never forwarded, whatever the routes say, with their next hops.
    const std::map<ip_prefix, std::uint32_t> &prefixes() const noexcept { return prefixes_; }
    /// True for those prefixes, and for all prefixes that they cover.
    bool never_forwarded(const ip_prefix &prefix) const;

private:
    void write();
    void remove();

    forwarder &fwd_;
    std::map<ip_prefix, std::uint32_t> prefixes_;
};

} // namespace halfpoll
