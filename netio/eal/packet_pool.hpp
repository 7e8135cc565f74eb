// SPDX-License-Identifier: BSD-3-Clause
#pragma once

struct rte_mempool;

namespace halfpoll
{

/// Memory that a vhost-user peer maps, or that the EAL maps for a device's DMA, must be the EAL's own. Where nobody
/// needs that and the EAL has only 4 KiB pages, transparent huge pages are better: eal_init() clears it then. Control
/// thread.
extern bool pools_in_eal_memory;

/// Packets that any thread could take from the pool now: without those in caches of threads. Any thread.
unsigned packet_pool_common(const rte_mempool *pool) noexcept;

} // namespace halfpoll
