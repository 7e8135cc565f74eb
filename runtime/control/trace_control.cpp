// SPDX-License-Identifier: BSD-3-Clause
#define ALLOW_EXPERIMENTAL_API // as in trace_register.cpp
#include <halfpoll/runtime.hpp>

#include "runtime/trace/trace_emit.hpp"

#include <rte_errno.h>
#include <rte_trace.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <regex.h>

namespace halfpoll
{

namespace
{

/// The folder that the EAL writes traces to; empty if it is unknown. Only rte_trace_dump(), a text for developers,
/// names it.
std::string trace_folder()
{
    char *text = nullptr;
    std::size_t size = 0;
    std::FILE *stream = open_memstream(&text, &size);
    if (!stream) {
        return {};
    }
    rte_trace_dump(stream);
    std::fclose(stream);
    const std::string all(text, size);
    std::free(text);
    constexpr const char *key = "\ndir = ";
    const std::size_t at = all.find(key);
    if (at == std::string::npos) {
        return {};
    }
    const std::size_t begin = at + std::char_traits<char>::length(key);
    return all.substr(begin, all.find('\n', begin) - begin);
}

/// Waits until the own thread of every CPU has finished the event that it may be emitting.
void wait_for_events(runtime &rt)
{
    for (unsigned cpu = 0; cpu < rt.cpus(); ++cpu) {
        rt.call_on(cpu, [](softnet_data &) {});
    }
}

/// Removes the files of an earlier trace: those of threads that have ended since would be taken for part of the new
/// one.
void remove_files(const std::string &folder) noexcept
{
    std::error_code failed;
    for (std::filesystem::directory_iterator file(folder, failed), last; !failed && file != last;
         file.increment(failed)) {
        std::error_code ignored;
        std::filesystem::remove(file->path(), ignored);
    }
}

int save() noexcept
{
    const trace_memory_lock no_buffer_comes_or_goes;
    return rte_trace_save();
}

} // namespace

void trace_update(runtime &rt) noexcept { rt.trace_switch(rte_trace_is_enabled()); }

void trace_begin(runtime &rt, const std::string &events)
{
    regex_t compiled;
    if (events.empty() || regcomp(&compiled, events.c_str(), REG_NOSUB) != 0) {
        throw error("events to trace: found \"" + events +
                    "\", expected a basic regular expression (regex(7)), as \"softirq_.*\"");
    }
    regfree(&compiled);
    rte_trace_mode_set(RTE_TRACE_MODE_DISCARD);
    trace_mark_begin();
    if (rte_trace_regexp(events.c_str(), true) != 1) {
        rte_trace_mode_set(RTE_TRACE_MODE_OVERWRITE);
        throw error("events to trace: no tracepoint matches \"" + events + "\"");
    }
    trace_update(rt);
}

std::string trace_end(runtime &rt, const std::string &events, const std::string &keep)
{
    trace_mark_end();
    rte_trace_regexp(events.c_str(), false);
    if (!keep.empty()) {
        rte_trace_regexp(keep.c_str(), true);
    }
    rte_trace_mode_set(RTE_TRACE_MODE_OVERWRITE);
    trace_update(rt);
    wait_for_events(rt);
    static std::string folder; // empty before the first save, in which the EAL makes the folder
    remove_files(folder);
    if (const int rc = save(); rc < 0) {
        throw_errno(-rc, "the trace cannot be written to " + trace_folder());
    }
    return folder = trace_folder();
}

void trace_finish(runtime &rt) noexcept
{
    if (!trace_enabled()) {
        return;
    }
    rt.trace_switch(false);
    if (save() != 0) {
        // The EAL has logged the reason. The program goes on without a trace.
    }
}

} // namespace halfpoll
