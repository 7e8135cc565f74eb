// SPDX-License-Identifier: BSD-3-Clause
#include "bh_thread.hpp"
#include "cpu_sleep.hpp"

#include "runtime/softirq/remote.hpp"

#include <rte_rcu_qsbr.h>

#include <cerrno>
#include <unistd.h>

namespace halfpoll
{

namespace
{

/// Sleeps until the doorbell rings. The CPU's io_uring has a read of the doorbell under way; without an io_uring the
/// thread reads the doorbell itself.
void sleep_offline(softnet_data &sd) noexcept
{
    if (sd.engine) {
        sd.engine->wait(KTIME_MAX);
        return;
    }
    std::uint64_t rings;
    while (read(sd.doorbell_fd, &rings, sizeof rings) < 0 && errno == EINTR) {
    }
}

} // namespace

void cpu_offline_loop(bh_thread &t) noexcept
{
    softnet_data &sd = t.sd;
    rte_rcu_qsbr_thread_offline(sd.env->qsbr(), sd.cpu);
    for (;;) {
        cpu_state wish = cpu_state::held;
        const auto last_look = [&] {
            wish = t.requested();
            const bool calls = wish != cpu_state::held && sd.call_queue.load(std::memory_order_relaxed);
            return calls || wish != t.state.load(std::memory_order_relaxed);
        };
        sleep_unless(sd, last_look, [&] { sleep_offline(sd); });
        if (wish != t.state.load(std::memory_order_relaxed)) {
            t.state.store(wish, std::memory_order_release); // pairs with the acquire in bh_thread_request()
            t.state.notify_one();
        }
        if (wish == cpu_state::running || wish == cpu_state::stopped) {
            break;
        }
        if (wish == cpu_state::parked) {
            forward_calls(sd, *sd.adopter);
        }
    }
    rte_rcu_qsbr_thread_online(sd.env->qsbr(), sd.cpu);
}

} // namespace halfpoll
