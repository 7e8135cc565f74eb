// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "shadow_tap.hpp"
#include "virtqueue.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <sys/uio.h>

namespace halfpoll
{

/// Frames to and from one queue of a TAP by vhost-net: through memory that a worker of the kernel (`vhost-PID`) reads
/// and writes, instead of a system call for each frame. The kernel's stack runs on the worker. One thread; the control
/// thread makes and destroys it.
class vhost_queue
{
public:
    static constexpr unsigned SEND_BUFFERS = virtqueue::SIZE;
    /// Fewer, because each is used in turn: with frames of 64 KiB they should fit into the cache. More frames wait in
    /// the TAP.
    static constexpr unsigned RECEIVE_BUFFERS = 64;

    /// What both sides share.
    struct memory {
        virtqueue::rings from_kernel, to_kernel;
        alignas(4096) std::array<tap_buffer, RECEIVE_BUFFERS> receive;
        std::array<tap_buffer, SEND_BUFFERS> send;
    };
    /// An eventfd that the other side waits for.
    struct bell {
        int fd = -1;
        bell() = default;
        ~bell();
        bell(const bell &) = delete;
        bell &operator=(const bell &) = delete;
        void ring() const noexcept;
    };
    /// What the device needs to know. The bells are the driver's kicks and the device's signal.
    struct device_view {
        memory &shared;
        const bell &receive_kick, &send_kick, &signal;
    };

    /// Without a device yet. Throws `error`.
    vhost_queue();
    ~vhost_queue();
    vhost_queue(const vhost_queue &) = delete;
    vhost_queue &operator=(const vhost_queue &) = delete;

    /// Makes the kernel's vhost-net the device, for a TAP of tap_open(). `name`: of the shadow, for messages. Throws
    /// `error` with the remedy. Control thread.
    void attach(int tap_fd, const std::string &name);
    device_view for_device() noexcept { return {*memory_, receive_kick_, send_kick_, signal_}; }

    /// Queues a copy of a frame, which begins with a vnet_header; flush() sends it. False: it has no room now, or
    /// never.
    bool write(std::span<const iovec> frame) noexcept;
    /// Reads a frame. It is valid until the next call or flush().
    tap_result read(tap_frame &frame) noexcept;
    /// Hands to the device what was written, and the buffers that were read.
    void flush() noexcept;
    /// Whether the device has taken all that was written.
    bool drained() noexcept;
    /// Asks the device to signal when it has a frame. True: it has none yet, so that the caller may wait for
    /// signal_fd().
    bool may_wait() noexcept { return from_.want_signal(); }
    /// An eventfd, to be waited for as edge-triggered: it is never read.
    int signal_fd() const noexcept { return signal_.fd; }

private:
    static constexpr unsigned NONE = SEND_BUFFERS;

    struct unmap {
        void operator()(memory *m) const noexcept;
    };
    void reclaim() noexcept;
    void give_back() noexcept;
    void offer(std::uint16_t number) noexcept;

    std::unique_ptr<memory, unmap> memory_;
    bell receive_kick_, send_kick_, signal_;
    int vhost_fd_ = -1;
    virtqueue from_, to_;
    unsigned reading_ = NONE;                      ///< number of the buffer that read() has returned
    std::array<std::uint16_t, SEND_BUFFERS> free_; ///< buffers that the device does not have; the last one is in cache
    unsigned free_count_ = 0;
};

} // namespace halfpoll
