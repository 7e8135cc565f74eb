// SPDX-License-Identifier: BSD-3-Clause
//
// DPDK's pools and drivers under threads that preempt each other. A thread is stopped in the middle of an operation of
// a mempool or a driver, where pointers are copied: their array lies on a page that faults. Then a more urgent thread
// of the same CPU uses the pool or the driver. If it spins until the first thread goes on, it spins for ever; here, the
// test then raises the first thread's priority.
#include "priorities.hpp"

#include <halfpoll/eal.hpp>
#include <halfpoll/ethdev.hpp>
#include <halfpoll/local_lock.hpp>
#include <halfpoll/net_core.hpp>
#include <halfpoll/softnet_data.hpp>

#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <pthread.h>
#include <semaphore.h>
#include <string>
#include <sys/mman.h>
#include <thread>

namespace halfpoll
{

namespace
{

using namespace test;

constexpr unsigned OBJECTS = 1023, BULK = 8;
constexpr std::size_t PAGE = 4096;
constexpr long PATIENCE = 100'000'000; ///< CPU time in ns that the urgent thread may use

/// A page without access rights, and the data of its signal handler.
struct trap {
    char *page = nullptr;
    sem_t *sprung = nullptr;
    struct sigaction before {
    };
} the_trap;
std::atomic<bool> sprung; ///< since arm(): a thread was stopped by the trap

void spring(int, siginfo_t *info, void *)
{
    const auto *at = static_cast<char *>(info->si_addr);
    if (at < the_trap.page || at >= the_trap.page + PAGE) {
        sigaction(SIGSEGV, &the_trap.before, nullptr); // not the trap: the access faults again and ends the program
        return;
    }
    mprotect(the_trap.page, PAGE, PROT_READ | PROT_WRITE);
    sprung = true;
    sem_post(the_trap.sprung); // wakes the urgent thread, which preempts this one here
}

/// Stops a thread in the middle of an operation on an array.
class preempted_operation : public testing::Test
{
protected:
    void SetUp() override
    {
        sem_init(&sprung_, 0, 0);
        sem_init(&done_, 0, 0);
        void *two = mmap(nullptr, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(two, MAP_FAILED);
        the_trap = {.page = static_cast<char *>(two) + PAGE, .sprung = &sprung_};
        struct sigaction action {
        };
        action.sa_sigaction = spring;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, &the_trap.before);
    }
    void TearDown() override
    {
        sigaction(SIGSEGV, &the_trap.before, nullptr);
        munmap(the_trap.page - PAGE, 2 * PAGE);
        sem_destroy(&sprung_);
        sem_destroy(&done_);
    }
    /// An array of n pointers; after arm(), access to its second half springs the trap.
    static void **pointers(unsigned n) { return reinterpret_cast<void **>(the_trap.page - n / 2 * sizeof(void *)); }
    static void arm() { mprotect(the_trap.page, PAGE, PROT_NONE); }

    /// `low` and `high` are the operations of a less and a more urgent thread, which pin themselves to `cpu`. `high`
    /// calls its argument when it is prepared, and continues when the other thread was stopped. Returns true if `high`
    /// had not finished after PATIENCE of its own CPU time: other threads that need the CPU do not matter.
    template <typename Low, typename High>
    bool stalls(Low low, High high)
    {
        std::atomic<bool> ready{false};
        std::thread urgent([&] {
            high([&] {
                refused = become_fifo(pthread_self(), 20);
                ready = true;
                sem_wait(&sprung_);
            });
            sem_post(&done_);
        });
        while (!ready) {
            std::this_thread::yield();
        }
        sprung = false;
        std::thread preempted([&] { low([] { become_fifo(pthread_self(), 10); }); });
        // The priority of `preempted` must not be raised before: become_fifo(10) in `low` would lower it again.
        EXPECT_TRUE(eventually([] { return sprung.load(); }));
        bool done = false;
        EXPECT_TRUE(eventually([&] {
            done = sem_trywait(&done_) == 0;
            return done || computed(urgent) > PATIENCE;
        }));
        if (!done) {
            become_fifo(preempted.native_handle(), 30); // it gets the CPU and leaves the operation
            sem_wait(&done_);
        }
        preempted.join();
        urgent.join();
        return !done;
    }

