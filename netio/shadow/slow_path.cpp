// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/netns.hpp>
#include <halfpoll/slow_path.hpp>
#include <halfpoll/start_thread.hpp>
#include <halfpoll/stat_add.hpp>

#include "mbuf_stock.hpp"
#include "netio/xmit/handover.hpp"
#include "netio/xmit/xmit.hpp"
#include "punt_ring.hpp"
#include "shadow_gro.hpp"
#include "shadow_gso.hpp"
#include "shadow_tap.hpp"

#include "runtime/base/announce.hpp"

#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <fcntl.h>
#include <future>
#include <mutex>
#include <optional>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <thread>
#include <time.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

constexpr unsigned events_per_turn = 16;
// A segmented frame brings packets faster than a device sends them. A ring in which no room comes in that time has lost
// its consumer.
constexpr long room_wait_ns = 20'000;
constexpr unsigned room_waits = 50;

void ring_doorbell(int fd) noexcept
{
    const std::uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void check_limit(const punt_limit &limit)
{
    if (limit.burst == 0 || limit.burst > 1'000'000'000) {
        throw error("slow path: the burst of a punt class is " + std::to_string(limit.burst) +
                    "; 1 to 1000000000 packets are possible");
    }
}

} // namespace

const char *to_string(punt_class c) noexcept
{
    static constexpr const char *names[] = {"arp_nd",     "routing", "local",   "control",  "resolve",
                                            "ttl",        "too_big", "options", "no_route", "redirect",
                                            "table_full", "kernel",  "other"};
    static_assert(std::size(names) == PUNT_CLASSES);
    return c < PUNT_CLASSES ? names[c] : "unknown";
}

struct slow_path::impl {
    slow_path &self;
    net_core &core;
    slow_path_options options;
    known_sources known;
    std::vector<std::unique_ptr<punt_ring>> rings; ///< by runtime CPU
    /// By ifindex. The control thread stores with release; pairs with the acquire in of_device().
    std::array<std::atomic<shadow *>, MAX_IFINDEX> by_device{};
    std::vector<std::unique_ptr<shadow>> shadows; ///< control thread
    bool pass_allowed = false;                    ///< control thread

    int epoll_fd = -1;
    int doorbell_fd = -1;
    /// Set by the thread before its last check of the rings; checked by a producer after it has published. announce()
    /// in announce_sleep() and announced() in punt_flush() pair with each other.
    alignas(64) std::atomic<std::uint32_t> sleeping{0};
    /// Stored with release in the destructor; pairs with the acquire in run().
    std::atomic<bool> stop{false};
    std::mutex leaving_mutex;
    std::condition_variable left;
    shadow *leaving = nullptr; ///< under leaving_mutex: the thread stops reading from it and sets null
    std::thread thread;
    /// Posted work holds a weak reference and does nothing once it is gone.
    std::shared_ptr<void> alive = std::make_shared<int>();

    // Of the thread alone.
    tap_buffer buffer;                          ///< the frame that was read last
    mbuf_stock stock;                           ///< for the packets of frames from the kernel
    gro_batch merging;                          ///< packets for the kernel
    std::array<rte_mbuf *, NET_BURST> outgoing; ///< packets from the kernel, to one device
    unsigned outgoing_count = 0;

    impl(slow_path &s, net_core &c, slow_path_options o) : self(s), core(c), options(std::move(o)), stock(c.pool()) {}
    ~impl();

    void start();
    void run() noexcept;
    bool carry_punted() noexcept;
    void carry_all_punted() noexcept;
    void write_merged() noexcept;
    bool rings_empty() const noexcept;
    bool announce_sleep(bool more) noexcept;
    void from_kernel(shadow &s) noexcept;
    unsigned send_frame(shadow &s, const tap_frame &frame) noexcept;
    void send_outgoing(shadow &s) noexcept;
    void wait_for_room(const net_device &dev) const noexcept;
    void note_removed(shadow &s) noexcept;
    void report_deleted();
    void exchange_fd(shadow &s, int fd);
    void release_leaving() noexcept;
};

slow_path::impl::~impl()
{
    if (thread.joinable()) {
        stop.store(true, std::memory_order_release);
        ring_doorbell(doorbell_fd);
        thread.join();
    }
    for (const auto &s : shadows) {
        close(s->fd);
    }
    for (const int fd : {epoll_fd, doorbell_fd}) {
        if (fd >= 0) {
            close(fd);
        }
    }
}

