// SPDX-License-Identifier: BSD-3-Clause
#include "show_filter.hpp"

#include "forward/tables/ip_text.hpp"

#include <algorithm>

namespace halfpoll
{

bool show_filter::takes(const ip_addr &addr) const
{
    return address ? addr == *address : !prefix || covers(*prefix, addr);
}

show_filter parse_filter(const nlohmann::json &request)
{
    show_filter filter;
    const auto to = value_or(request, "to", std::string());
    filter.address = parse_address(to);
    filter.prefix = parse_prefix(to);
    if (!to.empty() && !filter.address && !filter.prefix) {
        throw error("\"" + to + "\" is not an IPv4 or IPv6 address, and not a prefix");
    }
    filter.dev = value_or(request, "dev", std::string());
    filter.from = value_or(request, "from", std::string());
    filter.rows = std::min<std::size_t>(value_or(request, "limit", std::uint64_t{PAGE_ROWS}), PAGE_ROWS);
    return filter;
}

} // namespace halfpoll
