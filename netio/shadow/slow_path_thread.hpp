// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/slow_path.hpp>

#include "mbuf_stock.hpp"
#include "punt_ring.hpp"
#include "shadow_gro.hpp"
#include "shadow_tap.hpp"
#include "vhost_queue.hpp"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace halfpoll
{

/// One thread of the slow path: writes the packets of its rings to its queues of the shadows, sends what it reads there
/// to the devices, and sleeps when there are none. Thread number k is foreign producer k, and has the queue k of each
/// shadow. It alone uses that queue's fd for packets, and it alone changes the fd.
class slow_path_thread
{
public:
    /// `rings`: by data CPU, of `ring_size` packets; they outlive the object, as `core` does. `on_removed` is called on
    /// the thread after it has found that the interface of a shadow is gone.
    slow_path_thread(net_core &core, unsigned number, std::vector<punt_ring *> rings, unsigned ring_size,
                     std::function<void()> on_removed);
    /// Stops the thread.
    ~slow_path_thread();
    slow_path_thread(const slow_path_thread &) = delete;
    slow_path_thread &operator=(const slow_path_thread &) = delete;

    /// Starts the thread with all signals blocked, because they are meant for the program's own threads. Throws
    /// `error`. Control thread.
    void start(const std::string &name);
    /// Throws `error`. Control thread.
    void pin(unsigned cpu);
    /// Wakes the thread if it sleeps. After packets were published in one of its rings; data CPUs.
    void wake() noexcept;

    /// Waits for frames of a shadow from now on; returns 0 or errno. Control thread, before the thread can have packets
    /// of the shadow; blocks.
    int watch(shadow &s);
    /// Gives the thread's queue of a shadow another fd and vhost_queue, and returns the former ones, which nobody uses
    /// any more. Without `watched` no frames are waited for. Returns 0, or errno if they cannot be waited for. Control
    /// thread; blocks.
    int exchange(shadow &s, int &fd, std::unique_ptr<vhost_queue> &vhost, bool watched);
    /// Writes all packets that were published before the call, and uses the shadow no more. Control thread; blocks.
    void leave(shadow &s);

private:
    void call(const std::function<void()> &work);
    void take_call() noexcept;
    int start_watching(shadow &s) noexcept;
    void stop_watching(shadow &s) noexcept;
    void run() noexcept;
    bool carry_punted() noexcept;
    void carry_all_punted() noexcept;
    void write_merged() noexcept;
    bool write(shadow_queue &to, std::span<const iovec> frame) noexcept;
    void flush_vhost() noexcept;
    bool read_vhost() noexcept;
    void drain_vhost(shadow &s) noexcept;
    bool announce_sleep(bool more) noexcept;
    shadow_queue &queue_of(shadow &s) const noexcept { return s.queues[number_]; }
    bool from_kernel(shadow &s) noexcept;
    unsigned send_frame(shadow &s, const tap_frame &frame) noexcept;
    void send_outgoing(shadow &s) noexcept;
    void wait_for_room(const net_device &dev) const noexcept;
    void note_removed(shadow &s) noexcept;

    net_core &core_;
    const unsigned number_;
    const std::vector<punt_ring *> rings_; ///< by data CPU
    const unsigned ring_size_;
    const std::function<void()> on_removed_;
    int epoll_fd_ = -1;
    int doorbell_fd_ = -1;
    /// Set by the thread before its last check of the rings; checked by a producer after it has published. announce()
    /// in announce_sleep() and announced() in wake() pair with each other.
    alignas(64) std::atomic<std::uint32_t> sleeping_{0};
    /// Stored with release in the destructor; pairs with the acquire in run().
    std::atomic<bool> stop_{false};
    std::mutex call_mutex_;
    std::condition_variable called_;
    const std::function<void()> *call_ = nullptr; ///< under call_mutex_: the thread runs it and sets null

    // Of the thread alone.
    std::vector<shadow *> by_vhost_;             ///< shadows whose frames vhost-net carries
    tap_buffer buffer_;                          ///< the frame that was read last
    mbuf_stock stock_;                           ///< for the packets of frames from the kernel
    gro_batch merging_;                          ///< packets for the kernel
    std::array<rte_mbuf *, NET_BURST> outgoing_; ///< packets from the kernel, to one device
    unsigned outgoing_count_ = 0;

    std::thread thread_;
};

} // namespace halfpoll