/// Starts the thread with all signals blocked, because they are meant for the program's own threads.
void slow_path::impl::start()
{
    std::ranges::for_each(options.limits, check_limit);
    for (unsigned n = 0; n < core.cpus(); ++n) {
        rings.push_back(std::make_unique<punt_ring>(known, options.limits, options.ring_size, core.rt().now()));
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    doorbell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    if (epoll_fd < 0 || doorbell_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, doorbell_fd, &event) != 0) {
        throw_errno(errno, "slow path: epoll");
    }
    std::promise<std::string> started;
    std::optional<signals_blocked> inherited(std::in_place);
    thread = start_thread("slow path", [this, &started] {
        pthread_setname_np(pthread_self(), "slow_path");
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
    if (options.affinity >= 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET(options.affinity, &cpus);
        if (const int err = pthread_setaffinity_np(thread.native_handle(), sizeof cpus, &cpus)) {
            throw_errno(err, "slow path: pinning its thread to CPU " + std::to_string(options.affinity));
        }
    }
}

/// The thread: writes punted packets to the TAPs and sends frames from the TAPs to the devices; sleeps when there are
/// none.
void slow_path::impl::run() noexcept
{
    epoll_event events[events_per_turn];
    while (!stop.load(std::memory_order_acquire)) { // pairs with the release in ~impl()
        const bool more = carry_punted();
        const int timeout = announce_sleep(more) ? -1 : 0;
        const int n = epoll_wait(epoll_fd, events, events_per_turn, timeout);
        sleeping.store(0, std::memory_order_relaxed);
        bool rung = false;
        for (int i = 0; i < n; ++i) {
            if (auto *s = static_cast<shadow *>(events[i].data.ptr)) {
                from_kernel(*s);
            } else {
                rung = true;
            }
        }
        if (rung) {
            std::uint64_t count;
            [[maybe_unused]] const ssize_t got = read(doorbell_fd, &count, sizeof count);
            release_leaving();
        }
    }
}

/// Writes a batch from each CPU's ring; true if one of the rings may hold more.
bool slow_path::impl::carry_punted() noexcept
{
    bool more = false;
    for (const auto &ring : rings) {
        rte_mbuf *pkts[gro_batch::PACKETS];
        shadow *to[gro_batch::PACKETS];
        unsigned n = 0;
        for (unsigned got = NET_BURST; got == NET_BURST && n < gro_batch::PACKETS; n += got) {
            got = ring->dequeue(pkts + n, to + n);
        }
        merging.clear();
        for (unsigned i = 0; i < n; ++i) {
            merging.add(*pkts[i], to[i],
                        {.tcp = to[i]->gro.load(std::memory_order_relaxed),
                         .udp = to[i]->gro_udp.load(std::memory_order_relaxed)});
        }
        write_merged();
        rte_pktmbuf_free_bulk(pkts, n);
        more |= n == gro_batch::PACKETS;
    }
    return more;
}

void slow_path::impl::write_merged() noexcept
{
    for (unsigned i = 0; i < merging.frames(); ++i) {
        shadow &to = *static_cast<shadow *>(merging.to(i));
        const std::span frame = merging.gather(i);
        const bool written = !frame.empty() && tap_write(to.fd, frame);
        stat_add(written ? to.stats.to_kernel : to.stats.to_kernel_drops, merging.packets(i));
    }
}

/// Writes all packets that were published before the call.
void slow_path::impl::carry_all_punted() noexcept
{
    const unsigned turns = options.ring_size / NET_BURST + 1;
    for (unsigned i = 0; i < turns; ++i) {
        carry_punted();
    }
}

bool slow_path::impl::rings_empty() const noexcept
{
    return std::ranges::all_of(rings, [](const auto &ring) { return ring->empty(); });
}

/// First phase of going to sleep. True: the thread may block.
bool slow_path::impl::announce_sleep(bool more) noexcept
{
    if (more) {
        return false;
    }
    announce(sleeping); // pairs with announced() in punt_flush()
    return rings_empty();
}

/// Sends frames from a TAP to its device, until they were a burst of packets. Further frames wait for the next turn, so
/// that rings and TAPs are served fairly.
void slow_path::impl::from_kernel(shadow &s) noexcept
{
    tap_result result = tap_result::frame;
    for (unsigned packets = 0; packets < NET_BURST && result != tap_result::empty && result != tap_result::removed;) {
        tap_frame frame;
        result = tap_read(s.fd, buffer, frame);
        if (result == tap_result::frame) {
            packets += send_frame(s, frame);
        } else if (result == tap_result::bad) {
            stat_add(s.stats.from_kernel_drops);
            ++packets;
        }
    }
    send_outgoing(s);
    if (result == tap_result::removed) {
        note_removed(s);
    }
}

/// Sends the packets that a frame stands for; returns their number.
unsigned slow_path::impl::send_frame(shadow &s, const tap_frame &frame) noexcept
{
    std::optional<wire_packets> packets = wire_packets::of(frame.header, frame.bytes);
    if (!packets) {
        stat_add(s.stats.from_kernel_drops);
        return 1;
    }
    const unsigned most = stock.segments_of(xmit_max_frame(*s.dev));
    for (unsigned i = 0; i < packets->count(); ++i) {
        const wire_packets::packet packet = packets->next();
        rte_mbuf *m = stock.packet(packet.headers, packet.payload, most);
        if (m == nullptr) {
            stat_add(s.stats.from_kernel_drops);
            continue;
        }
        outgoing[outgoing_count++] = m;
        if (outgoing_count == NET_BURST) {
            send_outgoing(s);
        }
    }
    return packets->count();
}

void slow_path::impl::send_outgoing(shadow &s) noexcept
{
    if (outgoing_count != 0) {
        wait_for_room(*s.dev);
        const unsigned sent = core.foreign_xmit(0, *s.dev, outgoing.data(), outgoing_count);
        stat_add(s.stats.from_kernel, sent);
        stat_add(s.stats.from_kernel_drops, outgoing_count - sent);
        outgoing_count = 0;
    }
}

/// Waits until the outgoing packets have room on their way. Meanwhile frames wait in the TAP, whose length the kernel
/// limits (`txqueuelen`).
void slow_path::impl::wait_for_room(const net_device &dev) const noexcept
{
    constexpr timespec pause{.tv_sec = 0, .tv_nsec = room_wait_ns};
    for (unsigned i = 0;
         i < room_waits && dev.running.load(std::memory_order_relaxed) && foreign_room(core, 0, dev) < outgoing_count;
         ++i) {
        nanosleep(&pause, nullptr);
    }
}

void slow_path::impl::note_removed(shadow &s) noexcept
{
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s.fd, nullptr); // it would report the error for ever
    s.deleted.store(true, std::memory_order_relaxed);
    core.post([this, here = std::weak_ptr<void>(alive)] {
        if (!here.expired()) {
            report_deleted();
        }
    });
}

/// Runs on the control thread: the shadow may have been removed since.
void slow_path::impl::report_deleted()
{
    for (const auto &s : shadows) {
        if (s->deleted.load(std::memory_order_relaxed) && s->failure.empty()) {
            s->failure = "its kernel interface was deleted";
            s->kernel_ifindex = shadow::NO_IFINDEX;
            s->moved = false;
            if (self.on_deleted) {
                self.on_deleted(*s);
            }
        }
    }
}

/// Gives a shadow another interface under the same fd number, because the thread keeps writing to that number. Writes
/// to an interface that is gone have failed.
void slow_path::impl::exchange_fd(shadow &s, int fd)
{
    if (dup3(fd, s.fd, O_CLOEXEC) < 0) {
        throw_errno(errno, "shadow " + s.name + ": exchanging its file descriptor");
    }
}

void slow_path::impl::release_leaving() noexcept
{
    const std::lock_guard lock(leaving_mutex);
    if (!leaving) {
        return;
    }
    carry_all_punted(); // packets that data CPUs sent to it before the grace period
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, leaving->fd, nullptr);
    leaving = nullptr;
    left.notify_all();
}