    const int cpu = first_cpu();
    std::string refused;

private:
    /// CPU time of the thread in ns; 0 if it has ended.
    static long computed(std::thread &thread)
    {
        clockid_t clock;
        timespec now;
        const bool runs = pthread_getcpuclockid(thread.native_handle(), &clock) == 0 && clock_gettime(clock, &now) == 0;
        return runs ? now.tv_sec * 1'000'000'000 + now.tv_nsec : 0;
    }
    sem_t sprung_, done_;
};

enum class operation { put, get };

class preempted_pool : public preempted_operation
{
protected:
    static rte_mempool *bare_pool(const char *ops)
    {
        rte_mempool *pool = rte_mempool_create_empty("preempted", OBJECTS, 64, 0, 0, SOCKET_ID_ANY, 0);
        EXPECT_NE(pool, nullptr);
        EXPECT_EQ(rte_mempool_set_ops_byname(pool, ops, nullptr), 0) << ops;
        EXPECT_EQ(rte_mempool_populate_default(pool), static_cast<int>(OBJECTS));
        return pool;
    }

    /// Stops one thread of a CPU in `where`. Returns true if an urgent thread of that CPU, which takes and gives back
    /// BULK objects `rounds` times, stalls. All objects are in the pool at the end.
    bool stalls(rte_mempool *pool, operation where, unsigned rounds)
    {
        void **objects = pointers(BULK);
        const unsigned all = rte_mempool_avail_count(pool);
        const auto low = [&](auto prepared) {
            cpu_pin pin(cpu);
            prepared();
            if (where == operation::put) {
                EXPECT_EQ(rte_mempool_get_bulk(pool, objects, BULK), 0);
            }
            arm();
            if (where == operation::get) {
                EXPECT_EQ(rte_mempool_get_bulk(pool, objects, BULK), 0);
            }
            rte_mempool_put_bulk(pool, objects, BULK);
        };
        const auto high = [&](auto prepared) {
            cpu_pin pin(cpu);
            prepared();
            std::array<void *, BULK> mine;
            for (unsigned i = 0; i < rounds && rte_mempool_get_bulk(pool, mine.data(), BULK) == 0; ++i) {
                rte_mempool_put_bulk(pool, mine.data(), BULK);
            }
        };
        const bool stalled = preempted_operation::stalls(low, high);
        EXPECT_EQ(rte_mempool_avail_count(pool), all);
        return stalled;
    }
};

/// DPDK's default handler, and its other handlers that wait for a preempted thread.
TEST_F(preempted_pool, plain_handlers_stall_an_urgent_thread)
{
    for (const char *ops : {"ring_mp_mc", "ring_mt_hts", "stack"}) {
        rte_mempool *pool = bare_pool(ops);
        for (const operation where : {operation::put, operation::get}) {
            const bool stalled = stalls(pool, where, 1);
            EXPECT_TRUE(stalled || !refused.empty()) << ops << (where == operation::put ? " put" : " get");
        }
        rte_mempool_free(pool);
    }
    SKIP_WITHOUT_FIFO();
}

/// It overtakes a preempted thread, but by at most an eighth of the ring.
TEST_F(preempted_pool, a_relaxed_ring_stalls_later)
{
    rte_mempool *pool = bare_pool("ring_mt_rts");
    const bool at_once = stalls(pool, operation::put, 1), later = stalls(pool, operation::put, OBJECTS);
    rte_mempool_free(pool);
    SKIP_WITHOUT_FIFO();
    EXPECT_FALSE(at_once);
    EXPECT_TRUE(later);
}

TEST_F(preempted_pool, a_packet_pool_for_preempted_threads_does_not)
{
    rte_mempool *pool = packet_pool_create("preempted_packets", OBJECTS, 2176, 0, pool_users::preempted);
    for (const operation where : {operation::put, operation::get}) {
        EXPECT_FALSE(stalls(pool, where, 10 * OBJECTS)) << (where == operation::put ? "put" : "get");
    }
    packet_pool_free(pool);
    SKIP_WITHOUT_FIFO();
}

/// A poll-mode driver whose tx queue is a multi-producer ring (net_ring).
class preempted_driver : public preempted_operation
{
protected:
    void SetUp() override
    {
        preempted_operation::SetUp();
        pool_ = packet_pool_create("preempted_driver", OBJECTS, 512, 0, pool_users::preempted);
        ring_ = rte_ring_create("preempted_driver", 256, SOCKET_ID_ANY, 0);
        ASSERT_NE(ring_, nullptr);
        empty_ = rte_ring_create("preempted_empty", 64, SOCKET_ID_ANY, 0);
        static int serial = 0; // closing a device does not free its name
        port_ = rte_eth_from_rings(("preempted" + std::to_string(serial++)).c_str(), &empty_, 1, &ring_, 1, 0);
        ASSERT_GE(port_, 0);
    }
    void TearDown() override
    {
        void *m;
        while (rte_ring_dequeue(ring_, &m) == 0) {
            rte_pktmbuf_free(static_cast<rte_mbuf *>(m));
        }
        EXPECT_EQ(rte_mempool_avail_count(pool_), OBJECTS) << "packets leaked";
        rte_ring_free(ring_);
        rte_ring_free(empty_);
        packet_pool_free(pool_);
        preempted_operation::TearDown();
    }
    void alloc(rte_mbuf **pkts, unsigned n) const
    {
        ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_, pkts, n), 0);
        for (unsigned i = 0; i < n; ++i) {
            rte_pktmbuf_append(pkts[i], 60);
        }
    }
    std::uint16_t port_id() const { return static_cast<std::uint16_t>(port_); }

