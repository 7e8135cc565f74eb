// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "eventually.hpp"

#include <halfpoll/net_core.hpp>

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace halfpoll::test
{

/// State that the test and the port share. It outlives the port.
struct fake_wire {
    std::mutex mutex;
    std::deque<rte_mbuf *> rx;
    std::vector<std::uint32_t> sent; ///< sequence numbers of the sent packets, in order
    bool interrupt = false;          ///< enabled or not
    int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    std::function<void(port_event)> notify;
    std::function<void(rte_mbuf **, unsigned)> on_tx; ///< called in tx_burst, on the data CPU
    std::function<bool(std::uint16_t)> takes;         ///< called in tx_burst; returns whether that tx queue has room

    std::atomic<bool> up{true};
    std::atomic<bool> link_fails{false};
    std::atomic<unsigned> room{1u << 30}; ///< number of packets that the tx ring still takes
    std::atomic<unsigned> tx_calls{0}, doorbells{0}, refused_doorbells{0};
    std::atomic<int> enable_result{0};
    std::atomic<bool> opened{false}, closed{false};
    std::atomic<unsigned> opens{0}, resets{0}, ports{0}; ///< calls of open() and reset(); number of ports that exist
    std::atomic<ktime_t> link_period{0};
    std::atomic<unsigned> link_looks{0};
    bool refuses_live = false; ///< refuses to change MTU and MAC while it is open
    bool reset_fails = false;
    std::optional<rte_ether_addr> filter; ///< address that set_mac() or open() requested
    std::uint32_t mtu = 0;
    std::uint32_t opens_at_most_with = 9000; ///< largest MTU that open() accepts
    bool open_fails = false;
    bool no_memory = false; ///< open() fails for lack of memory
    bool has_fd = true;
    unsigned descriptors = 256;
    unsigned tx_queues = 1;
    rte_ether_addr mac{};
    bool can_pass = false;
    pass_to_kernel pass; ///< the last set_pass(), if the device can
    std::set<box_address> pass_addresses;

    ~fake_wire()
    {
        for (rte_mbuf *m : rx) {
            rte_pktmbuf_free(m);
        }
        close(event_fd);
    }

    /// Makes a packet arrive from outside. Any thread.
    void receive(rte_mbuf *m)
    {
        const std::lock_guard lock(mutex);
        rx.push_back(m);
        if (interrupt) {
            const std::uint64_t one = 1;
            if (write(event_fd, &one, sizeof one) < 0) {
                std::abort();
            }
        }
    }
    std::size_t sent_count()
    {
        const std::lock_guard lock(mutex);
        return sent.size();
    }
    void event(port_event e)
    {
        std::function<void(port_event)> fn;
        {
            const std::lock_guard lock(mutex);
            fn = notify;
        }
        if (fn) {
            fn(e);
        }
    }
};

/// Makes a packet of `length` bytes that carries a number.
inline rte_mbuf *packet(rte_mempool *pool, std::uint32_t number, unsigned length = 60)
{
    rte_mbuf *m = rte_pktmbuf_alloc(pool);
    if (!m || !rte_pktmbuf_append(m, static_cast<std::uint16_t>(length))) {
        std::abort();
    }
    *rte_pktmbuf_mtod(m, std::uint32_t *) = number;
    return m;
}

class fake_port final : public port
{
public:
    explicit fake_port(std::shared_ptr<fake_wire> wire) : wire_(std::move(wire)) { ++wire_->ports; }
    ~fake_port() override { --wire_->ports; }

    port_info info() const override
    {
        port_info i;
        i.driver = "fake";
        i.mac = wire_->filter.value_or(wire_->mac);
        i.max_rx_queues = 1;
        i.max_tx_queues = wire_->tx_queues;
        i.max_mtu = 9000;
        i.rx_descriptors = wire_->descriptors;
        return i;
    }
    void open(const port_options &options) override
    {
        ++wire_->opens;
        if (wire_->no_memory) {
            throw std::bad_alloc();
        }
        if (wire_->open_fails || options.mtu > wire_->opens_at_most_with) {
            throw error("fake: does not open");
        }
        wire_->mtu = options.mtu;
        wire_->pass_addresses.clear();
        if (options.mac) {
            wire_->filter = options.mac;
        }
        wire_->opened = true;
        wire_->closed = false;
    }
    void close() noexcept override { wire_->closed = true; }
    link_state link() override
    {
        ++wire_->link_looks;
        if (wire_->link_fails) {
            throw error("fake: link cannot be read");
        }
        return {.up = wire_->up, .speed_mbps = 10'000};
    }
    void set_mtu(std::uint32_t mtu) override
    {
        refuse_live();
        wire_->mtu = mtu;
    }
    void set_promiscuous(bool) override {}
    void set_mac(const rte_ether_addr &mac) override
    {
        refuse_live();
        wire_->filter = mac;
    }
    bool set_pass(const pass_to_kernel &wanted) noexcept override
    {
        wire_->pass = wire_->can_pass ? wanted : pass_to_kernel{};
        return wire_->can_pass;
    }
    void pass_address(const box_address &address, bool passes) noexcept override
    {
        if (passes) {
            wire_->pass_addresses.insert(address);
        } else {
            wire_->pass_addresses.erase(address);
        }
    }
    void reset() override
    {
        ++wire_->resets;
        if (wire_->reset_fails) {
            throw error("fake: cannot be reset");
        }
    }
    ktime_t link_period() const noexcept override { return wire_->link_period; }
    port_counters counters() const override { return {}; }
    void set_event_handler(std::function<void(port_event)> notify) override
    {
        const std::lock_guard lock(wire_->mutex);
        wire_->notify = std::move(notify);
    }
    rx_wait wait_of(std::uint16_t) override
    {
        return {.fd = wire_->has_fd ? wire_->event_fd : -1, .reason = wire_->has_fd ? "" : "fake without interrupt"};
    }

    std::uint16_t rx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        const std::lock_guard lock(wire_->mutex);
        std::uint16_t got = 0;
        while (got < n && !wire_->rx.empty()) {
            pkts[got++] = wire_->rx.front();
            wire_->rx.pop_front();
        }
        return got;
    }
    bool rx_pending(std::uint16_t) const noexcept override
    {
        const std::lock_guard lock(wire_->mutex);
        return !wire_->rx.empty();
    }
    int rx_irq_enable(std::uint16_t) noexcept override
    {
        const std::lock_guard lock(wire_->mutex);
        wire_->interrupt = wire_->enable_result == 0;
        return wire_->enable_result;
    }
    int rx_irq_disable(std::uint16_t) noexcept override
    {
        const std::lock_guard lock(wire_->mutex);
        wire_->interrupt = false;
        return 0;
    }
    std::uint16_t tx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        ++wire_->tx_calls;
        if (wire_->takes && !wire_->takes(queue)) {
            return 0;
        }
        const std::uint16_t k = static_cast<std::uint16_t>(std::min<unsigned>(n, wire_->room));
        wire_->room -= k;
        if (wire_->on_tx) {
            wire_->on_tx(pkts, k);
            return k;
        }
        const std::lock_guard lock(wire_->mutex);
        for (unsigned i = 0; i < k; ++i) {
            wire_->sent.push_back(*rte_pktmbuf_mtod(pkts[i], std::uint32_t *));
            rte_pktmbuf_free(pkts[i]);
        }
        return k;
    }
    bool tx_doorbell(std::uint16_t) noexcept override
    {
        ++wire_->doorbells;
        if (wire_->refused_doorbells != 0) {
            --wire_->refused_doorbells;
            return false;
        }
        return true;
    }

private:
    void refuse_live() const
    {
        if (wire_->refuses_live) {
            throw error("fake: is open");
        }
    }
    std::shared_ptr<fake_wire> wire_;
};

} // namespace halfpoll::test
