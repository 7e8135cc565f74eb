// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include "forward/tables/ip_prefix.hpp"
#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace halfpoll
{

/// Selects rows of a table, and a page of them: {"to": ADDRESS or PREFIX, "dev": NAME, "from": CURSOR, "limit": N},
/// each optional.
struct show_filter {
    std::optional<ip_addr> address;
    std::optional<ip_prefix> prefix;
    std::string dev;      ///< port or shadow; empty: any
    std::string from;     ///< the previous page's "next", whose form depends on the table
    std::size_t rows = 0; ///< at most so many on this page

    /// True if `addr` is the requested address or lies in the requested prefix, or if neither was requested.
    bool takes(const ip_addr &addr) const;
};

/// Limits of the rows on a page, and of the rows visited for it: a reply is never huge and never delays the control
/// thread for long.
inline constexpr std::size_t PAGE_ROWS = 1000;
inline constexpr std::size_t PAGE_VISITS = 20'000;

/// Throws `error` if the request is invalid.
show_filter parse_filter(const nlohmann::json &request);

/// Returns a member of a request, or `fallback` if it is absent. Throws `error` if it has the wrong type.
template <typename T>
T value_or(const nlohmann::json &request, const char *key, const T &fallback)
{
    const auto it = request.find(key);
    if (it == request.end()) {
        return fallback;
    }
    try {
        return it->get<T>();
    } catch (const nlohmann::json::exception &) {
        throw error(std::string("bad request: \"") + key + "\" has the wrong type");
    }
}

} // namespace halfpoll
