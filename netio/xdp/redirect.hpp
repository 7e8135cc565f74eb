// SPDX-License-Identifier: BSD-3-Clause
//
// The state of XDP redirects, of each CPU and of a net_core, and the functions of the maps.
#pragma once

#include <halfpoll/softnet_data.hpp>
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

/// Packets on their way from one CPU to one device. All packets of a batch came from one device and meet the same
/// egress program.
struct dev_bulk_queue {
    dev_bulk_queue *next = nullptr;  ///< next on the flush list
    net_device *dev = nullptr;       ///< the device that the packets go to
    net_device *dev_rx = nullptr;    ///< the device that they came from; null: the queue is not on the flush list
    xdp_program *xdp_prog = nullptr; ///< egress program; null: none
    unsigned count = 0;
    unsigned depth = 0;    ///< as in xmit_queue
    bool xmitting = false; ///< a batch is being sent: a redirect to the same device is recursion
    std::uint64_t bytes = 0;
    std::array<rte_mbuf *, DEV_MAP_BULK_SIZE> q;
};

/// The redirect state of a CPU. Accessed through redirect_guard only. Empty between polls.
struct redirect_cpu {
    dev_bulk_queue *dev_flush_list = nullptr; ///< LIFO, as the other two lists
    cpumap_lane *cpu_flush_list = nullptr;
    xdp_socket_lane *xsk_flush_list = nullptr;
    std::array<dev_bulk_queue, MAX_IFINDEX> dev; ///< by ifindex
    /// Home CPU writes, any thread reads, relaxed.
    std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(xdp_error::count)> errors{};
};

/// Redirect state of a net_core.
struct redirect_state {
    /// By ifindex, for redirects without a map. Stored with release by the control thread; pairs with the acquire of
    /// data CPUs in redirect_to_ifindex(). A grace period after it was cleared, no data CPU uses the device any more.
    std::array<std::atomic<net_device *>, MAX_IFINDEX> devs{};
    std::vector<std::shared_ptr<xdp_map>> maps; ///< control thread
    std::vector<cpumap_entry *> cpumap_entries; ///< of all maps. Control thread
};

/// Access to a CPU's bulk queues and flush lists. It is held while packets are enqueued, and while a queue is
/// transmitted and leaves its list, so that a thread never finds a queue half changed by a thread that it has
/// preempted. At present it locks nothing: in no mode do two threads use one net_cpu at the same time (`exclusive` and
/// `nested`: there is only one; `big`: only one is in a section).
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

/// A run of consecutive packets of a burst that have the same target. Home CPU.
struct redirect_run {
    net_cpu &cpu;
    net_device &in;
    halfpoll_xdp_burst &burst;
    unsigned first, n;
    rte_mbuf **pkts() const noexcept { return burst.pkts + first; }
    const halfpoll_xdp_target &target() const noexcept { return burst.target[first]; }
};

/// Drops packets that a redirect could not place: traces, counts and frees them.
void redirect_error(const redirect_run &run, xdp_error err, rte_mbuf **pkts, unsigned n) noexcept;
/// Counts packets under `err` and frees them.
void redirect_drop(net_cpu &cpu, xdp_error err, rte_mbuf **pkts, unsigned n) noexcept;

/// Runs a program on packets that have been redirected: the program of a devmap entry (`egress` is the device), or of a
/// cpumap entry on the target CPU (`egress` is null), which may redirect them again. Returns how many pass; they are in
/// front. The others are consumed. Home CPU.
unsigned xdp_run_further(net_cpu &cpu, xdp_program &prog, net_device &in, const net_device *egress, rte_mbuf **pkts,
                         unsigned n) noexcept;

// Redirects of a run by map type. They return false if the map has no entry with that key; else they take ownership of
// the packets.
bool devmap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept;
bool cpumap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept;
bool xskmap_redirect(const redirect_guard &guard, const redirect_run &run) noexcept;
/// Redirects without a map.
void dev_redirect(const redirect_guard &guard, const redirect_run &run, net_device &dev) noexcept;
void dev_flush(net_cpu &cpu) noexcept;
void cpu_flush(net_cpu &cpu) noexcept;
void xsk_flush(net_cpu &cpu) noexcept;
std::shared_ptr<xdp_map> make_devmap(net_core &core, std::string name, xdp_map_type type, unsigned max_entries);
std::shared_ptr<xdp_map> make_cpumap(net_core &core, std::string name, unsigned max_entries);
std::shared_ptr<xdp_map> make_xskmap(net_core &core, std::string name, unsigned max_entries);

/// Whether packets that a CPU has redirected to other CPUs are not delivered yet. On that CPU, while the control thread
/// waits.
bool cpumap_in_flight(const net_cpu &cpu) noexcept;
/// Delivers or frees all packets that wait in cpumap entries now, so that none of a stopped device is left. Control
/// thread.
void cpumap_drain(runtime &rt, const redirect_state &state) noexcept;

int to_errno(xdp_error err) noexcept;
/// From now on packets can be redirected to a device, or no more. When redirect_unregister() returns, the device's
/// entries are gone from all maps, and no data CPU uses them. Control thread.
void redirect_register(net_core &core, net_device &dev) noexcept;
void redirect_unregister(net_core &core, net_device &dev) noexcept;
/// Throws `error` unless the key is in range.
void xdp_map_check_key(const xdp_map &map, std::uint32_t key, bool in_range);
/// Throws `error` if `flags` (BPF_NOEXIST, BPF_EXIST) do not allow to set the entry, or if it is new and the map is
/// full.
void xdp_map_check_flags(const xdp_map &map, std::uint32_t key, bool exists, bool full, std::uint64_t flags);

} // namespace halfpoll
