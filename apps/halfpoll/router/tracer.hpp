// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>
#include <halfpoll/runtime.hpp>

#include <string>

namespace halfpoll
{

/// Traces a running halfpoll for a limited time, for one client at a time. Control thread.
class tracer
{
public:
    /// `always`: expression of the events that the configuration traces all the time; empty: none.
    tracer(runtime &rt, std::string always) : rt_(rt), always_(std::move(always)) {}
    /// Removes the trace's files, unless the configuration enables tracing.
    ~tracer();
    tracer(const tracer &) = delete;
    tracer &operator=(const tracer &) = delete;

    static constexpr unsigned MAX_MS = 10'000;

    /// Begins a trace. Throws `error` if a trace is in progress, if there are no such events, or if `ms` is not 1 to
    /// MAX_MS. If end() is not called, the trace ends by itself shortly after `ms`.
    void begin(const std::string &events, unsigned ms);
    /// Ends the trace and returns the folder of its files, which stay until forget(). Throws `error`.
    std::string end();
    /// Removes the files of the trace.
    void forget() noexcept;

    /// Returns the time of the next call of look() (CLOCK_MONOTONIC); KTIME_MAX: none is needed.
    ktime_t due() const noexcept { return due_; }
    void look() noexcept;

private:
    runtime &rt_;
    const std::string always_;
    std::string events_; ///< being traced; empty: none
    std::string folder_; ///< empty: no trace was written yet
    ktime_t due_ = KTIME_MAX;
};

} // namespace halfpoll