slow_path::slow_path(net_core &core, slow_path_options options)
    : impl_(std::make_unique<impl>(*this, core, std::move(options)))
{
    impl_->start();
    core.elsewhere_in_flight = [this] { return !impl_->rings_empty(); };
}

slow_path::~slow_path() { impl_->core.elsewhere_in_flight = nullptr; }

shadow &slow_path::add_shadow(net_device &dev, const std::string &name)
{
    if (const shadow *old = of_device(dev)) {
        throw error("shadow " + name + ": port " + dev.name + " already has the shadow " + old->name);
    }
    const tap t = tap_open(impl_->options.netns, name, dev.mac, dev.mtu.load(std::memory_order_relaxed));
    auto s = std::make_unique<shadow>();
    s->dev = &dev;
    s->name = t.name;
    s->identity = name;
    s->fd = t.fd;
    s->kernel_ifindex = t.ifindex;
    s->created = t.created;
    s->uso = t.uso;
    shadow &added = *impl_->shadows.emplace_back(std::move(s));
    try {
        look_at_offloads(added);
        epoll_event event{.events = EPOLLIN, .data = {.ptr = &added}};
        if (epoll_ctl(impl_->epoll_fd, EPOLL_CTL_ADD, added.fd, &event) != 0) {
            throw_errno(errno, "shadow " + name + ": epoll");
        }
        impl_->by_device[dev.ifindex].store(&added, std::memory_order_release);
        set_carrier(added, dev.carrier.load(std::memory_order_relaxed));
    } catch (...) {
        remove_shadow(added, t.created);
        throw;
    }
    return added;
}

