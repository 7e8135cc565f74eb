// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/ktime.hpp>

#include <cstdint>
#include <memory>

namespace halfpoll
{

/// The kind of request that waits on an event fd. The device's driver determines which one its fd needs.
enum class source_kind : std::uint8_t {
    multishot, ///< one poll request, a completion per edge; for fds that are not read (a queue's eventfd, an epoll fd)
    read8,     ///< an 8-byte read, which waits and acknowledges in one operation (doorbells)
    oneshot,   ///< a level-triggered poll, armed only while its queue is in interrupt mode (AF_XDP: cannot be masked)
};

struct wait_source;
/// The callback of an event. Runs on the engine's owner. `res` > 0: poll mask, or bytes read. `res` < 0: -errno, after
/// which no event comes until arm(): -EBADF if the fd is closed, -ENOMEM, or for `read8` an error of read(2). After
/// -ECANCELED, -EINTR and -EAGAIN the engine arms again by itself, and delivers nothing.
using wait_fn = void (*)(wait_source &, int res) noexcept;

/// An fd that can end a wait. Embedded in an object that owns the fd and keeps it open until remove() has returned.
struct wait_source {
    int fd = -1;
    source_kind kind = source_kind::multishot;
    wait_fn fire = nullptr;
    std::uint64_t value = 0; ///< read8: the last value read
    bool armed = false;      ///< a request is in the kernel, or queued for it
    bool wanted = false;     ///< between arm() and disarm(): a request that ends is replaced, events are delivered
    std::uint64_t fired = 0; ///< events delivered
    bool deferred = false;   ///< on the list for submit_deferred(): arm() or disarm() came from another thread
    wait_source *next_deferred = nullptr;
};

/// The io_uring of one bottom-half thread: interrupt fds, doorbells and the timed block. It is SINGLE_ISSUER: one
/// thread, the owner, constructs and uses it. Other threads may call arm() and disarm() after defer_requests(true), if
/// a lock of theirs excludes them from each other and from every call of the owner except block(). While the owner
/// polls, the engine costs two loads (completion tail, TASKRUN flag) and no system call.
class wait_engine
{
public:
    /// `entries` is the size of the submission queue. Throws `error` that names the remedy (kernel.io_uring_disabled,
    /// seccomp, RLIMIT_MEMLOCK, kernel >= 6.1).
    explicit wait_engine(unsigned entries = 256);
    ~wait_engine();
    wait_engine(const wait_engine &) = delete;
    wait_engine &operator=(const wait_engine &) = delete;

    /// Requests events from the source. The request reaches the kernel with the next poll(), wait() or block().
    /// Idempotent while armed.
    void arm(wait_source &source) noexcept;
    /// Ends the delivery of events at once. The kernel may hold the request, and the fd, until remove() has returned.
    void disarm(wait_source &source) noexcept;
    /// Disarms the source, and blocks until the kernel has released the fd; delivers events of other sources meanwhile.
    /// Control work, never on the packet path.
    void remove(wait_source &source) noexcept;

    /// Submits queued requests and delivers the events that have come. Makes a system call only if requests are queued
    /// or the kernel has flagged work (IORING_SQ_TASKRUN). Returns the number of completions it took from the ring,
    /// those of cancelled requests included.
    unsigned poll() noexcept;
    /// Blocks until a completion comes or the absolute time `until` (KTIME_MAX: no limit), then delivers events.
    /// Returns as poll().
    unsigned wait(ktime_t until) noexcept;

    /// Blocks as wait() and delivers nothing; poll() does that afterwards. False, without blocking, if `until` has
    /// passed already.
    bool block(ktime_t until) noexcept;

    /// With true, arm() and disarm() come from a thread that is not the owner from now on, and are only recorded for
    /// submit_deferred(). False ends that.
    void defer_requests(bool defer) noexcept { deferring_ = defer; }
    /// True if requests are recorded; the owner is to be woken for them.
    bool has_deferred() const noexcept { return deferred_ != nullptr; }
    /// Submits the recorded requests. Owner.
    void submit_deferred() noexcept;

    /// The number of system calls so far.
    std::uint64_t system_calls() const noexcept;

private:
    struct ring;
    void defer(wait_source &source) noexcept;

    std::unique_ptr<ring> ring_;
    bool deferring_ = false;
    wait_source *deferred_ = nullptr;
};

} // namespace halfpoll
