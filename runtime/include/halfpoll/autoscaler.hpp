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

/// Takes runtime CPUs offline when the others can do the work, and back when packets wait too long. The last CPUs go
/// first; those that are dedicated stay. Control thread.
class autoscaler
{
public:
    /// How often it looks while a CPU is away; ten times as seldom while all are there.
    static constexpr ktime_t LOOK = NSEC_PER_MSEC;

    /// Off until set() says otherwise. Ends with all CPUs as they are.
    explicit autoscaler(runtime &rt);

    const autoscale_limits &limits() const noexcept { return limits_; }
    /// With `target` 0, or a larger `min_cpus`, CPUs return with the next looks. Throws `error` out of range.
    void set(const autoscale_limits &limits);
    /// Somebody else decides about that CPU, until he says otherwise: it is neither taken nor brought back.
    void leave_alone(unsigned cpu, bool leave);
    /// It is this object that has taken the CPU offline.
    bool has_parked(unsigned cpu) const noexcept { return parked_[cpu]; }

    /// When look() is to be called at the latest; KTIME_MAX: there is nothing to look at.
    ktime_t due() const noexcept { return due_; }
    /// Looks and acts. What went wrong goes to `warn`; it tries again with the next look.
    void look();
    std::function<void(const std::string &)> warn;
    /// Told after a CPU went or came.
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
