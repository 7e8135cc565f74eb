// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <cstddef>
#include <string>
#include <vector>

struct rte_mempool;

namespace halfpoll
{

/// What halfpoll asks of DPDK's EAL. Defaults need no hugepages, no PCI, leave no files.
struct eal_options {
    std::vector<std::string> pci; ///< addresses to probe; empty: no PCI device is ever touched
    bool hugepages = false;       ///< use hugepages if there are enough free ones, else say so and go without
    unsigned memory_mb = 256;     ///< without hugepages, or as many MiB of them
    bool shareable = false;       ///< net_virtio_user needs it: memory that its vhost-user peer can map
    unsigned control_cpu = 0;     ///< logical CPU of EAL's own threads
    /// Regular expression of the tracepoints that are on, "xdp_.*"; empty: none. Written below `trace_dir` (a folder
    /// for each start; empty: DPDK's, ~/dpdk-traces) when the runtime ends, or by trace_end().
    std::string trace, trace_dir;
    std::string vfio_intr; ///< interrupts of PCI devices: "msix", "msi", "legacy"; empty: what works best
};

/// Initialises the EAL once per process (--in-memory --no-telemetry …) and restores the caller's affinity and
/// scheduling policy, which is SCHED_OTHER meanwhile; EAL's interrupt thread gets the policy. Throws `error` with the
/// remedy. Returns notes about what was degraded. An embedder that has initialised the EAL skips it.
std::vector<std::string> eal_init(const eal_options &options);

/// How the threads that use a pool are spread over CPUs; it chooses the mempool's handler.
enum class pool_users {
    apart,     ///< one on each CPU: ring_mt_rts, which is the fastest, and waits once a thread was preempted for long
    preempted, ///< some preempt others on their CPU: lf_stack, where nobody ever waits for who was preempted in it
};

/// A packet pool in one contiguous, page-aligned region, which AF_XDP can register as UMEM; `count` mbufs of
/// `data_room` bytes (headroom included). No lcore cache beyond `cache`. The region is the EAL's if that has hugepages
/// or is shareable, else transparent huge pages. Throws `error`. Free with packet_pool_free() and after all ports.
rte_mempool *packet_pool_create(const char *name, unsigned count, unsigned data_room, unsigned cache = 256,
                                pool_users users = pool_users::apart);
/// The region of a pool made by packet_pool_create().
struct pool_region {
    void *base = nullptr;
    std::size_t length = 0;
};
pool_region packet_pool_region(const rte_mempool *pool);
void packet_pool_free(rte_mempool *pool) noexcept;

} // namespace halfpoll
