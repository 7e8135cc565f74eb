// SPDX-License-Identifier: BSD-3-Clause
#include "virtqueue.hpp"

#include <atomic>

namespace halfpoll
{

namespace
{

std::atomic_ref<std::uint16_t> atomic(std::uint16_t &shared) noexcept { return std::atomic_ref(shared); }

} // namespace

void virtqueue::add(std::uint16_t number, std::uint64_t address, std::uint32_t length, std::uint16_t flags) noexcept
{
    shared_.descriptors[number] = {.address = address, .length = length, .flags = flags, .next = 0};
    shared_.available[added_++ % SIZE] = number;
}

bool virtqueue::publish() noexcept
{
    if (published_ == added_) {
        return false;
    }
    published_ = added_;
    // Before it waits, the device clears NO_NOTIFY and then looks at the index. Both sides are sequentially consistent,
    // so that one of them sees what the other has written. The store also releases the buffers to the device's acquire.
    atomic(shared_.available_index).store(added_, std::memory_order_seq_cst);
    return (atomic(shared_.used_flags).load(std::memory_order_seq_cst) & rings::NO_NOTIFY) == 0;
}

std::optional<virtqueue::used_buffer> virtqueue::take() noexcept
{
    // Pairs with the device's release after it has written the buffer.
    if (taken_ == atomic(shared_.used_index).load(std::memory_order_acquire)) {
        return {};
    }
    return shared_.used[taken_++ % SIZE];
}

bool virtqueue::want_signal() noexcept
{
    // The device gives a buffer back, and then looks at the flag: as in publish(), with the sides changed.
    atomic(shared_.available_flags).store(0, std::memory_order_seq_cst);
    return taken_ == atomic(shared_.used_index).load(std::memory_order_seq_cst);
}

void virtqueue::want_no_signal() noexcept
{
    atomic(shared_.available_flags).store(rings::NO_INTERRUPT, std::memory_order_relaxed); // a hint
}

} // namespace halfpoll
