// SPDX-License-Identifier: BSD-3-Clause
//
//   program -> burst.target -> xdp_do_redirect -> bulk queues ... end of poll: xdp_do_flush
//                                                   devices: 16 each, then dev_queue_xmit
//                                                   CPUs:     8 each, then the ring to the CPU
//                                                   sockets: the ring to the consumer
#include "redirect.hpp"
#include "xdp_trace.hpp"

#include <halfpoll/softnet_data.hpp>
#include <halfpoll/xdp.hpp>

#include <rte_branch_prediction.h>

#include <linux/bpf.h>

#include <algorithm>
#include <cstring>

namespace halfpoll
{
namespace
{

constexpr std::uint32_t ACTION_MASK = XDP_ABORTED | XDP_DROP | XDP_PASS | XDP_TX;

bool same(const halfpoll_xdp_target &a, const halfpoll_xdp_target &b) noexcept
{
    return a.map == b.map && a.key == b.key && a.flags == b.flags;
}

/// The flags that a target may have: the action for a failed lookup, and those of the map's type.
std::uint32_t flags_of(const halfpoll_xdp_map *map) noexcept
{
    if (!map) {
        return 0;
    }
    const bool devices = map->type == xdp_map_type::devmap || map->type == xdp_map_type::devmap_hash;
    return ACTION_MASK | (devices ? BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS : 0U);
}

void set_action(const redirect_run &run, std::uint8_t action) noexcept
{
    for (unsigned i = 0; i < run.n; ++i) {
        run.burst.action[run.first + i] = action;
    }
}

void redirect_to_ifindex(const redirect_guard &guard, const redirect_run &run) noexcept
{
    const std::uint32_t ifindex = run.target().key;
    // acquire; pairs with the release in redirect_register().
    net_device *dev =
        ifindex < MAX_IFINDEX ? run.cpu.core->redirect().devs[ifindex].load(std::memory_order_acquire) : nullptr;
    if (likely(dev != nullptr)) {
        dev_redirect(guard, run, *dev);
    } else {
        redirect_error(run, xdp_error::einval, run.pkts(), run.n);
    }
}

/// False: there is no such entry.
bool redirect_to(const redirect_guard &guard, const redirect_run &run) noexcept
{
    const halfpoll_xdp_map *map = run.target().map;
    if (!map) {
        redirect_to_ifindex(guard, run);
        return true;
    }
    switch (map->type) {
    case xdp_map_type::devmap:
    case xdp_map_type::devmap_hash:
        return devmap_redirect(guard, run);
    case xdp_map_type::cpumap:
        return cpumap_redirect(guard, run);
    case xdp_map_type::xskmap:
        break;
    }
    return xskmap_redirect(guard, run);
}

} // namespace

namespace
{

void init(halfpoll_xdp_burst &b, net_cpu &cpu, net_device &in, const net_device *egress, rte_mbuf **pkts,
          unsigned n) noexcept
{
    b.pkts = pkts;
    b.n = n;
    b.ingress_ifindex = in.ifindex;
    b.egress_ifindex = egress ? egress->ifindex : 0;
    b.rx_queue_index = 0;
    b.cpu = static_cast<std::uint16_t>(cpu.id);
    b.now = static_cast<std::uint64_t>(cpu.sd->now);
    b.meta_offset = xdp_meta.offset;
    b.meta_flag = xdp_meta.flag;
    std::memset(b.action, XDP_ABORTED, n);
}

/// Replaces actions that a program may not return here.
void check_actions(halfpoll_xdp_burst &b, bool may_redirect) noexcept
{
    for (unsigned i = 0; i < b.n; ++i) {
        const std::uint8_t action = b.action[i];
        const bool valid = action == XDP_PASS || action == XDP_DROP || (may_redirect && action == XDP_REDIRECT);
        b.action[i] = valid ? action : std::uint8_t{XDP_ABORTED};
    }
}

void trace_aborted(const net_device &in, const halfpoll_xdp_burst &b) noexcept
{
    if (const auto aborted = std::count(b.action, b.action + b.n, std::uint8_t{XDP_ABORTED})) {
        trace_xdp_exception(in, XDP_ABORTED, static_cast<unsigned>(aborted));
    }
}

} // namespace

void redirect_drop(net_cpu &cpu, xdp_error err, rte_mbuf **pkts, unsigned n) noexcept
{
    stat_add(cpu.redirect->errors[static_cast<std::size_t>(err)], n);
    drop_packets(cpu, DROP_XDP_REDIRECT, pkts, n);
}

void redirect_error(const redirect_run &run, xdp_error err, rte_mbuf **pkts, unsigned n) noexcept
{
    if (xdp_trace_enabled()) {
        trace_xdp_redirect(run.in, run.target(), -to_errno(err), n);
    }
    redirect_drop(run.cpu, err, pkts, n);
}

void xdp_do_redirect(net_cpu &cpu, net_device &in, halfpoll_xdp_burst &burst) noexcept
{
    const redirect_guard guard(cpu);
    const bool trace = xdp_trace_enabled();
    cpu.poll_end_due |= 1U << POLL_END_XDP;
    for (unsigned first = 0, end; first < burst.n; first = end) {
        end = first + 1;
        if (burst.action[first] != XDP_REDIRECT) {
            continue;
        }
        const halfpoll_xdp_target &target = burst.target[first];
        while (end < burst.n && burst.action[end] == XDP_REDIRECT && same(burst.target[end], target)) {
            ++end;
        }
        const redirect_run run{cpu, in, burst, first, end - first};
        if (unlikely((target.flags & ~flags_of(target.map)) != 0)) {
            set_action(run, XDP_ABORTED);
        } else if (likely(redirect_to(guard, run))) {
            set_action(run, XDP_TAKEN);
            if (trace) {
                trace_xdp_redirect(in, target, 0, run.n);
            }
        } else {
            set_action(run, static_cast<std::uint8_t>(target.flags & ACTION_MASK));
        }
    }
}

void xdp_do_flush(net_cpu &cpu) noexcept
{
    dev_flush(cpu);
    cpu_flush(cpu);
    xsk_flush(cpu);
}

unsigned xdp_run_further(net_cpu &cpu, xdp_program &prog, net_device &in, const net_device *egress, rte_mbuf **pkts,
                         unsigned n) noexcept
{
    halfpoll_xdp_burst b;
    init(b, cpu, in, egress, pkts, n);
    if (!egress) {
        std::memset(b.target, 0, n * sizeof b.target[0]); // a target that the program does not set is invalid
    }
    prog.run(b);
    b.pkts = pkts; // the program may have changed what is not its own
    b.n = n;
    check_actions(b, !egress);
    if (xdp_trace_enabled()) {
        trace_aborted(in, b);
    }
    if (!egress) {
        xdp_do_redirect(cpu, in, b);
    }
    unsigned pass = 0;
    for (unsigned i = 0; i < n; ++i) {
        if (b.action[i] == XDP_PASS) {
            pkts[pass++] = pkts[i];
        } else if (b.action[i] != XDP_TAKEN) {
            drop_packets(cpu, b.action[i] == XDP_DROP ? DROP_XDP : DROP_XDP_ABORTED, &pkts[i], 1);
        }
    }
    return pass;
}

} // namespace halfpoll
