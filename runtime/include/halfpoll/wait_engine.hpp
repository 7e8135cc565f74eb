// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstdint>
#include <memory>

namespace halfpoll
{

/// How an event fd is waited on. Which driver needs which is the device's knowledge.
enum class source_kind : std::uint8_t {
    multishot, ///< one poll request, a completion per edge; for fds nobody reads (eventfd of a queue, epoll fd)
    read8,     ///< an 8-byte read that waits and acknowledges in one operation (doorbells)
    oneshot,   ///< a level-triggered poll, armed only while its queue is in interrupt mode (AF_XDP: cannot be masked)
};

struct wait_source;
/// Runs on the thread that owns the engine. `res` > 0: poll mask or bytes read; < 0: -errno, the source is dead until
/// armed again (-ECANCELED after disarm() is not delivered).
using wait_fn = void (*)(wait_source &, int res) noexcept;

/// An fd that can end a wait. Embedded in its owner, who keeps the fd open until remove() has returned.
struct wait_source {
    int fd = -1;
    source_kind kind = source_kind::multishot;
    wait_fn fire = nullptr;
    std::uint64_t value = 0; ///< read8: the last value read
    bool armed = false;      ///< a request is in the kernel or queued for it
    bool wanted = false;     ///< arm again when a request ends by itself
    std::uint64_t fired = 0; ///< completions delivered
    bool deferred = false;   ///< arm() or disarm() came from another thread: for submit_deferred()
    wait_source *next_deferred = nullptr;
};

/// The io_uring of one bottom-half thread: interrupt fds, doorbells and the timed block. SINGLE_ISSUER: constructed and
/// used by one thread, its owner; arm() and disarm() may come from others, who exclude each other and the owner (but
/// for block()) by a lock of theirs and say so with defer_requests(). While that thread polls it costs two loads
/// (completion tail, TASKRUN flag) and no system call.
class wait_engine
{
public:
    /// Throws `error` that names the remedy (kernel.io_uring_disabled, seccomp, RLIMIT_MEMLOCK, kernel >= 6.1).
    explicit wait_engine(unsigned entries = 256);
    ~wait_engine();
    wait_engine(const wait_engine &) = delete;
    wait_engine &operator=(const wait_engine &) = delete;

    /// Requests an event from the source; reaches the kernel with the next poll() or wait(). Idempotent while armed.
    void arm(wait_source &source) noexcept;
    /// No event is delivered after it returns; the kernel may still hold the request until remove().
    void disarm(wait_source &source) noexcept;
    /// Disarms and blocks until the kernel has let go of the fd. Control work: not for the packet path.
    void remove(wait_source &source) noexcept;

    /// Hands queued requests to the kernel and delivers what has completed. A system call only if requests are queued
    /// or the kernel has flagged work (IORING_SQ_TASKRUN). Returns events delivered.
    unsigned poll() noexcept;
    /// Blocks until an event or the absolute time `until` (KTIME_MAX: no limit), then delivers. Returns events
    /// delivered.
    unsigned wait(ktime_t until) noexcept;

    /// The first half of wait(): blocks and delivers nothing; poll() does. False: `until` has passed.
    bool block(ktime_t until) noexcept;

    /// True: from now on, until false, arm() and disarm() are called by another thread than the owner, and only noted.
    void defer_requests(bool defer) noexcept { deferring_ = defer; }
    /// There are notes for the owner, who must be woken for them.
    bool has_deferred() const noexcept { return deferred_ != nullptr; }
    /// Does what was noted. Owner.
    void submit_deferred() noexcept;

    std::uint64_t system_calls() const noexcept;

private:
    struct ring;
    void defer(wait_source &source) noexcept;

    std::unique_ptr<ring> ring_;
    bool deferring_ = false;
    wait_source *deferred_ = nullptr;
};

} // namespace halfpoll
