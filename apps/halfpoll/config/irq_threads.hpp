// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "config.hpp"

#include <string>
#include <vector>

namespace halfpoll
{

/// The force-threaded interrupt handler of an rx queue: a runtime CPU for that queue alone, on the logical CPU where
/// the queue would be at home without it.
struct irq_thread {
    std::string port; ///< its name
    unsigned affinity = 0;
    int fifo_priority = 0;
    std::string name; ///< of the thread
    bool operator==(const irq_thread &) const = default;
};

/// Those of all ports with `irq_priority`, queue by queue. Their runtime CPUs have the numbers from cfg.cpus.size() on.
std::vector<irq_thread> irq_threads(const config &cfg);

/// "irq/PORT-QUEUE". The system shows 15 bytes: of a longer PORT the end remains, which tells devices apart.
std::string irq_thread_name(const std::string &port, unsigned queue);

} // namespace halfpoll
