// SPDX-License-Identifier: BSD-3-Clause
#include "irq_threads.hpp"

#include <algorithm>

namespace halfpoll
{

std::vector<irq_thread> irq_threads(const config &cfg)
{
    std::vector<irq_thread> threads;
    for (const port_config &port : cfg.ports) {
        const std::vector<unsigned> &places = port.options.cpus;
        for (unsigned queue = 0; queue < port.irq_priority.size(); ++queue) {
            const std::size_t home = places.empty() ? queue % cfg.cpus.size() : places[queue % places.size()];
            threads.push_back({.port = port.options.name,
                               .affinity = cfg.cpus[home],
                               .fifo_priority = static_cast<int>(port.irq_priority[queue]),
                               .name = irq_thread_name(port.options.name, queue)});
        }
    }
    return threads;
}

std::string irq_thread_name(const std::string &port, unsigned queue)
{
    constexpr std::size_t longest = 15;
    const std::string before = "irq/", after = "-" + std::to_string(queue);
    const std::size_t room = longest - before.size() - after.size();
    return before + port.substr(port.size() - std::min(port.size(), room)) + after;
}

} // namespace halfpoll
