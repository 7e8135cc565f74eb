// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/netns.hpp>
#include <halfpoll/slow_path.hpp>

#include "punt_gate.hpp"
#include "shadow_tap.hpp"
#include "slow_path_thread.hpp"
#include "vhost_queue.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <unistd.h>

namespace halfpoll
{

namespace
{

void check_limit(const punt_limit &limit)
{
    if (limit.burst == 0 || limit.burst > 1'000'000'000) {
        throw error("slow path: the burst of a punt class is " + std::to_string(limit.burst) +
                    "; 1 to 1000000000 packets are possible");
    }
}

/// After the threads have left the shadow, or ended.
void close_queues(shadow &s) noexcept
{
    for (shadow_queue &queue : s.queues) {
        queue.vhost.reset(); // it uses the fd
        close(queue.fd);
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

shadow_queue::shadow_queue() = default;
shadow_queue::~shadow_queue() = default;

shadow_counts shadow::counts() const noexcept
{
    shadow_counts sum;
    for (const shadow_queue &queue : queues) {
        sum.to_kernel += queue.to_kernel.load(std::memory_order_relaxed);
        sum.to_kernel_drops += queue.to_kernel_drops.load(std::memory_order_relaxed);
        sum.from_kernel += queue.from_kernel.load(std::memory_order_relaxed);
        sum.from_kernel_drops += queue.from_kernel_drops.load(std::memory_order_relaxed);
    }
    return sum;
}

bool shadow::deleted() const noexcept
{
    return std::ranges::any_of(queues,
                               [](const shadow_queue &queue) { return queue.deleted.load(std::memory_order_relaxed); });
}

struct slow_path::impl {
    slow_path &self;
    net_core &core;
    slow_path_options options;
    known_sources known;
    std::vector<std::unique_ptr<punt_gate>> gates; ///< by runtime CPU
    /// By ifindex. The control thread stores with release; pairs with the acquire in of_device().
    std::array<std::atomic<shadow *>, MAX_IFINDEX> by_device{};
    std::vector<std::unique_ptr<shadow>> shadows; ///< control thread
    bool pass_allowed = false;                    ///< control thread
    /// Posted work holds a weak reference and does nothing once it is gone.
    std::shared_ptr<void> alive = std::make_shared<int>();
    std::vector<std::unique_ptr<slow_path_thread>> threads; ///< by number; they use what is above

    impl(slow_path &s, net_core &c, slow_path_options o) : self(s), core(c), options(std::move(o)) {}
    ~impl();

    void start();
    bool rings_empty() const noexcept;
    void post_deleted();
    void report_deleted();
    using vhosts = std::vector<std::unique_ptr<vhost_queue>>; ///< by slow-path thread
    vhosts open_vhost(const tap &t) const;
    int exchange_queues(shadow &s, const std::vector<int> &fds, vhosts others, bool watched);
};

slow_path::impl::~impl()
{
    threads.clear();
    for (const auto &s : shadows) {
        close_queues(*s);
    }
}

void slow_path::impl::start()
{
    std::ranges::for_each(options.limits, check_limit);
    const unsigned count = options.threads;
    if (count == 0 || count > SLOW_PATH_THREADS_MAX) {
        throw error("slow path: " + std::to_string(count) + " threads are not possible; 1 to " +
                    std::to_string(SLOW_PATH_THREADS_MAX) + " are");
    }
    if (count > core.foreign_threads()) {
        throw error("slow path: its threads are " + std::to_string(count) + ", and net_core was made for " +
                    std::to_string(core.foreign_threads()) + " foreign threads (see its constructor)");
    }
    for (unsigned n = 0; n < core.cpus(); ++n) {
        gates.push_back(std::make_unique<punt_gate>(known, options.limits, count, options.ring_size, core.rt().now()));
    }
    for (unsigned k = 0; k < count; ++k) {
        std::vector<punt_ring *> rings;
        std::ranges::transform(gates, std::back_inserter(rings), [k](const auto &gate) { return &gate->ring(k); });
        slow_path_thread &thread = *threads.emplace_back(std::make_unique<slow_path_thread>(
            core, k, std::move(rings), options.ring_size, [this] { post_deleted(); }));
        thread.start(count == 1 ? "slow_path" : "slow_path/" + std::to_string(k));
        if (!options.affinity.empty()) {
            thread.pin(options.affinity[k % options.affinity.size()]);
        }
    }
}

bool slow_path::impl::rings_empty() const noexcept
{
    return std::ranges::all_of(gates, [](const auto &gate) { return gate->empty(); });
}

/// Runs on a slow-path thread, each of which finds by itself that an interface was deleted.
void slow_path::impl::post_deleted()
{
    core.post([this, here = std::weak_ptr<void>(alive)] {
        if (!here.expired()) {
            report_deleted();
        }
    });
}

/// Runs on the control thread, once for each thread that has found it: the shadow may have been reported, removed, or
/// have another interface since.
void slow_path::impl::report_deleted()
{
    for (const auto &s : shadows) {
        if (s->deleted() && s->failure.empty()) {
            s->failure = "its kernel interface was deleted";
            s->kernel_ifindex = shadow::NO_IFINDEX;
            s->moved = false;
            if (self.on_deleted) {
                self.on_deleted(*s);
            }
        }
    }
}

/// vhost-net for each queue of an interface, or nulls if it is not wanted. Throws `error`, and then closes the fds.
slow_path::impl::vhosts slow_path::impl::open_vhost(const tap &t) const
{
    vhosts opened(t.fds.size());
    if (!options.vhost) {
        return opened;
    }
    try {
        for (std::size_t k = 0; k < opened.size(); ++k) {
            opened[k] = std::make_unique<vhost_queue>();
            opened[k]->attach(t.fds[k], t.name);
        }
    } catch (...) {
        opened.clear();
        if (t.created) {
            tap_forget(t.fds.front());
        }
        std::ranges::for_each(t.fds, close);
        throw;
    }
    return opened;
}

/// Gives the queues of a shadow other fds and vhost-net, and closes the former ones. The shadow has the new interface
/// also if its frames cannot be waited for; returns errno of that, or 0.
int slow_path::impl::exchange_queues(shadow &s, const std::vector<int> &fds, vhosts others, bool watched)
{
    int problem = 0;
    for (unsigned k = 0; k < threads.size(); ++k) {
        int fd = fds[k];
        if (const int err = threads[k]->exchange(s, fd, others[k], watched)) {
            problem = err;
        }
        others[k].reset(); // it uses the fd
        close(fd);
    }
    return problem;
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
    const tap t =
        tap_open(impl_->options.netns, name, impl_->options.threads, dev.mac, dev.mtu.load(std::memory_order_relaxed));
    impl::vhosts vhosts = impl_->open_vhost(t);
    auto s = std::make_unique<shadow>();
    s->dev = &dev;
    s->name = t.name;
    s->identity = name;
    s->queues = std::vector<shadow_queue>(t.fds.size());
    for (std::size_t k = 0; k < t.fds.size(); ++k) {
        s->queues[k].fd = t.fds[k];
        s->queues[k].vhost = std::move(vhosts[k]);
    }
    s->kernel_ifindex = t.ifindex;
    s->created = t.created;
    s->uso = t.uso;
    shadow &added = *impl_->shadows.emplace_back(std::move(s));
    try {
        look_at_offloads(added);
        for (const auto &thread : impl_->threads) {
            if (const int err = thread->watch(added)) {
                throw_errno(err, "shadow " + name + ": epoll");
            }
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
    for (const auto &thread : impl_->threads) {
        thread->leave(s); // after the packets that data CPUs sent to it before the grace period
    }
    if (destroy) {
        tap_forget(s.queues.front().fd);
    }
    close_queues(s);
    std::erase_if(impl_->shadows, [&s](const auto &p) { return p.get() == &s; });
}

void slow_path::exchange_shadow(shadow &s, const std::string &name)
{
    const tap t = tap_open(impl_->options.netns, name, impl_->options.threads, s.dev->mac,
                           s.dev->mtu.load(std::memory_order_relaxed));
    const int err = impl_->exchange_queues(s, t.fds, impl_->open_vhost(t), true);
    s.name = t.name;
    s.identity = name;
    s.kernel_ifindex = t.ifindex;
    s.created = t.created;
    s.uso = t.uso;
    s.moved = false;
    s.failure.clear();
    look_at_offloads(s);
    if (err != 0) {
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
    impl_->exchange_queues(s, tap_unattached(impl_->options.threads), impl::vhosts(impl_->options.threads), false);
    s.kernel_ifindex = shadow::NO_IFINDEX;
    s.moved = false;
    s.failure = why;
}

void slow_path::check_shadow(const std::string &name) { tap_check(impl_->options.netns, name, impl_->options.threads); }

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
        tap_set_address(impl_->options.netns, s.queues.front().fd, s.dev->mac,
                        s.dev->mtu.load(std::memory_order_relaxed));
    }
}

void slow_path::set_back(shadow &s, const rte_ether_addr &mac, std::uint32_t mtu)
{
    if (s.failure.empty()) {
        tap_set_back(impl_->options.netns, s.queues.front().fd, {.mac = mac, .mtu = mtu},
                     {.mac = s.dev->mac, .mtu = s.dev->mtu.load(std::memory_order_relaxed)});
    }
}

bool slow_path::look_at(shadow &s)
{
    const tap_place place = tap_find(impl_->options.netns, s.queues.front().fd);
    const bool moved = place.where == tap_place::elsewhere;
    if (!s.failure.empty()) {
        return false;
    }
    if (place.where == tap_place::gone) {
        if (s.queues.front().vhost) { // else a slow-path thread finds it
            s.queues.front().deleted.store(true, std::memory_order_relaxed);
            impl_->post_deleted();
        }
        return false;
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
        kinds = tap_gro(impl_->options.netns, s.queues.front().fd);
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

void slow_path::set_mtu(shadow &s, std::uint32_t mtu)
{
    tap_set_mtu(impl_->options.netns, s.queues.front().fd, s.name, mtu);
}

void slow_path::set_carrier(shadow &s, bool up)
{
    if (s.failure.empty() && !s.deleted()) {
        tap_set_carrier(s.queues.front().fd, s.name, up);
    }
}

void slow_path::set_limit(punt_class c, const punt_limit &limit)
{
    check_limit(limit);
    runtime &rt = impl_->core.rt();
    for (unsigned cpu = 0; cpu < rt.cpus(); ++cpu) {
        rt.call_on(cpu, [&](softnet_data &) { impl_->gates[cpu]->set_limit(c, limit, rt.now()); });
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
    return impl_->gates[cpu.id]->punt(cpu, *to, c, pkts, n, impl_->core.rt().now());
}

bool slow_path::grant(net_cpu &cpu, punt_class c) noexcept
{
    return impl_->gates[cpu.id]->grant(c, impl_->core.rt().now());
}

void slow_path::punt_flush(net_cpu &cpu) noexcept
{
    for (std::uint32_t dirty = impl_->gates[cpu.id]->take_dirty(); dirty != 0; dirty &= dirty - 1) {
        impl_->threads[static_cast<unsigned>(std::countr_zero(dirty))]->wake();
    }
}

std::uint64_t slow_path::punted(punt_class c) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto &gate : impl_->gates) {
        sum += gate->punted(c);
    }
    return sum;
}

std::uint64_t slow_path::policed(punt_class c) const noexcept
{
    std::uint64_t sum = 0;
    for (const auto &gate : impl_->gates) {
        sum += gate->policed(c);
    }
    return sum;
}

} // namespace halfpoll
