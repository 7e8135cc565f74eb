// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfpoll
{

/// A set of runtime CPUs as people write it: "0-2,4", or a mask as in the kernel's files, with 0x in front: "0x17".
/// Ascending; empty text or mask: none. Nothing if it is something else, or names a CPU from `cpus` on.
std::optional<std::vector<unsigned>> parse_cpu_list(std::string_view text, unsigned cpus);

/// What to expect of such a text, for messages.
std::string cpu_list_expected(unsigned cpus);

} // namespace halfpoll
