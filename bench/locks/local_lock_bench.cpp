// SPDX-License-Identifier: BSD-3-Clause
// The cost of a bottom-half lock, and of mempool handlers. Runs one round of all variants, and prints one line of JSON
// (see ../scenario_local_lock.py):
//   local_lock_bench locks PAIRS WAKES
//   local_lock_bench pools ROUNDS
#include <halfpoll/eal.hpp>
#include <halfpoll/local_lock.hpp>
#include <halfpoll/napi_alloc_cache.hpp>
#include <halfpoll/runtime.hpp>
#include <halfpoll/softnet_data.hpp>

#include <rte_cycles.h>
#include <rte_mempool.h>

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace halfpoll;

namespace
{

constexpr unsigned BATCH = 256; ///< pairs between two reads of the clock; few, so that few batches are disturbed
constexpr unsigned POOL_OBJECTS = 8191, POOL_BULKS = 16;

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

double median(std::vector<double> &samples)
{
    std::nth_element(samples.begin(), samples.begin() + static_cast<long>(samples.size() / 2), samples.end());
    return samples[samples.size() / 2];
}

/// The cycles of one execution of `pair`.
template <typename F>
double batch(F pair)
{
    const std::uint64_t begun = rte_rdtsc_precise();
    for (unsigned i = 0; i < BATCH; ++i) {
        pair();
        asm volatile("" ::: "memory"); // keeps the compiler from merging pairs
    }
    return static_cast<double>(rte_rdtsc_precise() - begun) / BATCH;
}

struct cost {
    double cmpxchg, local_lock, pthread_pi;
};

const nested_bh_lock_class lock_class{"bench"};

/// Runs batches of the three variants in random order. Returns the median of each.
cost uncontended(int cpu, unsigned pairs)
{
    alignas(64) std::atomic<std::uint32_t> word{0};
    alignas(64) nested_bh_lock lock{lock_class, cpu};
    alignas(64) pthread_mutex_t mutex;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    if (pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT) != 0 || pthread_mutex_init(&mutex, &attr) != 0) {
        throw error("no priority-inheriting mutex");
    }
    std::uint32_t tid = current_tid();
    const std::array<std::function<double()>, 3> variants{
        [&] {
            return batch([&] {
                std::uint32_t free = 0, mine = tid;
                word.compare_exchange_strong(free, tid, std::memory_order_acquire, std::memory_order_relaxed);
                word.compare_exchange_strong(mine, 0, std::memory_order_release, std::memory_order_relaxed);
            });
        },
        [&] { return batch([&] { local_lock_nested_bh guard(lock); }); },
        [&] {
            return batch([&] {
                pthread_mutex_lock(&mutex);
                pthread_mutex_unlock(&mutex);
            });
        }};
    std::array<std::vector<double>, 3> samples;
    std::minstd_rand random(std::random_device{}());
    std::array<unsigned, 3> order{0, 1, 2};
    for (unsigned done = 0; done < pairs; done += BATCH) {
        std::shuffle(order.begin(), order.end(), random);
        for (const unsigned v : order) {
            samples[v].push_back(variants[v]());
        }
    }
    pthread_mutex_destroy(&mutex);
    pthread_mutexattr_destroy(&attr);
    return {median(samples[0]), median(samples[1]), median(samples[2])};
}

/// An urgent thread waits for a lock whose holder it has preempted: returns the time in us from the release until the
/// waiter has the lock. `Lock` is a PTHREAD_PRIO_INHERIT mutex or a nested_bh_lock.
template <typename Lock>
double contended_wake(runtime &rt, Lock &lock, unsigned wakes)
{
    struct waiter {
        Lock &lock;
        std::uint64_t released = 0;
        std::vector<double> us;
    } w{lock, 0, {}};
    call_single_data call;
    call.arg = &w;
    call.func = [](softnet_data &, void *arg) noexcept {
        waiter &self = *static_cast<waiter *>(arg);
        self.lock.lock();
        const std::uint64_t now = rte_rdtsc();
        self.lock.unlock();
        self.us.push_back(static_cast<double>(now - self.released) * 1e6 / static_cast<double>(rte_get_tsc_hz()));
    };
    w.us.reserve(wakes);
    for (unsigned i = 0; i < wakes; ++i) {
        while (rt.cpu(1).sleeping.load() == 0) {
            std::this_thread::yield();
        }
        std::this_thread::sleep_for(std::chrono::microseconds(100)); // until the announced sleep has begun
        rt.call_on(0, [&](softnet_data &) {
            lock.lock();
            call_on_async(rt.cpu(1), call); // CPU 1's thread preempts this one, and waits for the lock
            w.released = rte_rdtsc();
            lock.unlock();
        });
        rt.call_on(1, [](softnet_data &) {});
    }
    return median(w.us);
}

