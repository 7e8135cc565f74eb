// SPDX-License-Identifier: BSD-3-Clause
#include "slow_path_thread.hpp"

#include <halfpoll/start_thread.hpp>
#include <halfpoll/stat_add.hpp>

#include "netio/xmit/handover.hpp"
#include "netio/xmit/xmit.hpp"
#include "shadow_gso.hpp"

#include "runtime/base/announce.hpp"

#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <optional>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

constexpr unsigned events_per_turn = 16;
// A segmented frame brings packets faster than a device sends them. A ring in which no room comes in that time has lost
// its consumer.
constexpr timespec room_pause{.tv_sec = 0, .tv_nsec = 20'000};
constexpr unsigned room_waits = 50;
constexpr unsigned drain_waits = 5'000;

void ring_doorbell(int fd) noexcept
{
    const std::uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

} // namespace

slow_path_thread::slow_path_thread(net_core &core, unsigned number, std::vector<punt_ring *> rings, unsigned ring_size,
                                   std::function<void()> on_removed)
    : core_(core), number_(number), rings_(std::move(rings)), ring_size_(ring_size), on_removed_(std::move(on_removed)),
      stock_(core.pool())
{
}

slow_path_thread::~slow_path_thread()
{
    if (thread_.joinable()) {
        stop_.store(true, std::memory_order_release); // pairs with the acquire in run()
        ring_doorbell(doorbell_fd_);
        thread_.join();
    }
    for (const int fd : {epoll_fd_, doorbell_fd_}) {
        if (fd >= 0) {
            close(fd);
        }
    }
}

void slow_path_thread::start(const std::string &name)
{
    epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    doorbell_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    if (epoll_fd_ < 0 || doorbell_fd_ < 0 || epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, doorbell_fd_, &event) != 0) {
        throw_errno(errno, "slow path: epoll");
    }
    std::promise<std::string> started;
    std::optional<signals_blocked> inherited(std::in_place);
    thread_ = start_thread("slow path", [this, &name, &started] {
        pthread_setname_np(pthread_self(), name.c_str());
        const bool registered = rte_thread_register() == 0;
        started.set_value(registered ? "" : "slow path: no lcore id is left for its thread (RTE_MAX_LCORE)");
        if (registered) {
            run();
            rte_thread_unregister();
        }
    });
    inherited.reset();
    if (const std::string problem = started.get_future().get(); !problem.empty()) {
        throw error(problem);
    }
}

void slow_path_thread::pin(unsigned cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    if (const int err = pthread_setaffinity_np(thread_.native_handle(), sizeof cpus, &cpus)) {
        throw_errno(err, "slow path: pinning its thread to CPU " + std::to_string(cpu));
    }
}

void slow_path_thread::wake() noexcept
{
    // announced() pairs with announce() in announce_sleep(). Of several producers one rings.
    if (announced(sleeping_) && sleeping_.exchange(0, std::memory_order_relaxed) != 0) {
        ring_doorbell(doorbell_fd_);
    }
}

int slow_path_thread::watch(shadow &s)
{
    int err = 0;
    call([&] { err = start_watching(s); });
    return err;
}

int slow_path_thread::start_watching(shadow &s) noexcept
{
    const shadow_queue &queue = queue_of(s);
    if (!queue.vhost) {
        epoll_event event{.events = EPOLLIN, .data = {.ptr = &s}};
        return epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, queue.fd, &event) == 0 ? 0 : errno;
    }
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = &s}};
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, queue.vhost->signal_fd(), &event) != 0) {
        return errno;
    }
    by_vhost_.push_back(&s);
    return 0;
}

void slow_path_thread::stop_watching(shadow &s) noexcept
{
    const shadow_queue &queue = queue_of(s);
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, queue.vhost ? queue.vhost->signal_fd() : queue.fd, nullptr);
    std::erase(by_vhost_, &s);
}

/// The thread itself exchanges the fd, so that what it finds about the former interface cannot be taken for news about
/// the new one.
int slow_path_thread::exchange(shadow &s, int &fd, std::unique_ptr<vhost_queue> &vhost, bool watched)
{
    int err = 0;
    call([&] {
        shadow_queue &queue = queue_of(s);
        drain_vhost(s);
        stop_watching(s);
        std::swap(queue.fd, fd);
        std::swap(queue.vhost, vhost);
        queue.deleted.store(false, std::memory_order_relaxed);
        err = watched ? start_watching(s) : 0;
    });
    return err;
}

