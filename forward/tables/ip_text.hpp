// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "ip_prefix.hpp"

#include <optional>
#include <string>

namespace halfpoll
{

/// Text in the form that `ip` prints. An address of no family gives "".
std::string to_string(const ip_addr &addr);
std::string to_string(const ip_prefix &prefix);

/// Returns no value if the text is not an address, or not a prefix. Bits beyond a prefix's length are cleared.
std::optional<ip_addr> parse_address(const std::string &text);
std::optional<ip_prefix> parse_prefix(const std::string &text);

} // namespace halfpoll