    rte_mempool *pool_ = nullptr;
    rte_ring *ring_ = nullptr, *empty_ = nullptr;
    int port_ = -1;
};

TEST_F(preempted_driver, stalls_an_urgent_thread)
{
    auto **pkts = reinterpret_cast<rte_mbuf **>(pointers(NET_BURST));
    rte_mbuf *urgent = nullptr;
    alloc(pkts, NET_BURST);
    alloc(&urgent, 1);
    rte_eth_conf conf{};
    ASSERT_EQ(rte_eth_dev_configure(port_id(), 1, 1, &conf), 0);
    ASSERT_EQ(rte_eth_rx_queue_setup(port_id(), 0, 64, 0, nullptr, pool_), 0);
    ASSERT_EQ(rte_eth_tx_queue_setup(port_id(), 0, 64, 0, nullptr), 0);
    ASSERT_EQ(rte_eth_dev_start(port_id()), 0);
    const bool stalled = stalls(
        [&](auto prepared) {
            cpu_pin pin(cpu);
            prepared();
            arm();
            EXPECT_EQ(rte_eth_tx_burst(port_id(), 0, pkts, NET_BURST), NET_BURST);
        },
        [&](auto prepared) {
            cpu_pin pin(cpu);
            prepared();
            EXPECT_EQ(rte_eth_tx_burst(port_id(), 0, &urgent, 1), 1);
        });
    EXPECT_EQ(rte_ring_count(ring_), NET_BURST + 1);
    rte_eth_dev_stop(port_id());
    rte_eth_dev_close(port_id());
    SKIP_WITHOUT_FIFO();
    EXPECT_TRUE(stalled);
}

/// Mode `nested`: the urgent thread waits for the lock of the tx queue, and the thread inside the driver leaves it at
/// the lent priority.
TEST_F(preempted_driver, under_the_lock_of_the_tx_queue_does_not)
{
    runtime_options options;
    options.exclusion = exclusion_mode::nested;
    options.cpus = {{.affinity = cpu}, {.affinity = cpu}};
    runtime rt(options);
    net_core core(rt, pool_);
    net_device &dev = core.register_netdevice(make_ethdev_port("port:" + std::to_string(port_)), {.name = "ring"});
    ASSERT_TRUE(eventually([&] { return dev.running.load(); }));
    auto **pkts = reinterpret_cast<rte_mbuf **>(pointers(NET_BURST));
    rte_mbuf *urgent = nullptr;
    alloc(pkts, NET_BURST);
    alloc(&urgent, 1);
    const bool stalled = stalls(
        [&](auto prepared) {
            cpu_attachment attached(rt, 0);
            prepared();
            bh_section bh(rt.cpu(0));
            arm();
            // A whole burst goes straight to the driver.
            dev_queue_xmit(core.cpu(0), dev, pkts, NET_BURST, NET_BURST * 60);
            net_poll_end(core.cpu(0));
        },
        [&](auto prepared) {
            cpu_attachment attached(rt, 1);
            prepared();
            bh_section bh(rt.cpu(1));
            dev_queue_xmit(core.cpu(1), dev, &urgent, 1);
            net_poll_end(core.cpu(1));
        });
    EXPECT_EQ(rte_ring_count(ring_), NET_BURST + 1);
    SKIP_WITHOUT_FIFO();
    EXPECT_FALSE(stalled);
}

} // namespace

} // namespace halfpoll
