// SPDX-License-Identifier: BSD-3-Clause
#include "fib_entry.hpp"

#include "mirror_routes.hpp"

namespace halfpoll
{

namespace
{

/// Calls fn(FIB, address in the form that the FIB takes).
template <typename F>
auto in_fib(forwarder &fwd, const ip_addr &addr, F fn)
{
    return addr.family == AF_INET ? fn(fwd.routes4(), to_ipv4(addr.bytes)) : fn(fwd.routes6(), addr.bytes);
}

} // namespace

void write_fib(forwarder &fwd, const ip_prefix &prefix, std::uint32_t nexthop)
{
    in_fib(fwd, prefix.addr, [&](auto &fib, const auto &addr) {
        if (nexthop == route_entry::none) {
            fib.remove(addr, prefix.len);
        } else {
            fib.insert(addr, prefix.len, nexthop);
        }
    });
}

bool fib_fits(forwarder &fwd, const ip_prefix &prefix)
{
    return in_fib(fwd, prefix.addr, [&](const auto &fib, const auto &addr) { return fib.fits(addr, prefix.len); });
}

ip_prefix fib_reach(forwarder &fwd, const ip_prefix &prefix)
{
    const auto reach = [&](const auto &fib, const auto &addr) { return fib.reach(addr, prefix.len); };
    return make_prefix(prefix.addr, in_fib(fwd, prefix.addr, reach));
}

} // namespace halfpoll
