// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "nested_ledger.hpp"
#include "simple_port.hpp"

#include <halfpoll/net_core.hpp>
#include <halfpoll/softnet_data.hpp>

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace halfpoll::test
{

/// A device whose queues hold on to packets as a NIC does: sent packets return to the pool when later packets come. Now
/// and then it accepts fewer packets than it is offered, and asks for its doorbell once more.
class nested_port final : public simple_port
{
public:
    /// One rx queue. It makes its packets itself; any thread may ask it for more.
    struct rx {
        std::atomic<unsigned> wanted{0}; ///< seq_cst with `interrupt`
        std::atomic<bool> interrupt{false};
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        ~rx() { ::close(fd); }
    };

    /// `holder`: holds sent packets in the ledger. `rx_path`: path of received packets. `tx_paths`: bit mask of the
    /// paths of packets that it may send. `disturb` is called at critical points.
    nested_port(ledger &books, rte_mempool *pool, unsigned queues, unsigned holder, unsigned rx_path, unsigned tx_paths,
                std::function<void()> disturb)
        : books_(books), pool_(pool), holder_(holder), rx_path_(rx_path), tx_paths_(tx_paths),
          disturb_(std::move(disturb)), random_(holder)
    {
        for (unsigned i = 0; i < queues; ++i) {
            rx_.push_back(std::make_unique<rx>());
        }
    }
    ~nested_port() override { release(sent_.size()); }

    /// Lets n packets arrive. Any thread.
    void arrive(unsigned queue, unsigned n)
    {
        rx &q = *rx_[queue];
        q.wanted.fetch_add(n);
        if (q.interrupt.exchange(false)) { // pairs with the read of `wanted` after rx_irq_enable()
            const std::uint64_t one = 1;
            if (write(q.fd, &one, sizeof one) < 0) {
                books_.complain("a doorbell does not ring");
            }
        }
    }
    bool idle(unsigned queue) const { return rx_[queue]->wanted.load() == 0; }

    port_info info() const override
    {
        port_info i;
        i.driver = "nested";
        i.max_rx_queues = static_cast<unsigned>(rx_.size());
        i.rx_descriptors = 256;
        return i;
    }
    rx_wait wait_of(std::uint16_t queue) override { return {.fd = rx_[queue]->fd}; }

    /// Packets are recorded as sent by the polling CPU.
    std::uint16_t rx_burst(std::uint16_t queue, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        rx &q = *rx_[queue];
        const auto count = static_cast<std::uint16_t>(std::min<unsigned>(n, q.wanted.load()));
        if (count == 0) {
            return 0;
        }
        q.wanted.fetch_sub(count);
        if (rte_pktmbuf_alloc_bulk(pool_, pkts, count) != 0) {
            return 0; // as a NIC without descriptors
        }
        const unsigned source = this_softnet_data()->cpu;
        for (unsigned i = 0; i < count; ++i) {
            rte_pktmbuf_append(pkts[i], 60);
            books_.allocated(*pkts[i], source);
            books_.send(*pkts[i], source, rx_path_);
        }
        return count;
    }
    bool rx_pending(std::uint16_t queue) const noexcept override { return rx_[queue]->wanted.load() != 0; }
    int rx_irq_enable(std::uint16_t queue) noexcept override
    {
        rx_[queue]->interrupt.store(true);
        return 0;
    }
    int rx_irq_disable(std::uint16_t queue) noexcept override
    {
        rx_[queue]->interrupt.store(false);
        return 0;
    }

    std::uint16_t tx_burst(std::uint16_t, rte_mbuf **pkts, std::uint16_t n) noexcept override
    {
        enter();
        if (random_() % STALL_EVERY == 0) {
            stalled_ = STALL;
        }
        if (stalled_ != 0) {
            --stalled_;
            inside_ = false;
            return 0;
        }
        const auto k = static_cast<std::uint16_t>(random_() % 8 == 0 ? random_() % (n + 1U) : n);
        for (unsigned i = 0; i < k; ++i) {
            if ((tx_paths_ >> books_.receive(*pkts[i], holder_) & 1) == 0) {
                books_.complain("a packet leaves by another device than it was sent to");
            }
            sent_.push_back(pkts[i]);
            if (i == k / 2U) {
                disturb_();
            }
        }
        if (sent_.size() > RING) {
            release(sent_.size() - RING);
        }
        inside_ = false;
        return k;
    }
    bool tx_doorbell(std::uint16_t) noexcept override
    {
        enter();
        disturb_();
        const bool rung = random_() % 16 != 0;
        inside_ = false;
        return rung;
    }

private:
    static constexpr std::size_t RING = 64;
    /// Now and then it accepts nothing for so many bursts that a caller that retries gives up.
    static constexpr unsigned STALL_EVERY = 3000, STALL = 300;

    void enter()
    {
        if (inside_) {
            books_.complain("two threads in the driver");
        }
        inside_ = true;
    }
    void release(std::size_t n)
    {
        for (; n != 0; --n) {
            rte_mbuf *m = sent_.front();
            sent_.pop_front();
            books_.give(*m, holder_);
            rte_pktmbuf_free(m);
        }
    }

    ledger &books_;
    rte_mempool *const pool_;
    const unsigned holder_, rx_path_, tx_paths_;
    const std::function<void()> disturb_;
    std::vector<std::unique_ptr<rx>> rx_;
    // Accessed by the thread inside the driver. Not atomic: the tx queue's lock must protect it.
    std::deque<rte_mbuf *> sent_;
    std::minstd_rand random_;
    bool inside_ = false;
    unsigned stalled_ = 0; ///< so many more bursts are refused
};

} // namespace halfpoll::test
