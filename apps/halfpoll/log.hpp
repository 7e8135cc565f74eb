// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// Writes one line to stderr. Control side only, any thread. Never blocks: a line that stderr cannot take, or that
/// comes after 20 others in the same second, is left out and counted, and the next one says how many were.
void log_line(const std::string &text);

} // namespace halfpoll
