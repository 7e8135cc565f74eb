// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace halfpoll
{

/// Formats a reply to {"show": WHAT} for people: an aligned table for each list in it, with numbers right-aligned.
std::string render(const nlohmann::json &reply);

/// Columns of a table that arrives page by page.
struct table_layout {
    std::vector<std::string> names;
    std::vector<std::size_t> widths;
    std::vector<bool> right;
};
/// Formats one page of the list `key`; the first page with rows begins with a header.
std::string render_page(const std::string &key, const nlohmann::json &rows, table_layout &layout);

} // namespace halfpoll
