// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/wait_engine.hpp>

#include <halfpoll/error.hpp>

#include "runtime/trace/trace_emit.hpp"

#include <atomic>
#include <cerrno>
#include <liburing.h>
#include <poll.h>

namespace halfpoll
{

namespace
{

/// user_data of requests whose completion is dropped: cancellations.
constexpr std::uint64_t ignored = 0;

std::string remedy(int errnum)
{
    switch (errnum) {
    case EPERM:
    case EACCES:
        return " (allow it with 'sysctl kernel.io_uring_disabled=0', and in a container lift the seccomp filter)";
    case ENOMEM:
        return " (raise RLIMIT_MEMLOCK: 'ulimit -l unlimited')";
    case ENOSYS:
    case EINVAL:
        return " (io_uring with DEFER_TASKRUN needs Linux 6.1 or newer)";
    default:
        return "";
    }
}

} // namespace

struct wait_engine::ring {
    io_uring uring{};
    unsigned queued = 0; ///< requests that were not submitted yet
    std::uint64_t system_calls = 0;

    io_uring_sqe *get_sqe() noexcept;
    void called() noexcept;
    void submit() noexcept;
    void submit_request(wait_source &source) noexcept;
    void cancel(wait_source &source) noexcept;
    unsigned deliver() noexcept;
    const io_uring_cqe *first() noexcept;
    void complete(const io_uring_cqe &cqe) noexcept;
};

/// Accounts for a system call, which may have submitted all of the requests, some or none. The next one submits the
/// rest.
void wait_engine::ring::called() noexcept
{
    ++system_calls;
    queued = io_uring_sq_ready(&uring);
}

void wait_engine::ring::submit() noexcept
{
    io_uring_submit(&uring);
    called();
}

io_uring_sqe *wait_engine::ring::get_sqe() noexcept
{
    io_uring_sqe *sqe = io_uring_get_sqe(&uring);
    while (!sqe) { // the queue is full
        submit();
        sqe = io_uring_get_sqe(&uring);
    }
    ++queued;
    return sqe;
}

void wait_engine::ring::submit_request(wait_source &source) noexcept
{
    io_uring_sqe *sqe = get_sqe();
    switch (source.kind) {
    case source_kind::multishot:
        io_uring_prep_poll_multishot(sqe, source.fd, POLLIN);
        break;
    case source_kind::read8:
        io_uring_prep_read(sqe, source.fd, &source.value, sizeof source.value, 0);
        break;
    case source_kind::oneshot:
        io_uring_prep_poll_add(sqe, source.fd, POLLIN);
        break;
    }
    io_uring_sqe_set_data(sqe, &source);
    source.armed = true;
}

void wait_engine::ring::cancel(wait_source &source) noexcept
{
    io_uring_sqe *sqe = get_sqe();
    io_uring_prep_cancel(sqe, &source, 0);
    io_uring_sqe_set_data64(sqe, ignored);
}

void wait_engine::ring::complete(const io_uring_cqe &cqe) noexcept
{
    if (cqe.user_data == ignored) {
        return;
    }
    wait_source &source = *reinterpret_cast<wait_source *>(cqe.user_data);
    if (!(cqe.flags & IORING_CQE_F_MORE)) {
        source.armed = false;
    }
    if (!source.wanted) {
        return; // the source was disarmed meanwhile
    }
    const int res = cqe.res;
    // Cancelled by a disarm() that an arm() has followed, or interrupted.
    const bool again = res == -ECANCELED || res == -EINTR || res == -EAGAIN;
    const bool failed = res < 0 && !again;
    if (failed || (source.kind == source_kind::oneshot && !again)) {
        source.wanted = false;
    } else if (!source.armed) {
        submit_request(source); // a multishot has ended, or a read was served
    }
    if (!again) {
        ++source.fired;
        source.fire(source, res);
    }
}

/// The oldest completion, or null. Unlike io_uring_peek_cqe() it never makes a system call.
const io_uring_cqe *wait_engine::ring::first() noexcept
{
    unsigned head;
    io_uring_cqe *cqe;
    io_uring_for_each_cqe(&uring, head, cqe) { return cqe; }
    return nullptr;
}

unsigned wait_engine::ring::deliver() noexcept
{
    unsigned events = 0;
    while (const io_uring_cqe *cqe = first()) {
        const io_uring_cqe copy = *cqe;
        io_uring_cq_advance(&uring, 1); // before the callback, which may use the ring
        complete(copy);
        ++events;
    }
    return events;
}

wait_engine::wait_engine(unsigned entries) : ring_(std::make_unique<ring>())
{
    io_uring_params params{};
    params.flags =
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE;
    params.cq_entries = entries * 4;
    if (const int rc = io_uring_queue_init_params(entries, &ring_->uring, &params); rc < 0) {
        throw_errno(-rc, "io_uring" + remedy(-rc));
    }
}

wait_engine::~wait_engine() { io_uring_queue_exit(&ring_->uring); }

void wait_engine::arm(wait_source &source) noexcept
{
    source.wanted = true;
    if (deferring_) [[unlikely]] {
        defer(source);
    } else if (!source.armed) {
        ring_->submit_request(source);
    }
}

void wait_engine::disarm(wait_source &source) noexcept
{
    if (deferring_) [[unlikely]] {
        defer(source); // `wanted`, cleared below, keeps its events from being delivered meanwhile
    } else if (source.wanted && source.armed) {
        ring_->cancel(source);
    }
    source.wanted = false;
}

void wait_engine::defer(wait_source &source) noexcept
{
    if (!source.deferred) {
        source.deferred = true;
        source.next_deferred = deferred_;
        deferred_ = &source;
    }
}

void wait_engine::submit_deferred() noexcept
{
    while (wait_source *source = deferred_) {
        deferred_ = source->next_deferred;
        source->deferred = false;
        if (source->wanted && !source->armed) {
            ring_->submit_request(*source);
        } else if (!source->wanted && source->armed) {
            ring_->cancel(*source);
        }
    }
}

void wait_engine::remove(wait_source &source) noexcept
{
    submit_deferred();
    disarm(source);
    while (source.armed) { // until the request's last completion has come
        io_uring_cqe *cqe;
        const int rc = io_uring_submit_and_wait_timeout(&ring_->uring, &cqe, 1, nullptr, nullptr);
        ring_->called();
        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
            return; // the ring itself is broken and delivers no event any more
        }
        ring_->deliver();
    }
}

