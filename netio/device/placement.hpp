// SPDX-License-Identifier: BSD-3-Clause
//
// Which runtime CPU receives from a queue and which one sends: pure functions of the CPUs and of a device's settings.
#pragma once

#include <cstdint>
#include <vector>

namespace halfpoll
{

/// What placement knows of a runtime CPU.
struct placement_cpu {
    bool general = true; ///< not dedicated: it takes queues for which no CPU is configured
    bool active = true;  ///< packets may be directed to it
    unsigned core = 0;   ///< the first runtime CPU on its logical CPU (runtime::first_on_core())
};
/// By number of the runtime CPU. At least one is general and active.
using placement_cpus = std::vector<placement_cpu>;

/// A CPU's choice for one device: the tx queue that its packets use, and the runtime CPU that sends on it. Runtime CPUs
/// on one logical CPU (mode `nested`) share a queue, and each of them is an owner of it.
struct tx_choice {
    std::uint16_t queue;
    std::uint16_t owner;
};

/// Number of logical CPUs that have runtime CPUs: a device needs no more tx queues than that.
unsigned count_cores(const placement_cpus &cpus) noexcept;
/// By rx queue: the CPU of `wanted`, round robin (empty: all that are general), or the stand-in of a CPU that is not
/// active: for a dedicated CPU preferably one on the same logical CPU, else the one with the fewest queues.
std::vector<unsigned> rx_homes(const placement_cpus &cpus, std::vector<unsigned> wanted, unsigned rx_queues);
/// By runtime CPU: its choice for a device whose rx queues have the homes `rx_cpus`. The homes get tx queues first,
/// because what they forward back then needs no hand-over. CPUs that are not active own none.
std::vector<tx_choice> choose_tx(const placement_cpus &cpus, const std::vector<unsigned> &rx_cpus, unsigned tx_queues);

} // namespace halfpoll