void slow_path_thread::leave(shadow &s)
{
    call([&] {
        carry_all_punted();
        drain_vhost(s);
        stop_watching(s);
    });
}

/// Runs work, which throws nothing, on the thread between two turns: it has handled all events that it has waited for.
void slow_path_thread::call(const std::function<void()> &work)
{
    std::unique_lock lock(call_mutex_);
    call_ = &work;
    ring_doorbell(doorbell_fd_);
    called_.wait(lock, [this] { return call_ == nullptr; });
}

void slow_path_thread::take_call() noexcept
{
    const std::lock_guard lock(call_mutex_);
    if (call_) {
        (*call_)();
        call_ = nullptr;
        called_.notify_all();
    }
}

/// The thread.
void slow_path_thread::run() noexcept
{
    epoll_event events[events_per_turn];
    while (!stop_.load(std::memory_order_acquire)) { // pairs with the release in the destructor
        bool more = carry_punted();
        more |= read_vhost();
        const int timeout = announce_sleep(more) ? -1 : 0;
        const int n = epoll_wait(epoll_fd_, events, events_per_turn, timeout);
        sleeping_.store(0, std::memory_order_relaxed);
        bool rung = false;
        for (int i = 0; i < n; ++i) {
            auto *const s = static_cast<shadow *>(events[i].data.ptr);
            if (s == nullptr) {
                rung = true;
            } else if (!queue_of(*s).vhost) { // else the next turn reads it
                from_kernel(*s);
            }
        }
        if (rung) {
            std::uint64_t count;
            [[maybe_unused]] const ssize_t got = read(doorbell_fd_, &count, sizeof count);
            take_call();
        }
    }
}

/// Writes a batch from each CPU's ring; true if one of the rings may hold more.
bool slow_path_thread::carry_punted() noexcept
{
    bool more = false;
    for (punt_ring *ring : rings_) {
        rte_mbuf *pkts[gro_batch::PACKETS];
        shadow *to[gro_batch::PACKETS];
        unsigned n = 0;
        for (unsigned got = NET_BURST; got == NET_BURST && n < gro_batch::PACKETS; n += got) {
            got = ring->dequeue(pkts + n, to + n);
        }
        merging_.clear();
        for (unsigned i = 0; i < n; ++i) {
            merging_.add(*pkts[i], to[i],
                         {.tcp = to[i]->gro.load(std::memory_order_relaxed),
                          .udp = to[i]->gro_udp.load(std::memory_order_relaxed)});
        }
        write_merged();
        rte_pktmbuf_free_bulk(pkts, n);
        more |= n == gro_batch::PACKETS;
    }
    return more;
}

void slow_path_thread::write_merged() noexcept
{
    for (unsigned i = 0; i < merging_.frames(); ++i) {
        shadow_queue &to = queue_of(*static_cast<shadow *>(merging_.to(i)));
        const std::span frame = merging_.gather(i);
        const bool written = !frame.empty() && write(to, frame);
        stat_add(written ? to.to_kernel : to.to_kernel_drops, merging_.packets(i));
    }
    flush_vhost();
}

bool slow_path_thread::write(shadow_queue &to, std::span<const iovec> frame) noexcept
{
    if (!to.vhost) {
        return tap_write(to.fd, frame);
    }
    // The kernel's worker may be slower than this thread, and then has all buffers.
    for (unsigned i = 0; !to.vhost->write(frame); ++i) {
        if (i == room_waits) {
            return false;
        }
        to.vhost->flush();
        nanosleep(&room_pause, nullptr);
    }
    return true;
}

void slow_path_thread::flush_vhost() noexcept
{
    for (shadow *s : by_vhost_) {
        queue_of(*s).vhost->flush();
    }
}

/// Reads frames of each shadow with vhost-net; true if one of them may have more.
bool slow_path_thread::read_vhost() noexcept
{
    bool more = false;
    for (shadow *s : by_vhost_) {
        more |= from_kernel(*s);
        queue_of(*s).vhost->flush();
    }
    return more;
}

