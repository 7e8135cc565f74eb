// SPDX-License-Identifier: BSD-3-Clause
//
//   rx_burst -> program -> action of each packet: -> PASS: to RPS or the handler, in order
//                                                 -> TX: the same device
//                                                 -> REDIRECT: xdp_do_redirect(), whose packets leave with the poll
//                                                 -> DROP, ABORTED and anything else: freed, counted
//
// A queue points to its state, and the state to the program, so that a change is one store between two bursts.
#include "xdp_internal.hpp"
#include "xdp_trace.hpp"

#include <halfpoll/softnet_data.hpp>
#include <halfpoll/xdp.hpp>

#include <rte_branch_prediction.h>
#include <rte_errno.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

namespace halfpoll
{

/// XDP state of one rx queue. It exists until the interface is unregistered or its number of queues changes.
struct alignas(64) xdp_queue {
    /// Stored with release by the control thread, which releases the former program after a grace period; pairs with
    /// the acquire in xdp_receive(). Not null while rx_queue::xdp is set.
    std::atomic<xdp_program *> program{nullptr};
    /// It is here and not on the stack, so that a target which the program has not set is invalid (EINVAL) without a
    /// store for each packet. Home CPU, in a poll of this queue.
    alignas(16) halfpoll_xdp_burst burst{};
    /// Home CPU writes, any thread reads, relaxed.
    std::atomic<std::uint64_t> pass{0}, drop{0}, tx{0}, redirect{0}, aborted{0};
    std::shared_ptr<xdp_program> owner; ///< keeps `program`. Control thread
};

static_assert((offsetof(xdp_queue, burst) + offsetof(halfpoll_xdp_burst, action)) % 64 == 0, "actions share a line");

struct xdp_device {
    explicit xdp_device(const net_device &dev) : queues(dev.options.rx_queues)
    {
        for (std::size_t i = 0; i < queues.size(); ++i) {
            halfpoll_xdp_burst &b = queues[i].burst;
            b.ingress_ifindex = dev.ifindex;
            b.rx_queue_index = static_cast<std::uint16_t>(i);
            b.meta_offset = xdp_meta.offset;
            b.meta_flag = xdp_meta.flag;
        }
    }
    std::vector<xdp_queue> queues;
};

namespace
{

// Actions are compared eight at a time, and always as many as a whole burst has.
constexpr std::uint64_t ONES = 0x0101'0101'0101'0101, TOPS = 0x8080'8080'8080'8080;
static_assert(NET_BURST % sizeof(std::uint64_t) == 0 && NET_BURST <= HALFPOLL_XDP_BURST);

std::uint64_t word_at(const halfpoll_xdp_burst &b, unsigned i) noexcept
{
    std::uint64_t word;
    std::memcpy(&word, &b.action[i], sizeof word);
    return word;
}

/// Whether all packets have the action of the first one. Fills the unused actions of the burst with it.
bool unanimous(halfpoll_xdp_burst &b) noexcept
{
    if (unlikely(b.n != NET_BURST)) {
        std::memset(&b.action[b.n], b.action[0], NET_BURST - b.n);
    }
    const std::uint64_t first = ONES * b.action[0];
    std::uint64_t differ = 0;
    for (unsigned i = 0; i < NET_BURST; i += sizeof first) {
        differ |= word_at(b, i) ^ first;
    }
    return differ == 0;
}

/// Whether a packet has that action. Called after unanimous().
bool any(const halfpoll_xdp_burst &b, std::uint8_t action) noexcept
{
    std::uint64_t found = 0;
    for (unsigned i = 0; i < NET_BURST; i += sizeof found) {
        const std::uint64_t zero_if = word_at(b, i) ^ ONES * action;
        found |= (zero_if - ONES) & ~zero_if & TOPS;
    }
    return found != 0;
}

unsigned count_taken(const halfpoll_xdp_burst &b) noexcept
{
    unsigned taken = 0;
    for (unsigned i = 0; i < b.n; ++i) {
        taken += b.action[i] == XDP_TAKEN;
    }
    return taken;
}

/// Packets by action. Other actions count as `aborted`, except XDP_TAKEN.
struct sorted {
    unsigned pass = 0, drop = 0, tx = 0, aborted = 0;
    rte_mbuf *dropped[NET_BURST], *sent[NET_BURST], *failed[NET_BURST];
};

/// Sorts packets without a branch, because it cannot be predicted which ones are dropped. Packets that pass move to the
/// front of `pkts`.
void sort(const halfpoll_xdp_burst &b, rte_mbuf **pkts, sorted &out) noexcept
{
    unsigned pass = 0, drop = 0, tx = 0, aborted = 0;
    for (unsigned i = 0; i < b.n; ++i) {
        rte_mbuf *const m = pkts[i];
        const std::uint8_t action = b.action[i];
        pkts[pass] = m;
        out.dropped[drop] = m;
        out.sent[tx] = m;
        out.failed[aborted] = m;
        pass += action == XDP_PASS;
        drop += action == XDP_DROP;
        tx += action == XDP_TX;
        aborted += action != XDP_PASS && action != XDP_DROP && action != XDP_TX && action != XDP_TAKEN;
    }
    out.pass = pass;
    out.drop = drop;
    out.tx = tx;
    out.aborted = aborted;
}

void drop(rx_queue &q, xdp_queue &x, rte_mbuf **pkts, unsigned n) noexcept
{
    stat_add(x.drop, n);
    drop_packets(*q.cpu, DROP_XDP, pkts, n);
}

void send_back(rx_queue &q, xdp_queue &x, rte_mbuf **pkts, unsigned n) noexcept
{
    stat_add(x.tx, n);
    dev_queue_xmit(*q.cpu, *q.dev, pkts, n);
}

void abort_packets(rx_queue &q, xdp_queue &x, rte_mbuf **pkts, unsigned n) noexcept
{
    stat_add(x.aborted, n);
    if (xdp_trace_enabled()) {
        trace_xdp_exception(*q.dev, XDP_ABORTED, n);
    }
    drop_packets(*q.cpu, DROP_XDP_ABORTED, pkts, n);
}

unsigned obey_all(rx_queue &q, xdp_queue &x, std::uint8_t action, rte_mbuf **pkts, unsigned n) noexcept
{
    switch (action) {
    case XDP_PASS:
        stat_add(x.pass, n);
        return n;
    case XDP_DROP:
        drop(q, x, pkts, n);
        return 0;
    case XDP_TX:
        send_back(q, x, pkts, n);
        return 0;
    case XDP_TAKEN:
        return 0;
    default:
        abort_packets(q, x, pkts, n);
        return 0;
    }
}

unsigned obey_each(rx_queue &q, xdp_queue &x, const halfpoll_xdp_burst &b, rte_mbuf **pkts) noexcept
{
    sorted by;
    sort(b, pkts, by);
    if (by.drop != 0) {
        drop(q, x, by.dropped, by.drop);
    }
    if (by.tx != 0) {
        send_back(q, x, by.sent, by.tx);
    }
    if (unlikely(by.aborted != 0)) {
        abort_packets(q, x, by.failed, by.aborted);
    }
    stat_add(x.pass, by.pass);
    return by.pass;
}

/// A program may not claim that a packet was taken.
void deny_taken(halfpoll_xdp_burst &b) noexcept
{
    for (unsigned i = 0; i < b.n; ++i) {
        b.action[i] = b.action[i] == XDP_TAKEN ? std::uint8_t{XDP_ABORTED} : b.action[i];
    }
}

/// Returns whether all packets have the same action afterwards.
bool redirect(rx_queue &q, xdp_queue &x, halfpoll_xdp_burst &b) noexcept
{
    xdp_do_redirect(*q.cpu, *q.dev, b);
    std::memset(b.target, 0, b.n * sizeof b.target[0]);
    stat_add(x.redirect, count_taken(b));
    return unanimous(b);
}

} // namespace

unsigned xdp_receive(rx_queue &q, xdp_queue &x, rte_mbuf **pkts, unsigned n) noexcept
{
    halfpoll_xdp_burst &b = x.burst;
    b.pkts = pkts;
    b.n = n;
    b.cpu = static_cast<std::uint16_t>(q.cpu->id);
    b.now = static_cast<std::uint64_t>(q.cpu->sd->now);
    std::memset(b.action, XDP_ABORTED, NET_BURST);
    x.program.load(std::memory_order_acquire)->run(b);

    b.pkts = pkts; // the program may have changed what is not its own
    b.n = n;
    bool same = unanimous(b);
    if (unlikely(same ? b.action[0] == XDP_TAKEN : any(b, XDP_TAKEN))) {
        deny_taken(b);
        same = unanimous(b);
    }
    if (same ? b.action[0] == XDP_REDIRECT : any(b, XDP_REDIRECT)) {
        same = redirect(q, x, b);
    }
    return same ? obey_all(q, x, b.action[0], pkts, n) : obey_each(q, x, b, pkts);
}

namespace
{

void check_queue(const net_device &dev, int queue)
{
    if (queue != XDP_ALL_QUEUES && (queue < 0 || static_cast<unsigned>(queue) >= dev.options.rx_queues)) {
        throw error(dev.name + " has no rx queue " + std::to_string(queue) + ", only 0 to " +
                    std::to_string(dev.options.rx_queues - 1));
    }
}

/// `program` may be null: none.
void set_program(net_core &core, net_device &dev, const std::shared_ptr<xdp_program> &program, int queue)
{
    check_queue(dev, queue);
    if (!dev.xdp) {
        dev.xdp = std::make_shared<xdp_device>(dev);
    }
    std::vector<std::shared_ptr<xdp_program>> former;
    former.reserve(dev.xdp->queues.size());
    for (unsigned i = 0; i < dev.xdp->queues.size(); ++i) {
        if (queue != XDP_ALL_QUEUES && i != static_cast<unsigned>(queue)) {
            continue;
        }
        xdp_queue &x = dev.xdp->queues[i];
        former.push_back(std::exchange(x.owner, program));
        if (program) { // else x.program keeps its value, because data CPUs may use it
            x.program.store(program.get(), std::memory_order_release);
        }
    }
    xdp_start(dev);
    core.rt().synchronize_rcu();
}

} // namespace

void xdp_resize(net_device &dev)
{
    if (!dev.xdp || dev.xdp->queues.size() == dev.options.rx_queues) {
        return;
    }
    auto resized = std::make_shared<xdp_device>(dev);
    for (std::size_t i = 0; i < resized->queues.size(); ++i) {
        xdp_queue &x = resized->queues[i];
        x.owner = dev.xdp->queues[std::min(i, dev.xdp->queues.size() - 1)].owner;
        x.program.store(x.owner.get(), std::memory_order_release); // pairs with the acquire in xdp_receive()
    }
    dev.xdp = std::move(resized);
}

/// Gives the queues that exist the state that belongs to them.
void xdp_start(net_device &dev) noexcept
{
    for (const auto &q : dev.queues) {
        const bool on = dev.xdp && dev.xdp->queues[q->queue].owner;
        q->xdp.store(on ? &dev.xdp->queues[q->queue] : nullptr, std::memory_order_release);
    }
    xdp_set_pass(dev);
}

void xdp_set_pass(net_device &dev) noexcept
{
    if (!dev.open || !dev.driver) {
        return;
    }
    const bool seen = std::ranges::any_of(
        dev.queues, [](const auto &q) { return q->xdp.load(std::memory_order_relaxed) != nullptr; });
    const pass_to_kernel pass = seen ? pass_to_kernel{.shadow = dev.pass.shadow} : dev.pass;
    dev.passing = dev.driver->set_pass(pass) && (pass.ip4 || pass.ip6);
}

void xdp_attach(net_core &core, net_device &dev, std::shared_ptr<xdp_program> program, int queue)
{
    if (!program) {
        throw error(dev.name + ": no XDP program to attach");
    }
    set_program(core, dev, program, queue);
}

void xdp_detach(net_core &core, net_device &dev, int queue) { set_program(core, dev, nullptr, queue); }

xdp_counters xdp_counters_of(const net_device &dev, unsigned queue) noexcept
{
    if (!dev.xdp) {
        return {};
    }
    const xdp_queue &x = dev.xdp->queues[queue];
    return {.pass = x.pass.load(std::memory_order_relaxed),
            .drop = x.drop.load(std::memory_order_relaxed),
            .tx = x.tx.load(std::memory_order_relaxed),
            .redirect = x.redirect.load(std::memory_order_relaxed),
            .aborted = x.aborted.load(std::memory_order_relaxed)};
}

std::shared_ptr<xdp_program> xdp_program_of(const net_device &dev, unsigned queue) noexcept
{
    return dev.xdp ? dev.xdp->queues[queue].owner : nullptr;
}

} // namespace halfpoll
