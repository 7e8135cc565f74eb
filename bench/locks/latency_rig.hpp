// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "latency_ports.hpp"

#include "netio/xdp/xdp_internal.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_map.hpp>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

constexpr int URGENT_PRIORITY = 50;
/// Enough queues for a dispatch to use up its budget of 300: it polls each instance once, for 64 packets.
constexpr unsigned BULK_QUEUES = 5;

/// A runtime on one logical CPU with the devices of latency_ports.hpp.
struct latency_rig {
    struct pool_deleter {
        void operator()(rte_mempool *which) const noexcept { halfpoll::packet_pool_free(which); }
    };

    latency_probe probe;
    std::unique_ptr<rte_mempool, pool_deleter> pool;
    halfpoll::runtime rt;
    halfpoll::net_core core;
    const unsigned urgent_cpu; ///< runtime CPU of the urgent packets; bulk packets are on runtime CPU 0
    halfpoll::net_device &wire;
    const std::shared_ptr<halfpoll::xdp_map> out; ///< key 0: the wire

    latency_rig(halfpoll::exclusion_mode mode, int cpu, unsigned wakes)
        : probe(wakes), pool(halfpoll::packet_pool_create("rt_latency", 4095, RTE_MBUF_DEFAULT_BUF_SIZE, 256,
                                                          halfpoll::pool_users::preempted)),
          rt(options(mode, cpu)), core(rt, pool.get()), urgent_cpu(rt.cpus() - 1),
          wire(add("wire", std::make_unique<wire_port>(probe), 0, nullptr)),
          out(halfpoll::xdp_map_create(core, "out", halfpoll::xdp_map_type::devmap))
    {
        out->update({.key = 0, .ifindex = wire.ifindex});
    }
    void add_bulk()
    {
        add("bulk", std::make_unique<bulk_port>(core), 0, redirecting([](rte_mbuf *m) noexcept {
                look_for_long(rte_pktmbuf_mtod(m, void *));
                forward_frame(m);
            }),
            BULK_QUEUES);
    }
    void add_urgent()
    {
        add("urgent", std::make_unique<urgent_port>(core, probe), urgent_cpu, redirecting(forward_frame));
    }
    /// The work of an embedder in its section. `burst` was zeroed before its first use.
    void send_urgent(halfpoll_xdp_burst &burst) noexcept
    {
        halfpoll::net_cpu &cpu = core.cpu(urgent_cpu);
        rte_mbuf *m;
        if (!receive_frames(core, TOS_URGENT, &m, 1)) {
            std::abort();
        }
        forward_frame(m);
        burst.pkts = &m;
        burst.n = 1;
        burst.action[0] = xdp_redirect_map(&burst, 0, out.get(), 0, 0);
        halfpoll::xdp_do_redirect(cpu, wire, burst);
        halfpoll::net_poll_end(cpu);
    }

private:
    static halfpoll::runtime_options options(halfpoll::exclusion_mode mode, int cpu)
    {
        halfpoll::runtime_options o;
        o.exclusion = mode;
        o.cpus = {{.affinity = cpu, .fifo_priority = 0}};
        if (mode == halfpoll::exclusion_mode::nested) {
            o.cpus.push_back({.affinity = cpu, .fifo_priority = URGENT_PRIORITY});
        }
        o.warn = [](const std::string &what) { throw halfpoll::error(what); };
        return o;
    }
    halfpoll::net_device &add(const char *name, std::unique_ptr<halfpoll::port> driver, unsigned home,
                              std::shared_ptr<halfpoll::xdp_program> program, unsigned queues = 1)
    {
        halfpoll::net_device_options dev;
        dev.name = name;
        dev.rx_queues = queues;
        dev.cpus = {home};
        dev.napi.busy_poll = 0;
        dev.xdp = std::move(program);
        return core.register_netdevice(std::move(driver), dev);
    }
    template <typename F>
    std::shared_ptr<halfpoll::xdp_program> redirecting(F handle)
    {
        return halfpoll::make_xdp_program("redirecting",
                                          [handle, this](halfpoll_xdp_burst &b, std::uint32_t i) noexcept {
                                              handle(b.pkts[i]);
                                              return xdp_redirect_map(&b, i, out.get(), 0, 0);
                                          });
    }
};
