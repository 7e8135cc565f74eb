// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include "forward/tables/ip_prefix.hpp"
#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace halfpoll
{

/// Which rows of a table are wanted, and which page of them: {"to": ADDRESS or PREFIX, "dev": NAME, "from": CURSOR,
/// "limit": N}, each optional.
struct show_filter {
    std::optional<ip_addr> address;
    std::optional<ip_prefix> prefix;
    std::string dev;      ///< port or shadow; empty: any
    std::string from;     ///< "next" of the page before, in the table's own terms
    std::size_t rows = 0; ///< on this page at most

    /// The address asked for, or one inside the prefix asked for, or any.
    bool takes(const ip_addr &addr) const;
};

/// Rows of a page, and rows looked at for it: a reply must neither be huge nor hold up the control thread.
inline constexpr std::size_t PAGE_ROWS = 1000;
inline constexpr std::size_t PAGE_VISITS = 20'000;

/// Throws `error` if something in it is wrong.
show_filter parse_filter(const nlohmann::json &request);

/// A member of a request, or the fallback. Throws `error` if it has another type.
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
