// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/autoscale_policy.hpp>

namespace halfpoll
{

namespace
{

bool is_calm(const autoscale_limits &limits, const autoscale_sample &sample) noexcept
{
    return sample.oldest <= limits.target / 2 && sample.busy_percent < (sample.online - 1) * limits.low_percent;
}

} // namespace

autoscale_verdict autoscale_decide(autoscale_history &history, const autoscale_limits &limits,
                                   const autoscale_sample &sample) noexcept
{
    const bool late = limits.target == 0 || sample.oldest > limits.target;
    if (sample.online < sample.available && (sample.online < limits.min_cpus || late)) {
        history.calm_since = KTIME_MAX;
        if (limits.target != 0 && sample.now - history.grown_at < limits.target) {
            return autoscale_verdict::stay;
        }
        history.grown_at = sample.now;
        return autoscale_verdict::grow;
    }
    if (limits.target == 0 || sample.online <= limits.min_cpus || !is_calm(limits, sample)) {
        history.calm_since = KTIME_MAX;
        return autoscale_verdict::stay;
    }
    if (history.calm_since == KTIME_MAX) {
        history.calm_since = sample.now;
    }
    if (sample.now - history.calm_since < limits.settle) {
        return autoscale_verdict::stay;
    }
    history.calm_since = sample.now;
    return autoscale_verdict::shrink;
}

} // namespace halfpoll
