// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <cstdint>
#include <functional>
#include <sys/eventfd.h>
#include <unistd.h>

/// A device that receives nothing and sends nothing: the base of the devices of these benchmarks.
class bench_port : public halfpoll::port
{
public:
    ~bench_port() override { ::close(never_); }

    halfpoll::port_info info() const override
    {
        halfpoll::port_info i;
        i.driver = "bench";
        i.max_rx_queues = 8;
        return i;
    }
    void open(const halfpoll::port_options &) override {}
    void close() noexcept override {}
    halfpoll::link_state link() override { return {.up = true, .speed_mbps = 10'000}; }
    void set_mtu(std::uint32_t) override {}
    void set_promiscuous(bool) override {}
    halfpoll::port_counters counters() const override { return {}; }
    void set_event_handler(std::function<void(halfpoll::port_event)>) override {}
    halfpoll::rx_wait wait_of(std::uint16_t) override { return {.fd = never_}; }
    std::uint16_t rx_burst(std::uint16_t, rte_mbuf **, std::uint16_t) noexcept override { return 0; }
    bool rx_pending(std::uint16_t) const noexcept override { return false; }
    int rx_irq_enable(std::uint16_t) noexcept override { return 0; }
    int rx_irq_disable(std::uint16_t) noexcept override { return 0; }
    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **, std::uint16_t) noexcept override { return 0; }

private:
    const int never_ = eventfd(0, EFD_CLOEXEC);
};
