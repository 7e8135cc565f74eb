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
/// Returns the names of all levels, lowest first.
const std::vector<std::string_view> &log_level_names();

/// [log] of the configuration.
struct log_config {
    log_level level = log_level::info;
    /// "auto": stderr, in the journal's form if stderr is connected to the journal; "stderr"; "journal"; or the
    /// absolute path of a file.
    std::string target = "auto";
    bool operator==(const log_config &) const = default;
};

/// At most this many messages of a kind pass in each interval. The others are counted, and the next message that passes
/// mentions their number.
inline constexpr unsigned LOG_BURST = 10;
inline constexpr unsigned LOG_INTERVAL_SECONDS = 5;

/// Sets the target of all later messages. A file is opened again, so that it can be rotated. Throws `error`; the
/// previous target then stays in use. Control thread.
void log_open(const log_config &config);

/// Logs one line. `kind` (a literal) is the unit of limiting: a flapping port does not suppress messages of other
/// kinds. Control side only, any thread; never blocks on stderr.
void log_line(log_level level, std::string_view kind, const std::string &text);

/// Logs for each kind how many messages were suppressed and not yet mentioned. Call at the end.
void log_close();

} // namespace halfpoll
