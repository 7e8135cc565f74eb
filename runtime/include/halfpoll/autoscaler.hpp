// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/autoscale_policy.hpp>
#include <halfpoll/runtime.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace halfpoll
{

/// Takes runtime CPUs offline when the others can do the work, and brings them back when packets wait too long. The CPU
/// with the highest number goes first; dedicated CPUs stay online. Control thread.
class autoscaler
{
public:
    /// The interval in ns between two look() while a CPU is parked; the interval is ten times as long while none is.
    static constexpr ktime_t LOOK = NSEC_PER_MSEC;

    /// Does nothing until set() gives it a target. The destructor leaves each CPU online or offline, as it is.
    explicit autoscaler(runtime &rt);

    const autoscale_limits &limits() const noexcept { return limits_; }
    /// Changes the limits. After `target` 0 or a larger `min_cpus`, each look() brings one CPU back. Throws `error` if
    /// `min_cpus` is not between 1 and runtime::general_cpus().
    void set(const autoscale_limits &limits);
    /// With `leave` true, the caller decides about `cpu`: the autoscaler takes it neither offline nor online. False
    /// gives the CPU back to the autoscaler.
    void leave_alone(unsigned cpu, bool leave);
    /// True if this autoscaler has taken `cpu` offline.
    bool has_parked(unsigned cpu) const noexcept { return parked_[cpu]; }

    /// The time at which the caller calls look() at the latest; KTIME_MAX: look() has nothing to decide.
    ktime_t due() const noexcept { return due_; }
    /// Takes a sample, and takes a CPU offline or online if the policy decides so. If that fails, it passes the reason
    /// to `warn`, and the next look() tries again.
    void look();
    std::function<void(const std::string &)> warn; ///< may be empty
    /// Called after a CPU went offline or online. May be empty.
    std::function<void(unsigned cpu, bool online)> on_change;

private:
    autoscale_sample sample(ktime_t now);
    void act(autoscale_verdict verdict);
    void change(unsigned cpu, bool online);
    void plan(ktime_t now) noexcept;
    bool is_dedicated(unsigned cpu) const noexcept;

    runtime &rt_;
    autoscale_limits limits_;
    autoscale_history history_;
    ktime_t due_ = KTIME_MAX;
    ktime_t last_look_ = 0;
    std::vector<std::uint64_t> busy_; ///< by CPU: softnet_stats::busy at the last look
    std::vector<bool> parked_;
    std::vector<bool> left_alone_;
};

} // namespace halfpoll
