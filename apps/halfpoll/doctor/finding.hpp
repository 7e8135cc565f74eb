// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// How bad a finding is.
enum class severity {
    stops,  ///< halfpoll cannot run so
    less,   ///< it runs with less than was asked for
    advice, ///< it runs as asked, and could do better
};

constexpr const char *to_string(severity level)
{
    return level == severity::stops ? "stops" : level == severity::less ? "less" : "advice";
}

/// One requirement that this machine does not meet.
struct finding {
    std::string id; ///< of the requirement, for programs; stable
    severity level = severity::stops;
    std::string port;    ///< the port it is about; empty: the whole program
    std::string problem; ///< what is wrong, and what follows
    std::string remedy;  ///< the command or setting that mends it

    /// In one line.
    std::string text() const { return (port.empty() ? "" : port + ": ") + problem + ": " + remedy; }
};

} // namespace halfpoll
