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

/// What share of a backlog a flow may have: the last packets' buckets, and how many of them each bucket has.
struct sd_flow_limit {
    static constexpr unsigned HISTORY = 128;

    explicit sd_flow_limit(unsigned buckets) : of_bucket(buckets) {}
    /// Takes note of a packet. True: its flow has had more than half of the last ones.
    bool exceeds(std::uint32_t hash) noexcept;

    std::array<std::uint32_t, HISTORY> history{};
    unsigned at = 0;
    std::vector<std::uint8_t> of_bucket; ///< a power of two
};

/// Packets of a burst by target, before they are handed over; and the limit of flows. Home CPU. Target number
/// `here` (= the number of CPUs) is the handler itself.
struct rps_cpu {
    explicit rps_cpu(unsigned cpus) : here(cpus), count(cpus + 1), touched(cpus + 2), mark(cpus + 1), staged(cpus + 1)
    {
    }

    /// True for the first packet of a target.
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
    std::vector<std::uint16_t> touched; ///< the first `targets`: those with packets
    std::vector<std::uint32_t> mark;    ///< a tail beyond the packets that a burst has for a target
    std::vector<std::array<rte_mbuf *, NET_BURST>> staged;
    std::unique_ptr<sd_flow_limit> limit; ///< null: off
};

inline constexpr std::uint16_t RPS_NO_FILTER = RX_FLOW_FILTERS_MAX;

/// Where the packets of some flows go, and up to where the ring to that CPU has them.
struct rps_dev_flow {
    std::uint16_t cpu;        ///< rps_cpu::here: none
    std::uint16_t filter;     ///< the device's rule that brings it here, or RPS_NO_FILTER
    std::uint32_t last_qtail; ///< without a CPU: 1 while a burst has packets of it, else 0
};

/// What a queue steers by. The control thread makes it, the home CPU uses it.
struct rps_tables {
    std::vector<std::uint16_t> map;   ///< CPUs; the last entry, `here`, is for packets without a flow
    std::vector<std::uint8_t> online; ///< by CPU
    std::vector<rps_dev_flow> flows;  ///< a power of two, and one for packets without a flow; or none
    std::uint32_t flow_mask() const noexcept { return static_cast<std::uint32_t>(flows.size() - 2); }
    bool steers() const noexcept { return map.size() > 1 || !flows.empty(); }
};

/// Wishes of one rx queue that flows come in elsewhere.
struct arfs_request {
    flow_tuple flow;
    std::uint32_t hash;
    std::uint16_t queue;
};
/// Home CPU -> control thread. `queue_of_cpu` and `own_queue` are constant.
struct arfs_ring {
    static constexpr std::uint16_t NO_QUEUE = UINT16_MAX;
    std::vector<std::uint16_t> queue_of_cpu;
    std::uint16_t own_queue = 0;
    alignas(64) std::atomic<std::uint32_t> head{0}; ///< release by the control thread; pairs with its partner's acquire
    alignas(64) std::atomic<std::uint32_t> tail{0}; ///< release by the home CPU; the same
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

/// Steering of one rx queue. Home CPU, but for the counters (it writes, anyone reads, relaxed).
struct rps_queue {
    net_cpu *home = nullptr;
    rps_tables now;
    std::vector<std::uint32_t> last_tail; ///< by target: where its ring was after the queue's last packets; [here] is 0
    rps_tables next;                      ///< to come into force, if `changing`; else to be freed
    bool changing = false;
    bool handed_noted = false;         ///< since it pauses
    std::vector<std::uint32_t> handed; ///< by CPU and owner of tx queues: what had been handed over then
    std::unique_ptr<arfs_ring> arfs;   ///< null: off. Constant
    ktime_t pause_from = 0;            ///< until then it is hoped that nothing is in flight
    std::atomic<std::uint64_t> steered{0}, direct{0}, moved{0}, put_off{0}, pauses{0};
    std::uint64_t refused = 0; ///< wishes for rules that the device did not fulfil. Control thread
};

/// Flow -> CPU where it is consumed. An entry is the hash, with the CPU in place of its low bits. Any thread, relaxed:
/// each entry is a value of its own.
struct rps_sock_flow_table {
    rps_sock_flow_table(unsigned n, unsigned cpus);
    void clear() noexcept;

    std::uint32_t mask;
    std::uint32_t cpu_mask;
    std::unique_ptr<std::atomic<std::uint32_t>[]> entries;
};

/// What all queues have in common. Control thread, but for sock_flow.
struct rps_state {
    explicit rps_state(unsigned cpus) : online(cpus, 1) {}

    /// Null: off. Release by the control thread; pairs with the acquire loads of its users.
    std::atomic<rps_sock_flow_table *> sock_flow{nullptr};
    /// By log2 of the size. Somebody may still write to one that is off, so they stay.
    std::array<std::unique_ptr<rps_sock_flow_table>, 32> sock_flow_tables;
    flow_limit_config limit;
    std::vector<std::uint8_t> online; ///< by CPU
};

/// Steers a burst of a queue with `rps` set; consumes it. Home CPU.
void rps_receive(rx_queue &q, rte_mbuf **pkts, unsigned n) noexcept;
/// Before a poll of such a queue: puts a change into force that waits for it. False: nothing may be received yet, the
/// packets in flight must be delivered first. Home CPU.
bool rps_may_receive(rx_queue &q) noexcept;

/// Puts a change into force if nothing of the queue is in flight. False: it still waits. Home CPU.
bool rps_settle(rx_queue &q) noexcept;
bool rps_queue_in_flight(const rx_queue &q) noexcept; ///< home CPU

/// The same for flows: stages packets and says which entry each of them used. Home CPU.
void rfs_stage(net_cpu &cpu, rps_queue &rps, rte_mbuf **pkts, const std::uint32_t *hash, unsigned n,
               rps_dev_flow **used) noexcept;
/// Asks that a flow that moves to a CPU comes in by that CPU's queue. `rps.arfs` is there. Home CPU.
void arfs_request_flow(rps_queue &rps, const rte_mbuf *m, std::uint32_t hash, unsigned cpu) noexcept;
/// The device has been opened, its queues exist. Control thread.
void arfs_start(net_device &dev);
std::unique_ptr<arfs_ring> make_arfs_ring(const rx_queue &q); ///< null: off
void arfs_stop(net_device &dev) noexcept;
std::uint64_t arfs_filters(const rx_queue &q) noexcept; ///< rules that bring flows to a queue

/// The packets are on their rings: their entries are told up to where.
inline void rfs_note_tails(const rps_queue &rps, rps_dev_flow *const *used, unsigned n) noexcept
{
    for (unsigned i = 0; i < n; ++i) {
        used[i]->last_qtail = rps.last_tail[used[i]->cpu];
    }
}

/// Some packet between what the target has delivered and `last` is not delivered yet. The same as a look at the sign of
/// the difference, but a `last` from very long ago does not count. `ahead`: by how much `last` may be beyond the tail.
inline bool rps_in_flight(const net_cpu &cpu, unsigned target, std::uint32_t last, unsigned ahead = 0) noexcept
{
    const std::uint32_t head = backlog_head(cpu, target);
    return last - head - 1 < backlog_tail(cpu, target) + ahead - head;
}

} // namespace halfpoll
