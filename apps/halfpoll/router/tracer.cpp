// SPDX-License-Identifier: BSD-3-Clause
#include "tracer.hpp"

#include <halfpoll/trace.hpp>

#include <filesystem>
#include <utility>

namespace halfpoll
{

namespace
{

/// The time after `ms` in which the client must call end().
constexpr ktime_t PATIENCE = 2 * NSEC_PER_SEC;

} // namespace

tracer::~tracer()
{
    due_ = 0;
    look();
    std::error_code ignored;
    if (always_.empty() && !folder_.empty()) {
        std::filesystem::remove_all(folder_, ignored);
    }
}

void tracer::begin(const std::string &events, unsigned ms)
{
    if (!events_.empty()) {
        throw error("a trace of \"" + events_ + "\" is being taken: try again when it has ended");
    }
    if (ms < 1 || ms > MAX_MS) {
        throw error("ms: found " + std::to_string(ms) + ", expected 1 to " + std::to_string(MAX_MS));
    }
    trace_begin(rt_, events);
    events_ = events;
    due_ = ktime_get() + ms * NSEC_PER_MSEC + PATIENCE;
}

std::string tracer::end()
{
    if (events_.empty()) {
        throw error("no trace is being taken, or it took too long to ask for it");
    }
    due_ = KTIME_MAX;
    return folder_ = trace_end(rt_, std::exchange(events_, {}), always_);
}

void tracer::forget() noexcept
{
    std::error_code failed;
    for (std::filesystem::directory_iterator file(folder_, failed), last; !failed && file != last;
         file.increment(failed)) {
        std::error_code ignored;
        std::filesystem::remove(file->path(), ignored);
    }
}

void tracer::look() noexcept
{
    if (events_.empty() || ktime_get() < due_) {
        return;
    }
    try {
        end();
    } catch (const std::exception &) {
        // No client waits for the result.
    }
    forget();
}

} // namespace halfpoll
