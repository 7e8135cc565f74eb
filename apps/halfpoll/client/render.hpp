// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace halfpoll
{

/// A reply to {"show": WHAT} as people read it: aligned tables, one for each list in it, numbers to the right.
std::string render(const nlohmann::json &reply);

/// Columns of a table that comes page by page.
struct table_layout {
    std::vector<std::string> names;
    std::vector<std::size_t> widths;
    std::vector<bool> right;
};
/// One page of the list `key`; the first one with rows begins with a header.
std::string render_page(const std::string &key, const nlohmann::json &rows, table_layout &layout);

} // namespace halfpoll
