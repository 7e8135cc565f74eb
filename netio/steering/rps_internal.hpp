// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/backlog.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/rps.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace halfpoll
{

/// The share of a backlog that each flow has: the buckets of the last packets, and how many of these each bucket has.
struct sd_flow_limit {
    static constexpr unsigned HISTORY = 128;

    explicit sd_flow_limit(unsigned buckets) : of_bucket(buckets) {}
    /// Notes a packet. True: its flow has had more than half of the last packets.
    bool exceeds(std::uint32_t hash) noexcept;

    std::array<std::uint32_t, HISTORY> history{};
    unsigned at = 0;
    std::vector<std::uint8_t> of_bucket; ///< number of recent packets; the size is a power of two
};

/// The packets of a burst by target, before they go to the backlogs, and the limit of flows. Home CPU. Target number
/// `here` (= the number of CPUs) is the handler on this CPU.
struct rps_cpu {
    explicit rps_cpu(unsigned cpus) : here(cpus), count(cpus + 1), touched(cpus + 2), mark(cpus + 1), staged(cpus + 1)
    {
    }

    /// Stages a packet. True: it is the first one of its target.
    bool stage(unsigned target, rte_mbuf *m) noexcept
    {
        const unsigned n = count[target];
        touched[targets] = static_cast<std::uint16_t>(target);
        targets += n == 0;
        staged[target][n] = m;
        count[target] = static_cast<std::uint16_t>(n + 1);
        return n == 0;
    }

    const unsigned here;
    unsigned targets = 0;
    std::vector<std::uint16_t> count;
    std::vector<std::uint16_t> touched; ///< the first `targets` entries: targets with packets
    std::vector<std::uint32_t> mark;    ///< by target: a tail beyond the packets of the present burst
    std::vector<std::array<rte_mbuf *, NET_BURST>> staged;
    std::unique_ptr<sd_flow_limit> limit; ///< null: off
};

inline constexpr std::uint16_t RPS_NO_FILTER = RX_FLOW_FILTERS_MAX;

/// Values of rps_dev_flow::last_qtail for `here`: the flow has had no packet, has packets in the present burst, or had
/// some in an earlier one.
enum rps_here_tail : std::uint32_t { RPS_HERE_UNUSED, RPS_HERE_IN_BURST, RPS_HERE_USED };

/// The CPU of some flows, and the position of their last packet on the ring to it.
struct rps_dev_flow {
    std::uint16_t cpu;        ///< rps_cpu::here: the flow has no other CPU
    std::uint16_t filter;     ///< the device's rule that brings the flow to this queue, or RPS_NO_FILTER
    std::uint32_t last_qtail; ///< for `here`: an rps_here_tail
};

/// The tables by which a queue steers. The control thread makes them, the home CPU uses them.
struct rps_tables {
    std::vector<std::uint16_t> map;   ///< CPUs; the last entry, `here`, is for packets without a flow
    std::vector<std::uint8_t> online; ///< by CPU
    std::vector<rps_dev_flow> flows;  ///< a power of two of entries, and one for packets without a flow; or empty
    std::uint32_t flow_mask() const noexcept { return static_cast<std::uint32_t>(flows.size() - 2); }
    bool steers() const noexcept { return map.size() > 1 || !flows.empty(); }
};

/// A request of one rx queue to let the device bring a flow to another queue.
struct arfs_request {
    flow_tuple flow;
    std::uint32_t hash;
    std::uint16_t queue;
};
/// Requests from the home CPU to the control thread. `queue_of_cpu` and `own_queue` are constant.
struct arfs_ring {
    static constexpr std::uint16_t NO_QUEUE = UINT16_MAX;
    std::vector<std::uint16_t> queue_of_cpu;
    std::uint16_t own_queue = 0;
    /// Release by the control thread in arfs_look_at_flows(); pairs with the acquire in arfs_request_flow().
    alignas(64) std::atomic<std::uint32_t> head{0};
    /// Release by the home CPU in arfs_request_flow(); pairs with the acquire in arfs_look_at_flows().
    alignas(64) std::atomic<std::uint32_t> tail{0};
    std::array<arfs_request, 64> requests;
};

/// A rule in the device. Control thread.
struct arfs_filter {
    int filter;
    std::uint16_t queue;
    std::uint32_t hash;
    ktime_t since;
};
struct arfs_state {
    using filter_map = std::map<flow_tuple, arfs_filter>;
    filter_map filters;
};

/// Steering of one rx queue. Home CPU; the counters are atomics that it writes and any thread reads, relaxed.
struct rps_queue {
    net_cpu *home = nullptr;
    rps_tables now;
    /// By target: position of its ring after the queue's last packets; [here] is RPS_HERE_USED.
    std::vector<std::uint32_t> last_tail;
    rps_tables next; ///< tables that come into force, if `changing`; else tables to be freed
    bool changing = false;
    bool handed_noted = false; ///< `handed` was noted since the queue pauses
    bool kept_noted = false;   ///< `kept` was noted since the packets of `handed` were sent
    /// By CPU and owner of tx queues: packets that had been handed over when the queue paused.
    std::vector<std::uint32_t> handed;
    std::vector<std::uint32_t> kept; ///< by CPU: xmit_kept_at() when the packets of `handed` had been sent
    std::unique_ptr<arfs_ring> arfs; ///< null: off. Constant
    ktime_t pause_from = 0;          ///< the queue pauses from then on, if packets are still in flight
    std::atomic<std::uint64_t> steered{0}, direct{0}, moved{0}, put_off{0}, pauses{0};
    std::uint64_t refused = 0; ///< requests that the device refused. Control thread
};

/// Maps a flow to the CPU where it is consumed. An entry is the hash, with the CPU in place of its low bits. Any
/// thread, relaxed: each entry stands for itself.
struct rps_sock_flow_table {
    rps_sock_flow_table(unsigned n, unsigned cpus);
    void clear() noexcept;

    std::uint32_t mask;
    std::uint32_t cpu_mask;
    std::unique_ptr<std::atomic<std::uint32_t>[]> entries;
};

/// State that all queues share. Control thread, except sock_flow.
struct rps_state {
    explicit rps_state(unsigned cpus) : online(cpus, 1) {}

    /// Null: off. Stored with release by the control thread; pairs with the acquire loads of rfs_stage() and
    /// rps_record_sock_flow().
    std::atomic<rps_sock_flow_table *> sock_flow{nullptr};
    /// By log2 of the size. A thread may still write to a table that is off, so tables are kept.
    std::array<std::unique_ptr<rps_sock_flow_table>, 32> sock_flow_tables;
    flow_limit_config limit;
    std::vector<std::uint8_t> online; ///< by CPU
};

/// Steers a burst of a queue whose `rps` is set. Takes ownership. Home CPU.
void rps_receive(rx_queue &q, rte_mbuf **pkts, unsigned n) noexcept;
/// Called before a poll of a queue whose `rps` is set: puts a waiting change into force if it can. False: nothing may
/// be received yet, because the packets in flight must be delivered first. Home CPU.
bool rps_may_receive(rx_queue &q) noexcept;

/// Puts a change into force if the queue has no packet in flight. False: it still waits. Home CPU.
bool rps_settle(rx_queue &q) noexcept;
bool rps_queue_in_flight(const rx_queue &q) noexcept; ///< home CPU

/// Stages packets by flow, and stores in `used` the entry of each. Home CPU.
void rfs_stage(net_cpu &cpu, rps_queue &rps, rte_mbuf **pkts, const std::uint32_t *hash, unsigned n,
               rps_dev_flow **used) noexcept;
/// Requests that a flow which moves to a CPU comes in by a queue of that CPU. `rps.arfs` is not null. Home CPU.
void arfs_request_flow(rps_queue &rps, const rte_mbuf *m, std::uint32_t hash, unsigned cpu) noexcept;
/// Sets up accelerated RFS for a device that has been opened and whose queues exist. Control thread.
void arfs_start(net_device &dev);
std::unique_ptr<arfs_ring> make_arfs_ring(const rx_queue &q); ///< null: off
void arfs_stop(net_device &dev) noexcept;
/// Has devices bring flows to other queues as their CPUs have asked, and removes rules that have expired. Control
/// thread.
void arfs_look_at_flows(const device_table &devices, ktime_t now);
std::uint64_t arfs_filters(const rx_queue &q) noexcept; ///< number of rules that bring flows to a queue

/// Notes in the entries the positions up to which the rings have their packets. Called after the packets were put on
/// the rings.
inline void rfs_note_tails(const rps_queue &rps, rps_dev_flow *const *used, unsigned n) noexcept
{
    for (unsigned i = 0; i < n; ++i) {
        used[i]->last_qtail = rps.last_tail[used[i]->cpu];
    }
}

/// Whether a packet up to position `last` is not delivered yet. Like the sign of the difference to the head, except
/// that a `last` from very long ago does not count. `ahead`: how far `last` may be beyond the tail.
inline bool rps_in_flight(const net_cpu &cpu, unsigned target, std::uint32_t last, unsigned ahead = 0) noexcept
{
    const std::uint32_t head = backlog_head(cpu, target);
    return last - head - 1 < backlog_tail(cpu, target) + ahead - head;
}

} // namespace halfpoll