void slow_path::remove_shadow(shadow &s, bool destroy)
{
    impl_->by_device[s.dev->ifindex].store(nullptr, std::memory_order_release);
    impl_->core.rt().synchronize_rcu(); // no data CPU punts to it any more
    std::unique_lock lock(impl_->leaving_mutex);
    impl_->leaving = &s;
    ring_doorbell(impl_->doorbell_fd);
    impl_->left.wait(lock, [this] { return impl_->leaving == nullptr; });
    lock.unlock();
    if (destroy) {
        tap_forget(s.fd);
    }
    close(s.fd);
    std::erase_if(impl_->shadows, [&s](const auto &p) { return p.get() == &s; });
}

void slow_path::exchange_shadow(shadow &s, const std::string &name)
{
    const tap t = tap_open(impl_->options.netns, name, s.dev->mac, s.dev->mtu.load(std::memory_order_relaxed));
    try {
        impl_->exchange_fd(s, t.fd);
    } catch (...) {
        if (t.created) {
            tap_forget(t.fd);
        }
        close(t.fd);
        throw;
    }
    close(t.fd);
    s.name = t.name;
    s.identity = name;
    s.kernel_ifindex = t.ifindex;
    s.created = t.created;
    s.uso = t.uso;
    s.moved = false;
    s.failure.clear();
    s.deleted.store(false, std::memory_order_relaxed);
    look_at_offloads(s);
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &s}};
    if (epoll_ctl(impl_->epoll_fd, EPOLL_CTL_ADD, s.fd, &event) != 0) {
        const int err = errno;
        s.failure = "its frames cannot be waited for";
        throw_errno(err, "shadow " + s.name + ": epoll");
    }
    set_carrier(s, s.dev->carrier.load(std::memory_order_relaxed));
}

void slow_path::reopen_shadow(shadow &s)
{
    try {
        exchange_shadow(s, s.identity);
    } catch (const std::exception &e) {
        s.failure = e.what();
        throw;
    }
}

void slow_path::release_shadow(shadow &s, const std::string &why)
{
    const int fd = tap_unattached();
    try {
        impl_->exchange_fd(s, fd);
    } catch (...) {
        close(fd);
        throw;
    }
    close(fd);
    s.kernel_ifindex = shadow::NO_IFINDEX;
    s.moved = false;
    s.failure = why;
}

void slow_path::check_shadow(const std::string &name) { tap_check(impl_->options.netns, name); }

void slow_path::identify(shadow &s, const std::string &name)
{
    if (!s.moved && s.failure.empty()) {
        tap_identify(impl_->options.netns, s.kernel_ifindex, name);
    }
    s.identity = name;
}

void slow_path::set_address(shadow &s)
{
    if (s.failure.empty()) {
        tap_set_address(impl_->options.netns, s.fd, s.dev->mac, s.dev->mtu.load(std::memory_order_relaxed));
    }
}

void slow_path::set_back(shadow &s, const rte_ether_addr &mac, std::uint32_t mtu)
{
    if (s.failure.empty()) {
        tap_set_back(impl_->options.netns, s.fd, {.mac = mac, .mtu = mtu},
                     {.mac = s.dev->mac, .mtu = s.dev->mtu.load(std::memory_order_relaxed)});
    }
}

bool slow_path::look_at(shadow &s)
{
    const tap_place place = tap_find(impl_->options.netns, s.fd);
    const bool moved = place.where == tap_place::elsewhere;
    if (!s.failure.empty() || place.where == tap_place::gone) {
        return false; // the slow-path thread reports it
    }
    const int ifindex = moved ? shadow::NO_IFINDEX : place.ifindex;
    if (s.name == place.name && s.moved == moved && s.kernel_ifindex == ifindex) {
        return false;
    }
    s.name = place.name;
    s.moved = moved;
    s.kernel_ifindex = ifindex;
    if (!moved) {
        tap_identify(impl_->options.netns, ifindex, s.identity);
    }
    look_at_offloads(s);
    if (on_place) {
        on_place(s);
    }
    return true;
}

