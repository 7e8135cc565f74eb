// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/napi.hpp>
#include <halfpoll/softnet_data.hpp>

namespace halfpoll
{

inline void napi_list::push_back(napi_struct &n) noexcept
{
    n.next = nullptr;
    (tail_ ? tail_->next : head_) = &n;
    tail_ = &n;
    n.listed = true;
}

inline napi_struct *napi_list::pop_front() noexcept
{
    napi_struct *n = head_;
    if (n) {
        head_ = n->next;
        if (!head_) {
            tail_ = nullptr;
        }
        n->next = nullptr;
        n->listed = false;
    }
    return n;
}

inline void napi_list::splice_back(napi_list &other) noexcept
{
    if (other.empty()) {
        return;
    }
    (tail_ ? tail_->next : head_) = other.head_;
    tail_ = other.tail_;
    other.head_ = other.tail_ = nullptr;
}

/// Puts an instance that is owned and on no list on the poll list. In a section of its home CPU.
inline void napi_enqueue(softnet_data &sd, napi_struct &napi) noexcept
{
    local_lock bh(sd);
    assert(!napi.listed);
    bh->poll_list.push_back(napi);
    if (!bh->in_net_rx_action) {
        __raise_softirq_irqoff(*bh, NET_RX_SOFTIRQ);
    }
}

} // namespace halfpoll
