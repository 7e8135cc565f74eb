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
    std::int64_t number = 0; ///< unless it is a text; what is beyond 63 bits comes as negative
    std::string text;
    bool is_text = false;
};

struct trace_event {
    std::int64_t time = 0;    ///< ns since 1970
    std::uint64_t stream = 0; ///< each thread has one
    std::string thread;       ///< name
    std::string name;
    std::vector<trace_field> fields;

    /// Null: it has none of that name.
    const trace_field *field(const char *name) const noexcept;
    /// 0: it has none of that name.
    std::int64_t number(const char *name) const noexcept;
    /// Empty: it has none of that name.
    std::string text(const char *name) const;
};

/// All events of a trace (CTF), in the order of time. Texts are printable. Throws `error`: it is none, or is broken.
std::vector<trace_event> read_trace(const std::string &folder);

/// How many threads of a trace have filled their buffer, of the EAL's size: later events of theirs are missing.
unsigned full_buffers(const std::string &folder);

} // namespace halfpoll
