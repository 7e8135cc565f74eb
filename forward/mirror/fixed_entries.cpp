// SPDX-License-Identifier: BSD-3-Clause
#include "fixed_entries.hpp"

#include "fib_entry.hpp"
#include "mirror_adjacency.hpp"

#include <algorithm>
#include <initializer_list>

namespace halfpoll
{

namespace
{

ip_prefix prefix_of(std::uint8_t family, std::initializer_list<std::uint8_t> first_bytes, unsigned len)
{
    ip_addr addr{family, {}};
    std::ranges::copy(first_bytes, addr.bytes.begin());
    return {addr, static_cast<std::uint8_t>(len)};
}

} // namespace

fixed_entries::fixed_entries(forwarder &fwd) : fwd_(fwd)
{
    try {
        write();
    } catch (...) {
        remove();
        throw;
    }
}

fixed_entries::~fixed_entries() { remove(); }

void fixed_entries::write()
{
    nexthop_table &table = fwd_.nexthops();
    local = table.add(punt_as(PUNT_LOCAL));
    control = table.add(punt_as(PUNT_CONTROL));
    kernel = table.add(punt_as(PUNT_KERNEL));
    table_full = table.add(punt_as(PUNT_TABLE_FULL));
    blackhole = table.add(drop_as(DROP_BLACKHOLE));
    prefixes_ = {{prefix_of(AF_INET, {224}, 4), control},
                 {prefix_of(AF_INET6, {0xff}, 8), control},
                 {prefix_of(AF_INET6, {0xfe, 0x80}, 10), local}};
    for (const auto &[prefix, nexthop] : prefixes_) {
        write_fib(fwd_, prefix, nexthop);
    }
}

void fixed_entries::remove()
{
    for (const auto &[prefix, nexthop] : prefixes_) {
        write_fib(fwd_, prefix, route_entry::none);
    }
    for (const std::uint32_t index : {local, control, kernel, table_full, blackhole}) {
        if (index != unset) {
            fwd_.nexthops().remove(index);
        }
    }
}

bool fixed_entries::never_forwarded(const ip_prefix &prefix) const
{
    return std::ranges::any_of(prefixes_, [&](const auto &entry) { return covers(entry.first, prefix); });
}

} // namespace halfpoll
