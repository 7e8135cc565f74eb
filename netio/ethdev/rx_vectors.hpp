// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace halfpoll
{

/// Interrupt vectors of a port's rx queues. If several queues share a vector (fewer vectors than queues, MSI, INTx), an
/// event schedules the NAPI instances of all queues that wait. The vector is masked only when none of its queues waits
/// any more: a busy queue must not keep the packets of the other queues from waking them.
class rx_vectors
{
public:
    /// `fds` has one fd for each queue; queues with the same fd (>= 0) share a vector.
    explicit rx_vectors(const std::vector<int> &fds = {}) : of_queue_(fds.size())
    {
        std::map<int, std::vector<std::size_t>> by_fd;
        for (std::size_t q = 0; q < fds.size(); ++q) {
            by_fd[fds[q]].push_back(q);
        }
        for (const auto &[fd, queues] : by_fd) {
            if (fd < 0 || queues.size() < 2) {
                continue;
            }
            shared_.push_back(std::make_unique<vector>());
            for (const std::size_t q : queues) {
                of_queue_[q] = shared_.back().get();
            }
        }
    }

    bool shared(std::uint16_t queue) const noexcept { return of_queue_[queue] != nullptr; }

    /// The queue waits from now on. `unmask` unmasks its vector in the device and returns 0 or -errno, which enable()
    /// returns. Owner of the queue.
    template <typename F>
    int enable(std::uint16_t queue, F unmask) noexcept
    {
        vector *const v = of_queue_[queue];
        if (v) {
            ++v->waiting; // before it unmasks; pairs with the second check of v->waiting in disable()
        }
        const int ret = unmask();
        if (v && ret < 0) {
            --v->waiting;
        }
        return ret;
    }

    /// The queue no longer waits. Masks its vector if no other queue waits on it. Returns 0, or -errno from `mask` or
    /// `unmask`. Owner of the queue.
    template <typename Mask, typename Unmask>
    int disable(std::uint16_t queue, Mask mask, Unmask unmask) noexcept
    {
        vector *const v = of_queue_[queue];
        if (v && --v->waiting != 0) {
            return 0;
        }
        const int ret = mask();
        return v && v->waiting != 0 ? unmask() : ret; // a queue of another CPU began to wait; pairs with enable()
    }

private:
    struct alignas(64) vector {
        /// Queues that wait. Written by their owners; seq_cst orders it with the device's mask.
        std::atomic<unsigned> waiting{0};
    };
    std::vector<vector *> of_queue_; ///< null: the queue has a vector of its own, or none
    std::vector<std::unique_ptr<vector>> shared_;
};

} // namespace halfpoll