unsigned wait_engine::poll() noexcept
{
    ring &r = *ring_;
    // The flags word is shared with the kernel, which sets TASKRUN when it has completions to post at the next system
    // call.
    const unsigned flags = std::atomic_ref<unsigned>(*r.uring.sq.kflags).load(std::memory_order_relaxed);
    if (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) [[unlikely]] {
        io_uring_submit_and_get_events(&r.uring);
        r.called();
    } else if (r.queued) [[unlikely]] {
        r.submit();
    }
    if (io_uring_cq_ready(&r.uring) == 0) [[likely]] {
        return 0;
    }
    return r.deliver();
}

bool wait_engine::block(ktime_t until) noexcept
{
    ring &r = *ring_;
    __kernel_timespec relative{};
    __kernel_timespec *timeout = nullptr;
    if (until != KTIME_MAX) {
        const ktime_t left = until - ktime_get();
        if (left <= 0) {
            return false;
        }
        relative = {.tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC};
        timeout = &relative;
    }
    if (trace_enabled()) {
        trace_sched_block();
    }
    io_uring_cqe *cqe;
    io_uring_submit_and_wait_timeout(&r.uring, &cqe, 1, timeout, nullptr);
    r.called();
    if (trace_enabled()) {
        trace_sched_run();
    }
    return true;
}

unsigned wait_engine::wait(ktime_t until) noexcept { return block(until) ? ring_->deliver() : poll(); }

std::uint64_t wait_engine::system_calls() const noexcept { return ring_->system_calls; }

} // namespace halfpoll