/// Waits until the kernel has what was written. Its worker needs no more time than a CPU that others use.
void slow_path_thread::drain_vhost(shadow &s) noexcept
{
    vhost_queue *const vhost = queue_of(s).vhost.get();
    for (unsigned i = 0; vhost && i < drain_waits && !vhost->drained(); ++i) {
        nanosleep(&room_pause, nullptr);
    }
}

void slow_path_thread::carry_all_punted() noexcept
{
    const unsigned turns = ring_size_ / NET_BURST + 1;
    for (unsigned i = 0; i < turns; ++i) {
        carry_punted();
    }
}

/// First phase of going to sleep. True: the thread may block.
bool slow_path_thread::announce_sleep(bool more) noexcept
{
    if (more) {
        return false;
    }
    announce(sleeping_); // pairs with announced() in wake()
    return std::ranges::all_of(rings_, [](const punt_ring *ring) { return ring->empty(); }) &&
           std::ranges::all_of(by_vhost_, [this](shadow *s) { return queue_of(*s).vhost->may_wait(); });
}

/// Sends frames from a shadow to its device, until they were a burst of packets. Further frames wait for the next turn,
/// so that rings and shadows are served fairly. True: there may be some.
bool slow_path_thread::from_kernel(shadow &s) noexcept
{
    const shadow_queue &queue = queue_of(s);
    tap_result result = tap_result::frame;
    for (unsigned packets = 0; packets < NET_BURST && result != tap_result::empty && result != tap_result::removed;) {
        tap_frame frame;
        result = queue.vhost ? queue.vhost->read(frame) : tap_read(queue.fd, buffer_, frame);
        if (result == tap_result::frame) {
            packets += send_frame(s, frame);
        } else if (result == tap_result::bad) {
            stat_add(queue_of(s).from_kernel_drops);
            ++packets;
        }
    }
    send_outgoing(s);
    if (result == tap_result::removed) {
        note_removed(s);
        return false;
    }
    return result != tap_result::empty;
}

/// Sends the packets that a frame stands for; returns their number.
unsigned slow_path_thread::send_frame(shadow &s, const tap_frame &frame) noexcept
{
    std::optional<wire_packets> packets = wire_packets::of(frame.header, frame.bytes);
    if (!packets) {
        stat_add(queue_of(s).from_kernel_drops);
        return 1;
    }
    const unsigned most = stock_.segments_of(xmit_max_frame(*s.dev));
    for (unsigned i = 0; i < packets->count(); ++i) {
        const wire_packets::packet packet = packets->next();
        rte_mbuf *m = stock_.packet(packet.headers, packet.payload, most);
        if (m == nullptr) {
            stat_add(queue_of(s).from_kernel_drops);
            continue;
        }
        outgoing_[outgoing_count_++] = m;
        if (outgoing_count_ == NET_BURST) {
            send_outgoing(s);
        }
    }
    return packets->count();
}

void slow_path_thread::send_outgoing(shadow &s) noexcept
{
    if (outgoing_count_ != 0) {
        wait_for_room(*s.dev);
        const unsigned sent = core_.foreign_xmit(number_, *s.dev, outgoing_.data(), outgoing_count_);
        stat_add(queue_of(s).from_kernel, sent);
        stat_add(queue_of(s).from_kernel_drops, outgoing_count_ - sent);
        outgoing_count_ = 0;
    }
}

/// Waits until the outgoing packets have room on their way. Meanwhile frames wait in the TAP, whose length the kernel
/// limits (`txqueuelen`).
void slow_path_thread::wait_for_room(const net_device &dev) const noexcept
{
    for (unsigned i = 0; i < room_waits && dev.running.load(std::memory_order_relaxed) &&
                         foreign_room(core_, number_, dev) < outgoing_count_;
         ++i) {
        nanosleep(&room_pause, nullptr);
    }
}

void slow_path_thread::note_removed(shadow &s) noexcept
{
    epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, queue_of(s).fd, nullptr); // it would report the error for ever
    queue_of(s).deleted.store(true, std::memory_order_relaxed);
    on_removed_();
}

} // namespace halfpoll
