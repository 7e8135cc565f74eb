// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <rte_mbuf.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace halfpoll::test
{

using frame = std::vector<std::uint8_t>;

/// A device without a wire: the test puts frames in and reads the frames that were sent. It outlives the port that it
/// serves.
class fake_wire
{
public:
    explicit fake_wire(std::uint8_t last_mac_byte) : mac{{0x02, 0, 0, 0, 0, last_mac_byte}} {}
    ~fake_wire() { ::close(event_fd_); }
    fake_wire(const fake_wire &) = delete;
    fake_wire &operator=(const fake_wire &) = delete;

    void inject(rte_mempool *pool, const frame &f)
    {
        rte_mbuf *m = rte_pktmbuf_alloc(pool);
        if (!m) {
            throw std::runtime_error("fake_wire: pool is empty");
        }
        std::memcpy(rte_pktmbuf_append(m, static_cast<std::uint16_t>(f.size())), f.data(), f.size());
        const std::lock_guard lock(mutex_);
        rx_.push_back(m);
        if (interrupt_) {
            raise_interrupt();
        }
    }
    std::vector<frame> sent() const
    {
        const std::lock_guard lock(mutex_);
        return tx_;
    }
    /// The frames that were sent, which the wire forgets.
    std::vector<frame> take_sent()
    {
        const std::lock_guard lock(mutex_);
        return std::exchange(tx_, {});
    }
    void forget_sent()
    {
        const std::lock_guard lock(mutex_);
        tx_.clear();
    }
    void set_link(bool up)
    {
        const std::lock_guard lock(mutex_);
        up_ = up;
        if (notify_) {
            notify_(port_event::link);
        }
    }
    std::uint32_t mtu() const
    {
        const std::lock_guard lock(mutex_);
        return mtu_;
    }
    bool promiscuous() const
    {
        const std::lock_guard lock(mutex_);
        return promiscuous_;
    }
    /// Addresses of the box to which TCP passes. Control thread.
    const std::set<box_address> &pass_addresses() const { return pass_addresses_; }
    /// From now on promiscuous mode is refused, and with it another link address.
    void refuse_promiscuous()
    {
        const std::lock_guard lock(mutex_);
        refuses_ = true;
    }

    const rte_ether_addr mac;

private:
    friend class fake_port;
    void raise_interrupt()
    {
        const std::uint64_t one = 1;
        if (write(event_fd_, &one, sizeof one) < 0) {
            std::abort();
        }
    }

    mutable std::mutex mutex_;
    std::deque<rte_mbuf *> rx_;
    const int event_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool interrupt_ = false; ///< enabled
    std::vector<frame> tx_;
    bool up_ = true;
    std::uint32_t mtu_ = 1500;
    bool promiscuous_ = false, refuses_ = false;
    std::set<box_address> pass_addresses_;
    std::function<void(port_event)> notify_;
};

class fake_port final : public port
{
public:
    explicit fake_port(fake_wire &wire) : wire_(wire) {}
    ~fake_port() override
    {
        const std::lock_guard lock(wire_.mutex_);
        wire_.notify_ = nullptr;
        for (rte_mbuf *m : wire_.rx_) {
            rte_pktmbuf_free(m);
        }
        wire_.rx_.clear();
    }

    port_info info() const override
    {
        port_info info;
        info.driver = "fake";
        info.mac = wire_.mac;
        info.max_mtu = 9000;
        return info;
    }
    void open(const port_options &options) override { set_mtu(options.mtu); }
    void close() noexcept override {}
    void pass_address(const box_address &address, bool passes) noexcept override
    {
        if (passes) {
            wire_.pass_addresses_.insert(address);
        } else {
            wire_.pass_addresses_.erase(address);
        }
    }
    link_state link() override
    {
        const std::lock_guard lock(wire_.mutex_);
        return {.up = wire_.up_, .speed_mbps = 10'000};
    }
    void set_mtu(std::uint32_t mtu) override
    {
        if (mtu > 9000) {
            throw error("fake: MTU " + std::to_string(mtu) + " is above 9000");
        }
        const std::lock_guard lock(wire_.mutex_);
        wire_.mtu_ = mtu;
    }
    void set_promiscuous(bool on) override
    {
        const std::lock_guard lock(wire_.mutex_);
        if (on && wire_.refuses_) {
            throw error("fake: cannot be promiscuous");
        }
        wire_.promiscuous_ = on;
    }
    port_counters counters() const override { return {}; }
    void set_event_handler(std::function<void(port_event)> notify) override
    {
        const std::lock_guard lock(wire_.mutex_);
        wire_.notify_ = std::move(notify);
    }
    /// With an interrupt: a data CPU that polls takes the processor from what is tested beside it.
    rx_wait wait_of(std::uint16_t) override { return {.fd = wire_.event_fd_}; }

    std::uint16_t rx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        const std::lock_guard lock(wire_.mutex_);
        std::uint16_t got = 0;
        while (got < n && !wire_.rx_.empty()) {
            pkts[got++] = wire_.rx_.front();
            wire_.rx_.pop_front();
        }
        return got;
    }
    bool rx_pending(std::uint16_t) const noexcept override
    {
        const std::lock_guard lock(wire_.mutex_);
        return !wire_.rx_.empty();
    }
    int rx_irq_enable(std::uint16_t) noexcept override
    {
        const std::lock_guard lock(wire_.mutex_);
        wire_.interrupt_ = true;
        return 0;
    }
    int rx_irq_disable(std::uint16_t) noexcept override
    {
        const std::lock_guard lock(wire_.mutex_);
        wire_.interrupt_ = false;
        return 0;
    }
    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        const std::lock_guard lock(wire_.mutex_);
        for (std::uint16_t i = 0; i < n; ++i) {
            const auto *data = rte_pktmbuf_mtod(pkts[i], const std::uint8_t *);
            wire_.tx_.emplace_back(data, data + pkts[i]->data_len);
        }
        rte_pktmbuf_free_bulk(pkts, n);
        return n;
    }

private:
    fake_wire &wire_;
};

} // namespace halfpoll::test
