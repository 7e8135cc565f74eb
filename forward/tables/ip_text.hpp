// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "ip_prefix.hpp"

#include <optional>
#include <string>

namespace halfpoll
{

/// As `ip` writes them; an address of no family is "".
std::string to_string(const ip_addr &addr);
std::string to_string(const ip_prefix &prefix);

/// Empty if it is no address, or no prefix; bits beyond a prefix's length are cleared.
std::optional<ip_addr> parse_address(const std::string &text);
std::optional<ip_prefix> parse_prefix(const std::string &text);

} // namespace halfpoll
