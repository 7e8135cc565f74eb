// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "trace_reader.hpp"

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

namespace halfpoll
{

/// Selects the events that print_trace() prints.
struct trace_filter {
    int cpu = -1;       ///< only this logical CPU; -1: all
    std::string events; ///< only names that match this basic regular expression; empty: all
};

/// Prints a line for each event: thread and its id, logical CPU, us since the first event, event and details, as the
/// kernel's tracer prints them. If the trace has a trace_begin() and a trace_end(), only the events between them are
/// printed. If all events are from one CPU, an empty line separates events of different threads. Throws `error` if the
/// expression is invalid.
void print_trace(std::ostream &out, const std::vector<trace_event> &events, const trace_filter &filter);

} // namespace halfpoll