void slow_path::look_at_offloads(shadow &s)
{
    gro_kinds kinds;
    try {
        kinds = tap_gro(impl_->options.netns, s.fd);
    } catch (const error &) { // the interface has just been deleted
    }
    s.gro.store(kinds.tcp, std::memory_order_relaxed);
    s.gro_udp.store(kinds.udp && s.uso, std::memory_order_relaxed);
}

void slow_path::destroy_released(const std::string &name) noexcept { tap_destroy(impl_->options.netns, name); }

void slow_path::allow_pass(bool allowed) { impl_->pass_allowed = allowed && is_this_netns(impl_->options.netns); }

void slow_path::set_pass(const shadow &s, const pass_to_kernel &wanted) noexcept
{
    impl_->core.set_pass(*s.dev, impl_->pass_allowed ? wanted : pass_to_kernel{});
}

void slow_path::set_pass_address(const box_address &address, bool passes)
{
    impl_->core.set_pass_address(address, passes);
}

void slow_path::set_mtu(shadow &s, std::uint32_t mtu) { tap_set_mtu(impl_->options.netns, s.fd, s.name, mtu); }

void slow_path::set_carrier(shadow &s, bool up)
{
    if (s.failure.empty() && !s.deleted.load(std::memory_order_relaxed)) {
        tap_set_carrier(s.fd, s.name, up);
    }
}

void slow_path::set_limit(punt_class c, const punt_limit &limit)
{
    check_limit(limit);
    runtime &rt = impl_->core.rt();
    for (unsigned cpu = 0; cpu < rt.cpus(); ++cpu) {
        rt.call_on(cpu, [&](softnet_data &) { impl_->rings[cpu]->set_limit(c, limit, rt.now()); });
    }
}

std::vector<shadow *> slow_path::shadows()
{
    std::vector<shadow *> all;
    std::ranges::transform(impl_->shadows, std::back_inserter(all), [](const auto &s) { return s.get(); });
    return all;
}

shadow *slow_path::of_kernel_ifindex(int kernel_ifindex) noexcept
{
    const auto found =
        std::ranges::find(impl_->shadows, kernel_ifindex, [](const auto &s) { return s->kernel_ifindex; });
    return found == impl_->shadows.end() ? nullptr : found->get();
}

shadow *slow_path::of_device(const net_device &dev) noexcept
{
    return impl_->by_device[dev.ifindex].load(std::memory_order_acquire); // pairs with the release in add_shadow()
}

void slow_path::add_known(std::span<const std::uint8_t> address)
{
    impl_->known.add(impl_->known.id_of(address.data(), static_cast<unsigned>(address.size())));
}

void slow_path::remove_known(std::span<const std::uint8_t> address) noexcept
{
    impl_->known.remove(impl_->known.id_of(address.data(), static_cast<unsigned>(address.size())));
}

bool slow_path::knows(std::span<const std::uint8_t> address) const noexcept
{
    return impl_->known.contains(impl_->known.id_of(address.data(), static_cast<unsigned>(address.size())));
}

punt_result slow_path::punt(net_cpu &cpu, net_device &in, punt_class c, rte_mbuf **pkts, unsigned n) noexcept
{
    shadow *const to = of_device(in);
    if (!to) {
        drop_packets(cpu, DROP_DEV_READY, pkts, n);
        return {.no_shadow = n};
    }
    return impl_->rings[cpu.id]->punt(cpu, *to, c, pkts, n, impl_->core.rt().now());
}

bool slow_path::grant(net_cpu &cpu, punt_class c) noexcept
{
    return impl_->rings[cpu.id]->grant(c, impl_->core.rt().now());
}

void slow_path::punt_flush(net_cpu &cpu) noexcept
{
    if (!impl_->rings[cpu.id]->take_dirty()) {
        return;
    }
    // announced() pairs with announce() in announce_sleep(). Of several producers one rings.
    if (announced(impl_->sleeping) && impl_->sleeping.exchange(0, std::memory_order_relaxed) != 0) {
        ring_doorbell(impl_->doorbell_fd);
    }
}

std::uint64_t slow_path::punted(punt_class c) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto &ring : impl_->rings) {
        sum += ring->punted(c);
    }
    return sum;
}

std::uint64_t slow_path::policed(punt_class c) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto &ring : impl_->rings) {
        sum += ring->policed(c);
    }
    return sum;
}

} // namespace halfpoll
