// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trace_reader.hpp"

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

namespace halfpoll
{

/// What of a trace is printed.
struct trace_filter {
    int cpu = -1;       ///< only that logical CPU; -1: all
    std::string events; ///< only names that match this basic regular expression; empty: all
};

/// A line for each event: thread and its id, logical CPU, us since the first event, event and details, as the kernel's
/// tracer prints them. If a trace_begin() and a trace_end() are in it, what lies between. Where all is on one CPU, an
/// empty line parts a thread from the next. Throws `error`: a bad expression.
void print_trace(std::ostream &out, const std::vector<trace_event> &events, const trace_filter &filter);

} // namespace halfpoll
