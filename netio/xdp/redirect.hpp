// SPDX-License-Identifier: BSD-3-Clause
//
// What redirects have of their own, per CPU and in all.
#pragma once

#include <halfpoll/xdp_map.hpp>

#include "xdp_internal.hpp"

#include <array>
#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>
#include <vector>

namespace halfpoll
{

struct cpumap_entry;
struct cpumap_lane;
struct xdp_socket_lane;

inline constexpr unsigned DEV_MAP_BULK_SIZE = 16;
inline constexpr unsigned CPU_MAP_BULK_SIZE = 8;

/// Packets on their way to one device from one CPU. All of a batch came from one device and meet the same program.
struct dev_bulk_queue {
    dev_bulk_queue *next = nullptr;  ///< flush list
    net_device *dev = nullptr;       ///< where they go
    net_device *dev_rx = nullptr;    ///< where they came from; null: not on the flush list
    xdp_program *xdp_prog = nullptr; ///< egress program, or null
    unsigned count = 0;
    unsigned depth = 0;    ///< as in xmit_queue
    bool xmitting = false; ///< a batch is being sent: redirecting to the device again is recursion
    std::uint64_t bytes = 0;
    std::array<rte_mbuf *, DEV_MAP_BULK_SIZE> q;
};

/// The redirect state of a CPU. Through redirect_guard only. Empty between polls.
struct redirect_cpu {
    dev_bulk_queue *dev_flush_list = nullptr; ///< LIFO, as the others
    cpumap_lane *cpu_flush_list = nullptr;
    xdp_socket_lane *xsk_flush_list = nullptr;
    std::array<dev_bulk_queue, MAX_IFINDEX> dev; ///< by ifindex
    /// Home CPU writes, anyone reads, relaxed.
    std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(xdp_error::count)> errors{};
};

/// Redirect state of a net_core.
struct redirect_state {
    /// By ifindex, for redirects without a map. release of the control thread; pairs with the acquire of data cores,
    /// who are out of it a grace period after it was cleared.
    std::array<std::atomic<net_device *>, MAX_IFINDEX> devs{};
    std::vector<std::shared_ptr<xdp_map>> maps; ///< control thread
    std::vector<cpumap_entry *> cpumap_entries; ///< of all maps. Control thread
};

/// Access to a CPU's bulk queues and flush lists: held while packets are enqueued, and while a queue is transmitted
/// and leaves its list, so that a thread that preempts another one never finds a queue half done. In no mode
/// do two threads use one net_cpu at a time (`exclusive` and `nested`: it has one, `big`: one in a section), so that
/// there is nothing to do.
class redirect_guard
{
public:
    explicit redirect_guard(net_cpu &cpu) noexcept : state_(*cpu.redirect) { assert(this_softnet_data() == cpu.sd); }
    redirect_guard(const redirect_guard &) = delete;
    redirect_guard &operator=(const redirect_guard &) = delete;
    redirect_cpu *operator->() const noexcept { return &state_; }

private:
    redirect_cpu &state_;
};

/// A run of packets of a burst with the same target: from one device, for one entry. Home CPU.
struct redirect_run {
    net_cpu &cpu;
    net_device &in;
    halfpoll_xdp_burst &burst;
    unsigned first, n;
    rte_mbuf **pkts() const noexcept { return burst.pkts + first; }
    const halfpoll_xdp_target &target() const noexcept { return burst.target[first]; }
};

/// Drops packets that a redirect was not able to place.
void redirect_error(const redirect_run &run, xdp_error err, rte_mbuf **pkts, unsigned n) noexcept;
/// Counts and frees them.
void redirect_drop(net_cpu &cpu, xdp_error err, rte_mbuf **pkts, unsigned n) noexcept;

/// Shows packets that are on their way to a program: of a devmap entry (`egress`), or on the target of a cpumap
/// (`egress` is null), where it may redirect them. Returns how many pass; they are in front. Home CPU.
unsigned xdp_run_further(net_cpu &cpu, xdp_program &prog, net_device &in, const net_device *egress, rte_mbuf **pkts,
                         unsigned n) noexcept;

// The parts. A redirect answers false if the map has no entry of that key; else the packets are consumed.
bool devmap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept;
bool cpumap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept;
bool xskmap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept;
/// Without a map.
void dev_redirect(const redirect_guard &guard, const redirect_run &run, net_device &dev) noexcept;
void dev_flush(net_cpu &cpu) noexcept;
void cpu_flush(net_cpu &cpu) noexcept;
void xsk_flush(net_cpu &cpu) noexcept;
std::shared_ptr<xdp_map> make_devmap(net_core &core, std::string name, xdp_map_type type, unsigned max_entries);
std::shared_ptr<xdp_map> make_cpumap(net_core &core, std::string name, unsigned max_entries);
std::shared_ptr<xdp_map> make_xskmap(net_core &core, std::string name, unsigned max_entries);

/// What that CPU has given to others was not all delivered. While the control thread waits.
bool cpumap_in_flight(const net_cpu &cpu) noexcept;
/// Sees to all that waits for a CPU now: nothing of a device that has stopped is left. Control thread.
void cpumap_drain(net_core &core) noexcept;

// redirect_control.cpp
int to_errno(xdp_error err) noexcept;
/// A device can be redirected to from now on, or no more: its entries are gone from all maps, and no data core has
/// anything of them, when it returns. Control thread.
void redirect_register(net_core &core, net_device &dev) noexcept;
void redirect_unregister(net_core &core, net_device &dev) noexcept;
/// Throws `error` unless the key fits.
void xdp_map_check_key(const xdp_map &map, std::uint32_t key, bool in_range);
/// BPF_NOEXIST and the like: throws `error` if the map's entry is not as the flags ask for.
void xdp_map_check_flags(const xdp_map &map, std::uint32_t key, bool exists, bool full, std::uint64_t flags);

} // namespace halfpoll
