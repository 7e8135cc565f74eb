// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// How bad a finding is.
enum class severity {
    stops,  ///< halfpoll cannot run
    less,   ///< halfpoll runs with less than the configuration asks for
    advice, ///< halfpoll runs as configured, and could run better
};

constexpr const char *to_string(severity level)
{
    return level == severity::stops ? "stops" : level == severity::less ? "less" : "advice";
}

/// One requirement that this machine does not meet.
struct finding {
    std::string id; ///< identifies the requirement, for programs; stable
    severity level = severity::stops;
    std::string port;    ///< the port concerned; empty: the whole program
    std::string problem; ///< what is wrong, and its consequence
    std::string remedy;  ///< the command or setting that mends it

    /// Formats the finding on one line.
    std::string text() const { return (port.empty() ? "" : port + ": ") + problem + ": " + remedy; }
};

} // namespace halfpoll
