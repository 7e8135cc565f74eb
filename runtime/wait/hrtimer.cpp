// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/hrtimer.hpp>

#include <algorithm>
#include <iterator>

namespace halfpoll
{

void hrtimer_queue::place(std::size_t i, hrtimer *timer) noexcept
{
    heap_[i] = timer;
    timer->heap_index = i;
}

void hrtimer_queue::sift_up(std::size_t i) noexcept
{
    hrtimer *timer = heap_[i];
    while (i > 0 && timer->expires < heap_[(i - 1) / 2]->expires) {
        place(i, heap_[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(i, timer);
}

void hrtimer_queue::sift_down(std::size_t i) noexcept
{
    hrtimer *timer = heap_[i];
    for (;;) {
        std::size_t child = 2 * i + 1;
        if (child >= heap_.size()) {
            break;
        }
        if (child + 1 < heap_.size() && heap_[child + 1]->expires < heap_[child]->expires) {
            ++child;
        }
        if (timer->expires <= heap_[child]->expires) {
            break;
        }
        place(i, heap_[child]);
        i = child;
    }
    place(i, timer);
}

void hrtimer_queue::start(hrtimer &timer, ktime_t expires)
{
    hrtimer_queue *queue = this;
    while (queue->lent_to_) {
        queue = queue->lent_to_;
    }
    queue->insert(timer, expires);
    timer.home = this;
}

void hrtimer_queue::insert(hrtimer &timer, ktime_t expires)
{
    if (!timer.active()) {
        heap_.push_back(&timer);
        timer.heap_index = heap_.size() - 1;
    }
    timer.expires = expires;
    sift_up(timer.heap_index);
    sift_down(timer.heap_index);
}

bool hrtimer_queue::cancel(hrtimer &timer) noexcept
{
    if (!timer.active()) {
        return false;
    }
    if (lent_to_) {
        return lent_to_->cancel(timer);
    }
    const std::size_t hole = timer.heap_index;
    hrtimer *last = heap_.back();
    heap_.pop_back();
    timer.heap_index = hrtimer::INACTIVE;
    if (last != &timer) {
        place(hole, last);
        sift_up(hole);
        sift_down(last->heap_index);
    }
    return true;
}

void hrtimer_queue::lend_to(hrtimer_queue &to)
{
    while (!heap_.empty()) {
        hrtimer &timer = *heap_.front();
        const ktime_t expires = timer.expires;
        cancel(timer);
        to.insert(timer, expires);
    }
    lent_to_ = &to;
}

/// True if timers that were started on `home` belong to this queue: `home` is this queue, or is lent to it, directly or
/// through other queues.
bool hrtimer_queue::stands_for(const hrtimer_queue *home) const noexcept
{
    while (home && home != this) {
        home = home->lent_to_;
    }
    return home != nullptr;
}

void hrtimer_queue::take_back()
{
    hrtimer_queue *holder = this;
    while (holder->lent_to_) {
        holder = holder->lent_to_;
    }
    std::vector<hrtimer *> mine;
    std::copy_if(holder->heap_.begin(), holder->heap_.end(), std::back_inserter(mine),
                 [this](const hrtimer *timer) { return stands_for(timer->home); });
    for (hrtimer *timer : mine) {
        const ktime_t expires = timer->expires;
        holder->cancel(*timer);
        insert(*timer, expires);
    }
    lent_to_ = nullptr;
}

unsigned hrtimer_queue::run_expired(ktime_t now) noexcept
{
    // A callback may start timers that have expired already. The limit, counted first, leaves as many to the next call,
    // so that a timer that restarts itself in the past cannot hold the CPU.
    unsigned due = 0;
    for (const hrtimer *timer : heap_) {
        due += timer->expires <= now;
    }
    unsigned ran = 0;
    while (ran < due && !heap_.empty() && heap_.front()->expires <= now) {
        hrtimer *timer = heap_.front();
        cancel(*timer);
        ++ran;
        timer->function(*timer);
    }
    return ran;
}

} // namespace halfpoll
