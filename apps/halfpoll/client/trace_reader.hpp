// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace halfpoll
{

struct trace_field {
    std::string name;
    std::int64_t number = 0; ///< unless `is_text`; unsigned values above 63 bits are negative
    std::string text;
    bool is_text = false;
};

struct trace_event {
    std::int64_t time = 0;    ///< ns since 1970
    std::uint64_t stream = 0; ///< one for each thread
    std::string thread;       ///< name
    std::string name;
    std::vector<trace_field> fields;

    /// Returns null if there is no such field.
    const trace_field *field(const char *name) const noexcept;
    /// Returns 0 if there is no such field.
    std::int64_t number(const char *name) const noexcept;
    /// Returns an empty string if there is no such field.
    std::string text(const char *name) const;
};

/// Returns all events of a trace (CTF) by time. Texts are printable. Throws `error` if the folder holds no trace or a
/// damaged one. Signals are blocked meanwhile; one that ends the process cuts the reading short.
std::vector<trace_event> read_trace(const std::string &folder);

/// Returns how many threads of a trace filled their buffer, which has the EAL's default size; later events of these
/// threads are missing.
unsigned full_buffers(const std::string &folder);

} // namespace halfpoll