struct pthread_pi {
    pthread_mutex_t mutex;
    pthread_pi()
    {
        pthread_mutexattr_t attr;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
        pthread_mutex_init(&mutex, &attr);
        pthread_mutexattr_destroy(&attr);
    }
    ~pthread_pi() { pthread_mutex_destroy(&mutex); }
    void lock() noexcept { pthread_mutex_lock(&mutex); }
    void unlock() noexcept { pthread_mutex_unlock(&mutex); }
};

/// A pool without lcore caches: a thread reaches it when its cache is empty or full.
struct bare_pool {
    rte_mempool *pool;
    explicit bare_pool(const char *ops) : pool(rte_mempool_create_empty(ops, POOL_OBJECTS, 64, 0, 0, SOCKET_ID_ANY, 0))
    {
        if (!pool || rte_mempool_set_ops_byname(pool, ops, nullptr) != 0 || rte_mempool_populate_default(pool) < 0) {
            throw error(std::string("no pool ") + ops);
        }
    }
    ~bare_pool() { rte_mempool_free(pool); }
    bare_pool(const bare_pool &) = delete;
    bare_pool &operator=(const bare_pool &) = delete;
};

/// The cycles to take an object and to put it back, in bulks of the size by which napi_alloc_cache refills.
double bulks(rte_mempool *pool, nested_bh_lock *lock)
{
    std::array<void *, napi_alloc_cache::REFILL> objects;
    const std::uint64_t begun = rte_rdtsc_precise();
    for (unsigned i = 0; i < POOL_BULKS; ++i) {
        {
            local_lock_nested_bh guard(lock);
            if (rte_mempool_get_bulk(pool, objects.data(), objects.size()) != 0) {
                throw error("the pool is empty");
            }
        }
        local_lock_nested_bh guard(lock);
        rte_mempool_put_bulk(pool, objects.data(), objects.size());
    }
    return static_cast<double>(rte_rdtsc_precise() - begun) / (POOL_BULKS * objects.size());
}

void pools(runtime &rt, int cpu, unsigned rounds)
{
    const char *const names[] = {"ring_mp_mc", "ring_mt_rts", "stack", "lf_stack", "ring_sp_sc"};
    std::array<std::unique_ptr<bare_pool>, std::size(names)> made;
    std::transform(std::begin(names), std::end(names), made.begin(),
                   [](const char *name) { return std::make_unique<bare_pool>(name); });
    nested_bh_lock lock{lock_class, cpu};
    std::array<std::vector<double>, std::size(names)> samples;
    rt.call_on(0, [&](softnet_data &) {
        for (unsigned i = 0; i < rounds; ++i) {
            for (std::size_t p = 0; p < made.size(); ++p) {
                const std::size_t which = (p + i) % made.size();
                samples[which].push_back(bulks(made[which]->pool, which + 1 == made.size() ? &lock : nullptr));
            }
        }
    });
    std::printf("{");
    for (std::size_t p = 0; p < made.size(); ++p) {
        std::printf("%s\"%s\": %.3f", p == 0 ? "" : ", ", names[p], median(samples[p]));
    }
    std::printf("}\n");
}

void locks(runtime &rt, int cpu, unsigned pairs, unsigned wakes)
{
    cost c{};
    rt.call_on(0, [&](softnet_data &) { c = uncontended(cpu, pairs); });
    nested_bh_lock lock{lock_class, cpu};
    pthread_pi mutex;
    const double ours = contended_wake(rt, lock, wakes), theirs = contended_wake(rt, mutex, wakes);
    std::printf(
        "{\"cmpxchg\": %.3f, \"local_lock\": %.3f, \"pthread_pi\": %.3f, \"wake\": %.3f, \"pthread_wake\": %.3f}\n",
        c.cmpxchg, c.local_lock, c.pthread_pi, ours, theirs);
}

void measure(const std::vector<std::string> &args)
{
    const int cpu = first_cpu();
    eal_options eal;
    eal.control_cpu = static_cast<unsigned>(cpu);
    eal_init(eal);
    runtime_options options;
    options.cpus = {{.affinity = cpu, .fifo_priority = 10}, {.affinity = cpu, .fifo_priority = 20}};
    options.warn = [](const std::string &what) { throw error(what); };
    runtime rt(options);
    const auto number = [&](std::size_t i) {
        return static_cast<unsigned>(std::strtoul(args.at(i).c_str(), nullptr, 10));
    };
    if (args.at(0) == "locks") {
        locks(rt, cpu, number(1), number(2));
    } else {
        pools(rt, cpu, number(1));
    }
}

} // namespace

int main(int argc, char **argv)
{
    try {
        measure({argv + 1, argv + argc});
    } catch (const std::exception &e) {
        std::fprintf(stderr, "local_lock_bench: %s\n", e.what());
        return 1;
    }
    return 0;
}
