// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/autoscaler.hpp>
#include <halfpoll/softnet_data.hpp>

#include <algorithm>
#include <utility>

namespace halfpoll
{

namespace
{

/// The longest that a packet on a CPU can have been waiting, in ns: the time for which some instance has always had
/// more packets than its last poll took.
ktime_t age_on(const softnet_data &sd, ktime_t now) noexcept
{
    const ktime_t since = sd.stats.behind_since.load(std::memory_order_relaxed);
    return since == 0 ? 0 : std::max<ktime_t>(0, now - since);
}

} // namespace

autoscaler::autoscaler(runtime &rt) : rt_(rt), busy_(rt.cpus()), parked_(rt.cpus()), left_alone_(rt.cpus()) {}

void autoscaler::set(const autoscale_limits &limits)
{
    if (limits.min_cpus == 0 || limits.min_cpus > rt_.general_cpus()) {
        throw error("autoscale: min_cpus must be 1 to " + std::to_string(rt_.general_cpus()) +
                    ", the number of runtime CPUs, not " + std::to_string(limits.min_cpus));
    }
    limits_ = limits;
    history_ = {};
    plan(rt_.now());
}

void autoscaler::leave_alone(unsigned cpu, bool leave)
{
    left_alone_[cpu] = leave;
    parked_[cpu] = false;
}

/// Sets the time of the next look(), if there is anything to decide.
void autoscaler::plan(ktime_t now) noexcept
{
    const bool away = std::ranges::count(parked_, true) != 0;
    due_ = away ? now + LOOK : limits_.target != 0 ? now + 10 * LOOK : KTIME_MAX;
}

bool autoscaler::is_dedicated(unsigned cpu) const noexcept { return rt_.options().cpus[cpu].dedicated; }

autoscale_sample autoscaler::sample(ktime_t now)
{
    autoscale_sample seen{.now = now};
    const ktime_t elapsed = std::max<ktime_t>(1, now - last_look_);
    std::uint64_t busy = 0;
    for (unsigned cpu = 0; cpu < rt_.cpus(); ++cpu) {
        const softnet_data &sd = rt_.cpu(cpu);
        const std::uint64_t total = sd.stats.busy.load(std::memory_order_relaxed);
        busy += total - std::exchange(busy_[cpu], total);
        if (is_dedicated(cpu)) { // its time counts, but the autoscaler takes it neither offline nor online
            continue;
        }
        const bool online = rt_.cpu_online(cpu);
        seen.online += online;
        seen.available += online || parked_[cpu];
        if (online) {
            seen.oldest = std::max(seen.oldest, age_on(sd, now));
        }
    }
    seen.busy_percent = static_cast<unsigned>(busy * 100 / static_cast<std::uint64_t>(elapsed));
    last_look_ = now;
    return seen;
}

void autoscaler::look()
{
    const ktime_t now = rt_.now();
    act(autoscale_decide(history_, limits_, sample(now)));
    plan(rt_.now());
}

/// Grow: takes the parked CPU with the lowest number online. Shrink: takes the online CPU with the highest number
/// offline.
void autoscaler::act(autoscale_verdict verdict)
{
    const bool grow = verdict == autoscale_verdict::grow;
    if (verdict == autoscale_verdict::stay) {
        return;
    }
    for (unsigned i = 0; i < rt_.cpus(); ++i) {
        const unsigned cpu = grow ? i : rt_.cpus() - 1 - i;
        if (grow ? bool(parked_[cpu]) : rt_.cpu_online(cpu) && !left_alone_[cpu] && !is_dedicated(cpu)) {
            return change(cpu, grow);
        }
    }
}

void autoscaler::change(unsigned cpu, bool online)
{
    try {
        online ? rt_.cpu_up(cpu) : rt_.cpu_down(cpu);
    } catch (const std::exception &e) {
        if (warn) {
            warn(std::string("autoscale: ") + e.what());
        }
        parked_[cpu] = !rt_.cpu_online(cpu); // cpu_up() may fail and leave it online
        return;
    }
    parked_[cpu] = !online;
    if (on_change) {
        on_change(cpu, online);
    }
}

} // namespace halfpoll
