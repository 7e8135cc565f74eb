// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfpoll
{

class toml_reader;

/// Parses a set of runtime CPUs: "0-2,4", or a mask as in the kernel's files with 0x in front, "0x17". The result is
/// ascending; an empty text or mask gives an empty set. Returns nothing if the text is anything else or names a CPU >=
/// `cpus`.
std::optional<std::vector<unsigned>> parse_cpu_list(std::string_view text, unsigned cpus);

/// The expected form of such a text, for messages.
std::string cpu_list_expected(unsigned cpus);

/// Reads such a set from the configuration file, where it may also be an array of integers.
void read_cpu_list(toml_reader &reader, const char *key, unsigned cpus, std::vector<unsigned> &list);

} // namespace halfpoll
