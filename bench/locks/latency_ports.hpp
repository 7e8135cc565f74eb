// SPDX-License-Identifier: BSD-3-Clause
//
//   bulk ----.  XDP program: 5 us a packet, redirect by devmap
//             >---- wire: one tx queue for all
//   urgent --'  XDP program: forward, redirect by devmap; an interrupt and one packet now and then
#pragma once

#include "bench_port.hpp"
#include "frame.hpp"
#include "latency_probe.hpp"
#include "random_timer.hpp"

/// A device that drops what it sends: as a driver does, it reads each packet and frees it.
class wire_port final : public bench_port
{
public:
    explicit wire_port(latency_probe &probe) : probe_(probe) {}
    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        const halfpoll::ktime_t now = halfpoll::ktime_get();
        for (unsigned i = 0; i < n; ++i) {
            if (ip_header(pkts[i])->type_of_service == TOS_URGENT) {
                probe_.sent(now);
            }
        }
        rte_pktmbuf_free_bulk(pkts, n);
        return n;
    }

private:
    latency_probe &probe_;
};

/// A device that always has as many packets as a burst asks for.
class bulk_port final : public bench_port
{
public:
    explicit bulk_port(halfpoll::net_core &core) : core_(core) {}
    std::uint16_t rx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        return receive_frames(core_, TOS_BULK, pkts, n) ? n : 0;
    }
    bool rx_pending(std::uint16_t) const noexcept override { return true; }

private:
    halfpoll::net_core &core_;
};

/// A device with one packet when its timer has fired. Unmasking its interrupt sets the timer.
class urgent_port final : public bench_port
{
public:
    urgent_port(halfpoll::net_core &core, latency_probe &probe) : core_(core), probe_(probe) {}
    halfpoll::rx_wait wait_of(std::uint16_t) override
    {
        return {.fd = timer_.fd(), .kind = halfpoll::source_kind::read8};
    }
    std::uint16_t rx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t) noexcept override
    {
        if (!rx_pending(0) || !receive_frames(core_, TOS_URGENT, pkts, 1)) {
            return 0;
        }
        due_ = halfpoll::KTIME_MAX;
        return 1;
    }
    bool rx_pending(std::uint16_t) const noexcept override { return halfpoll::ktime_get() >= due_; }
    int rx_irq_enable(std::uint16_t) noexcept override
    {
        if (due_ == halfpoll::KTIME_MAX && !probe_.finished()) {
            due_ = timer_.arm();
            probe_.expect(due_);
        }
        return 0;
    }

private:
    halfpoll::net_core &core_;
    latency_probe &probe_;
    random_timer timer_;
    halfpoll::ktime_t due_ = halfpoll::KTIME_MAX;
};
