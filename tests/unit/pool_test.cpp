// SPDX-License-Identifier: BSD-3-Clause
//
// Pools and threads that preempt each other. A thread is stopped in the middle of a mempool operation, where the
// handler copies pointers: the array lies on a page that faults. Then a more urgent thread of the same CPU uses the
// pool. Where it waits for the first one by spinning, it waits for ever: here, until somebody else lends that one a
// higher priority.
#include <halfpoll/eal.hpp>
#include <halfpoll/local_lock.hpp>

#include <gtest/gtest.h>
#include <rte_mempool.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string>
#include <sys/mman.h>
#include <thread>

namespace halfpoll
{

namespace
{

constexpr unsigned OBJECTS = 1023, BULK = 8;
constexpr std::size_t PAGE = 4096;
constexpr long PATIENCE = 50'000'000; ///< ns that the urgent thread is given

/// A page that may not be touched, and what happens when it is.
struct trap {
    char *page = nullptr;
    sem_t *sprung = nullptr;
    struct sigaction before {
    };
} the_trap;

void spring(int, siginfo_t *info, void *)
{
    const auto *at = static_cast<char *>(info->si_addr);
    if (at < the_trap.page || at >= the_trap.page + PAGE) {
        sigaction(SIGSEGV, &the_trap.before, nullptr); // an accident: it happens again, and is told
        return;
    }
    mprotect(the_trap.page, PAGE, PROT_READ | PROT_WRITE);
    sem_post(the_trap.sprung); // who waits for that preempts this thread, here
}

std::string become_fifo(pthread_t thread, int priority)
{
    const sched_param param{.sched_priority = priority};
    const int rc = pthread_setschedparam(thread, SCHED_FIFO, &param);
    return rc == 0 ? "" : "SCHED_FIFO is refused here (CAP_SYS_NICE)";
}

int first_cpu()
{
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    int cpu = 0;
    while (!CPU_ISSET(static_cast<unsigned>(cpu), &set)) {
        ++cpu;
    }
    return cpu;
}

enum class operation { put, get };

class preempted_pool : public testing::Test
{
protected:
    void SetUp() override
    {
        sem_init(&sprung_, 0, 0);
        sem_init(&done_, 0, 0);
        void *two = mmap(nullptr, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(two, MAP_FAILED);
        array_ = static_cast<char *>(two) + PAGE - BULK / 2 * sizeof(void *); // half of it on the second page
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

    static rte_mempool *bare_pool(const char *ops)
    {
        rte_mempool *pool = rte_mempool_create_empty("preempted", OBJECTS, 64, 0, 0, SOCKET_ID_ANY, 0);
        EXPECT_NE(pool, nullptr);
        EXPECT_EQ(rte_mempool_set_ops_byname(pool, ops, nullptr), 0) << ops;
        EXPECT_EQ(rte_mempool_populate_default(pool), static_cast<int>(OBJECTS));
        return pool;
    }

    /// Whether an urgent thread that takes and gives back BULK objects `rounds` times was still not done after
    /// PATIENCE, when it came while another thread of its CPU was preempted in `where`. All objects are there in the
    /// end.
    bool stalls(rte_mempool *pool, operation where, unsigned rounds)
    {
        void **objects = reinterpret_cast<void **>(array_);
        const unsigned all = rte_mempool_avail_count(pool);
        std::atomic<bool> ready{false};
        std::thread urgent([&] {
            cpu_pin pin(cpu_);
            refused_ = become_fifo(pthread_self(), 20);
            ready = true;
            sem_wait(&sprung_);
            std::array<void *, BULK> mine;
            for (unsigned i = 0; i < rounds && rte_mempool_get_bulk(pool, mine.data(), BULK) == 0; ++i) {
                rte_mempool_put_bulk(pool, mine.data(), BULK);
            }
            sem_post(&done_);
        });
        while (!ready) {
            std::this_thread::yield();
        }
        std::thread preempted([&] {
            cpu_pin pin(cpu_);
            become_fifo(pthread_self(), 10);
            if (where == operation::put) {
                EXPECT_EQ(rte_mempool_get_bulk(pool, objects, BULK), 0);
            }
            mprotect(the_trap.page, PAGE, PROT_NONE);
            if (where == operation::put) {
                rte_mempool_put_bulk(pool, objects, BULK);
            } else {
                EXPECT_EQ(rte_mempool_get_bulk(pool, objects, BULK), 0);
                rte_mempool_put_bulk(pool, objects, BULK);
            }
        });
        timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PATIENCE;
        until.tv_sec += until.tv_nsec / 1'000'000'000;
        until.tv_nsec %= 1'000'000'000;
        const bool stalled = sem_timedwait(&done_, &until) != 0;
        if (stalled) {
            become_fifo(preempted.native_handle(), 30); // it gets the CPU, and leaves the operation
            sem_wait(&done_);
        }
        preempted.join();
        urgent.join();
        EXPECT_EQ(rte_mempool_avail_count(pool), all);
        return stalled;
    }

    std::string refused_;

private:
    const int cpu_ = first_cpu();
    sem_t sprung_, done_;
    char *array_ = nullptr;
};

/// What DPDK does by default, and its other handlers that wait.
TEST_F(preempted_pool, plain_handlers_stall_an_urgent_thread)
{
    for (const char *ops : {"ring_mp_mc", "ring_mt_hts", "stack"}) {
        rte_mempool *pool = bare_pool(ops);
        for (const operation where : {operation::put, operation::get}) {
            const bool stalled = stalls(pool, where, 1);
            if (!refused_.empty()) {
                rte_mempool_free(pool);
                GTEST_SKIP() << refused_;
            }
            EXPECT_TRUE(stalled) << ops << (where == operation::put ? " put" : " get");
        }
        rte_mempool_free(pool);
    }
}

/// Overtakes a preempted thread, but not by more than an eighth of the ring.
TEST_F(preempted_pool, a_relaxed_ring_stalls_later)
{
    rte_mempool *pool = bare_pool("ring_mt_rts");
    const bool at_once = stalls(pool, operation::put, 1), later = stalls(pool, operation::put, OBJECTS);
    rte_mempool_free(pool);
    if (!refused_.empty()) {
        GTEST_SKIP() << refused_;
    }
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
    if (!refused_.empty()) {
        GTEST_SKIP() << refused_;
    }
}

} // namespace

} // namespace halfpoll
