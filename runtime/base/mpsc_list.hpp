// SPDX-License-Identifier: BSD-3-Clause
//
// Intrusive lists on which any thread pushes, and of which one thread at a time takes everything. Items are linked by
// their member `next`, which belongs to the thread that pushes.
#pragma once

#include <atomic>

namespace halfpoll
{

/// Pushes an item in front. True if the list was empty. Any thread.
template <typename T>
bool push(std::atomic<T *> &list, T &item) noexcept
{
    T *first = list.load(std::memory_order_relaxed);
    do {
        item.next = first;
        // release; pairs with the acquire exchange in take_all().
    } while (!list.compare_exchange_weak(first, &item, std::memory_order_release, std::memory_order_relaxed));
    return first == nullptr;
}

/// Takes the whole list, newest first. Makes a read-modify-write only if the list is not empty.
template <typename T>
T *take_all(std::atomic<T *> &list) noexcept
{
    // acquire; pairs with the release in push().
    return list.load(std::memory_order_relaxed) ? list.exchange(nullptr, std::memory_order_acquire) : nullptr;
}

/// Takes the whole list, oldest first.
template <typename T>
T *take_all_in_order(std::atomic<T *> &list) noexcept
{
    T *oldest = nullptr;
    for (T *item = take_all(list); item;) {
        T *next = item->next;
        item->next = oldest;
        oldest = item;
        item = next;
    }
    return oldest;
}

} // namespace halfpoll
