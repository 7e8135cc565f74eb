// SPDX-License-Identifier: BSD-3-Clause
#include "queue_placement.hpp"
#include "netio/xmit/shared_tx_queue.hpp"
#include "netio/xmit/xmit.hpp"

#include <utility>

namespace halfpoll
{
namespace
{

/// Stores the choices in the table, which stays in place because other threads may be reading it.
void route_tx(net_device &dev, const std::vector<tx_choice> &choices)
{
    if (dev.tx.empty()) {
        dev.tx = std::vector<tx_route>(choices.size());
    }
    for (std::size_t c = 0; c < choices.size(); ++c) {
        dev.tx[c].queue.store(choices[c].queue, std::memory_order_relaxed);
        dev.tx[c].owner.store(choices[c].owner, std::memory_order_relaxed);
    }
}

} // namespace

placement_cpus queue_placement::present() const
{
    placement_cpus present;
    for (const auto &cpu : cpus_) {
        present.push_back({.general = !cpus_.rt().options().cpus[cpu->id].dedicated,
                           .active = cpu->active.load(std::memory_order_relaxed),
                           .core = cpus_.rt().first_on_core(cpu->id)});
    }
    return present;
}

queue_placement::plan queue_placement::plan_for(const net_device &dev) const
{
    const placement_cpus cpus = present();
    std::vector<unsigned> homes = rx_homes(cpus, dev.options.cpus, dev.options.rx_queues);
    std::vector<tx_choice> choices = choose_tx(cpus, homes, dev.tx_queues);
    return {std::move(homes), std::move(choices)};
}

unsigned queue_placement::useful_tx_queues() const { return count_cores(present()); }

std::vector<net_cpu *> queue_placement::choose(net_device &dev) const
{
    const plan planned = plan_for(dev);
    route_tx(dev, planned.choices);
    std::vector<net_cpu *> chosen;
    for (const unsigned home : planned.homes) {
        chosen.push_back(&cpus_[home]);
    }
    return chosen;
}

/// What a CPU that owns a tx queue sends by: the device itself if the CPU is alone on its logical CPU, else the locked
/// queue that the runtime CPUs there share.
tx_port *queue_placement::driver_for(net_device &dev, const net_cpu &cpu, unsigned queue) const
{
    if (!cpus_.rt().shares_core(cpu.id)) {
        return dev.driver.get();
    }
    dev.shared_tx.resize(dev.tx_queues);
    std::shared_ptr<shared_tx_queue> &shared = dev.shared_tx[queue];
    const int affinity = cpus_.rt().options().cpus[cpu.id].affinity;
    if (!shared || shared->cpu() != affinity) { // no CPU sends by the former one any more
        shared = std::make_shared<shared_tx_queue>(*dev.driver, affinity);
    }
    return shared.get();
}

/// Makes a CPU the owner of the tx queue in its route.
void queue_placement::give_tx_queue(net_device &dev, net_cpu &cpu) const
{
    auto q = std::make_unique<xmit_queue>();
    q->dev = &dev;
    q->queue = dev.tx[cpu.id].queue.load(std::memory_order_relaxed);
    q->driver = driver_for(dev, cpu, q->queue);
    cpus_.rt().call_on(cpu.id, [&](softnet_data &) { cpu.xmit.queues[dev.ifindex] = std::move(q); });
}

void queue_placement::give_tx_queues(net_device &dev) const
{
    for (const auto &cpu : cpus_) {
        if (dev.tx[cpu->id].owner.load(std::memory_order_relaxed) == cpu->id && !cpu->xmit.queues[dev.ifindex]) {
            give_tx_queue(dev, *cpu);
        }
    }
}

void queue_placement::place(net_device &dev) const
{
    const auto [homes, choices] = plan_for(dev);
    for (std::size_t i = 0; i < dev.queues.size(); ++i) {
        rx_queue &q = *dev.queues[i];
        net_cpu &home = cpus_[homes[i]];
        if (q.cpu != &home) {
            napi_set_home(q.napi, *home.sd);
            q.cpu = &home;
        }
    }
    for (const auto &cpu : cpus_) {
        const xmit_queue *q = cpu->xmit.queues[dev.ifindex].get();
        const tx_choice &choice = choices[cpu->id];
        if (q && (choice.owner != cpu->id || choice.queue != q->queue)) {
            cpus_.rt().call_on(cpu->id, [&](softnet_data &) { xmit_remove(*cpu, dev, true); });
        }
    }
    route_tx(dev, choices);
    give_tx_queues(dev);
}

} // namespace halfpoll
