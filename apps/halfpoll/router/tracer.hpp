// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>
#include <halfpoll/runtime.hpp>

#include <string>

namespace halfpoll
{

/// Traces a running halfpoll for a while, for one client at a time. Control thread.
class tracer
{
public:
    /// `always`: the events that the configuration has traced all the time; empty: none.
    tracer(runtime &rt, std::string always) : rt_(rt), always_(std::move(always)) {}
    /// Leaves no file behind, unless the configuration wants them.
    ~tracer();
    tracer(const tracer &) = delete;
    tracer &operator=(const tracer &) = delete;

    static constexpr unsigned MAX_MS = 10'000;

    /// Throws `error`: somebody traces already, no such events, or not 1 to MAX_MS. Ends by itself a little later than
    /// after `ms` if nobody asks for the end.
    void begin(const std::string &events, unsigned ms);
    /// Returns the folder that the events were written to, which is good until forget(). Throws `error`.
    std::string end();
    /// Removes what was written.
    void forget() noexcept;

    /// When look() has something to do (CLOCK_MONOTONIC); KTIME_MAX: never.
    ktime_t due() const noexcept { return due_; }
    void look() noexcept;

private:
    runtime &rt_;
    const std::string always_;
    std::string events_; ///< traced now; empty: none
    std::string folder_; ///< empty: nothing was written yet
    ktime_t due_ = KTIME_MAX;
};

} // namespace halfpoll
