// SPDX-License-Identifier: BSD-3-Clause
#include "buffer_need.hpp"

#include "config.hpp"
#include "irq_threads.hpp"

#include <algorithm>
#include <numeric>

namespace halfpoll
{

namespace
{

/// Of each data CPU, and of each thread of the slow path, one of them together with the control thread: buffers in
/// stock and in processing.
constexpr std::uint64_t THREAD_BUFFERS = 1024;
constexpr std::uint64_t CACHE_BUFFERS = 2 * PACKET_CACHE; ///< of a bottom-half thread that has only the pool's cache
constexpr std::uint64_t HANDOVER_RING = 1024;             ///< from each thread to each CPU
constexpr std::uint64_t STAGED = std::tuple_size_v<decltype(xmit_queue::pkts)>;
constexpr std::uint64_t DEVMAP_BULK = 16;

template <typename Range, typename F>
std::uint64_t sum(const Range &range, F value)
{
    return std::accumulate(std::begin(range), std::end(range), std::uint64_t{0},
                           [&](std::uint64_t so_far, const auto &each) { return so_far + value(each); });
}

/// Bottom-half threads in addition to one for each data CPU.
std::uint64_t more_threads(const config &cfg)
{
    const std::uint64_t of_each_cpu = cfg.ksoftirqd + cfg.irq_workd + cfg.thread_backlog_napi;
    const auto of_port = [](const port_config &port) {
        return port.options.napi.threaded == napi_threaded::disabled ? 0 : port.options.rx_queues;
    };
    const auto of_map = [&](const xdp_map_config &map) {
        const bool threads = map.type == xdp_map_type::cpumap && cfg.exclusion == exclusion_mode::big;
        return threads ? map.entries.size() : 0;
    };
    return of_each_cpu * cfg.cpus.size() + sum(cfg.ports, of_port) + sum(cfg.xdp_maps, of_map);
}

std::uint64_t rings(const config &cfg, std::uint64_t (*queues)(const config &, const port_config &))
{
    return sum(cfg.ports, [&](const port_config &port) { return port.options.descriptors * queues(cfg, port); });
}

std::uint64_t rx_queues(const config &, const port_config &port) { return port.options.rx_queues; }
std::uint64_t tx_queues(const config &cfg, const port_config &) { return cfg.cpus.size(); }
/// In addition to the packets in its tx ring, an AF_XDP socket may have as many that the kernel is still sending.
std::uint64_t completions(const config &cfg, const port_config &port)
{
    return port.kind == device_kind::af_xdp ? cfg.cpus.size() : 0;
}

std::uint64_t map_buffers(const config &cfg, std::uint64_t cpus, xdp_map_type type)
{
    const bool cpumap = type == xdp_map_type::cpumap;
    const auto of_map = [&](const xdp_map_config &map) -> std::uint64_t {
        if (map.type != type) {
            return 0;
        }
        return cpumap ? sum(map.entries, [](const auto &entry) { return entry.qsize; })
                      : cfg.ports.size() * cpus * DEVMAP_BULK;
    };
    return sum(cfg.xdp_maps, of_map);
}

} // namespace

std::vector<buffer_place> buffer_places(const config &cfg)
{
    const std::uint64_t cpus = cfg.cpus.size() + irq_threads(cfg).size();
    const std::uint64_t slow_paths = cfg.slow_path_threads;
    const std::uint64_t slow_path_ring = slow_path_options{}.ring_size;
    return {
        {"rx rings", rings(cfg, rx_queues), true},
        {"tx rings", rings(cfg, tx_queues), true},
        {"caches", THREAD_BUFFERS * (cpus + slow_paths) + CACHE_BUFFERS * more_threads(cfg), true},
        {"AF_XDP completion rings", rings(cfg, completions)},
        {"staged for ports", cfg.ports.size() * cpus * STAGED},
        {"hand-over rings", cpus * (cpus - 1 + slow_paths) * HANDOVER_RING}, // from other CPUs and the slow path
        {"backlogs (netdev_max_backlog)", cpus * cfg.netdev_max_backlog},
        {"slow path", cpus * slow_paths * slow_path_ring},
        {"skb_defer_max", cpus * (cpus - 1) * cfg.skb_defer_max},
        {"cpumap queues (qsize)", map_buffers(cfg, cpus, xdp_map_type::cpumap)},
        {"devmaps", map_buffers(cfg, cpus, xdp_map_type::devmap) + map_buffers(cfg, cpus, xdp_map_type::devmap_hash)},
    };
}

std::uint64_t buffers_at_rest(const config &cfg)
{
    return sum(buffer_places(cfg), [](const buffer_place &place) { return place.at_rest ? place.buffers : 0; });
}

std::uint64_t buffers_at_most(const config &cfg)
{
    return sum(buffer_places(cfg), [](const buffer_place &place) { return place.buffers; });
}

std::uint64_t buffer_megabytes(std::uint64_t buffers) { return (buffers * BUFFER_BYTES >> 20) + 32; }

buffer_shortage find_shortage(const config &cfg)
{
    const std::uint64_t wanted = buffers_at_most(cfg);
    if (wanted <= cfg.mbufs) {
        return {};
    }
    std::string where;
    for (const buffer_place &place : buffer_places(cfg)) {
        if (place.buffers > 0) {
            where += (where.empty() ? "" : ", ") + place.name + " " + std::to_string(place.buffers);
        }
    }
    const std::uint64_t megabytes = std::max<std::uint64_t>(cfg.memory_mb, buffer_megabytes(wanted));
    return {"mbufs is " + std::to_string(cfg.mbufs) + ", and " + std::to_string(wanted) +
                " packets can be held at once, so ports may run out of buffers under load and lose packets (" + where +
                ")",
            "mbufs = " + std::to_string(wanted) + " and memory_mb = " + std::to_string(megabytes) +
                " in [runtime], or shorter queues"};
}

} // namespace halfpoll
