// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halfpoll
{

enum class log_level { debug, info, warning, error };
const char *to_string(log_level level) noexcept;
/// The names of all levels, lowest first.
const std::vector<std::string_view> &log_level_names();

/// [log] of the configuration.
struct log_config {
    log_level level = log_level::info;
    /// "auto": stderr, in the journal's form if that is what stderr is connected to; "stderr", "journal", or the
    /// absolute path of a file.
    std::string target = "auto";
    bool operator==(const log_config &) const = default;
};

/// Messages of one kind that are let through in this many seconds; the rest is counted, and the next one says how many
/// were left out.
inline constexpr unsigned LOG_BURST = 10;
inline constexpr unsigned LOG_INTERVAL_SECONDS = 5;

/// Where messages go from now on; a file is opened anew, so that it can be rotated. Throws `error`, and goes on as
/// before then. Control thread.
void log_open(const log_config &config);

/// One line. `kind` (a literal) is what is limited: a port that flaps does not hide what others say. Control side only,
/// any thread; never blocks on stderr.
void log_line(log_level level, std::string_view kind, const std::string &text);

/// Says for each kind how many messages were left out and not yet mentioned. At the end.
void log_close();

} // namespace halfpoll
