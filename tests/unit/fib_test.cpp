// SPDX-License-Identifier: BSD-3-Clause
#include "forward/tables/fib.hpp"
#include "grace.hpp"
#include "optimized.hpp"

#include <halfpoll/error.hpp>

#include <gtest/gtest.h>
#include <rte_rcu_qsbr.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <thread>

using namespace halfpoll;

namespace
{

using test::grace;

/// An IPv4 address as a key of 16 bytes, so that one model serves both families.
struct key4 {
    using fib = fib4;
    using addr = std::uint32_t;
    static constexpr unsigned bits = 32;
    static bool bit(addr a, unsigned i) { return a >> (31 - i) & 1; }
    static addr with_bit(addr a, unsigned i, bool on)
    {
        const addr m = addr{1} << (31 - i);
        return on ? a | m : a & ~m;
    }
};
struct key6 {
    using fib = fib6;
    using addr = ip6_addr;
    static constexpr unsigned bits = 128;
    static bool bit(const addr &a, unsigned i) { return a[i / 8] >> (7 - i % 8) & 1; }
    static addr with_bit(addr a, unsigned i, bool on)
    {
        const auto m = static_cast<std::uint8_t>(1U << (7 - i % 8));
        a[i / 8] = static_cast<std::uint8_t>(on ? a[i / 8] | m : a[i / 8] & ~m);
        return a;
    }
};

template <typename K>
typename K::addr masked(typename K::addr a, unsigned len)
{
    for (unsigned i = len; i < K::bits; i++) {
        a = K::with_bit(a, i, false);
    }
    return a;
}

/// The reference table: a lookup compares every prefix.
template <typename K>
struct model {
    std::map<std::pair<unsigned, typename K::addr>, std::uint32_t> prefixes;

    std::uint32_t lookup(const typename K::addr &a, std::uint32_t fallback) const
    {
        for (auto it = prefixes.rbegin(); it != prefixes.rend(); ++it) {
            if (masked<K>(a, it->first.first) == it->first.second) {
                return it->second;
            }
        }
        return fallback;
    }
};

/// Random addresses close to few prefixes, so that prefixes nest, and lengths that include the edges.
template <typename K>
struct source {
    std::mt19937_64 random;
    typename K::addr addr()
    {
        typename K::addr a{};
        const unsigned free = random() % 4 == 0 ? K::bits : 12;
        for (unsigned i = 0; i < K::bits; i++) {
            const bool spread = i < 3 || (i >= 20 && i < 20 + free) || i + 5 >= K::bits;
            a = K::with_bit(a, i, spread && random() % 2);
        }
        return a;
    }
    unsigned len()
    {
        constexpr unsigned edges[] = {0, 1, 8, 16, 23, 24, 25, 31, 32};
        const std::uint64_t r = random();
        return r % 3 == 0   ? edges[r / 3 % std::size(edges)]
               : r % 3 == 1 ? K::bits - (r / 3) % 10
                            : static_cast<unsigned>((r / 3) % (K::bits + 1));
    }
};

template <typename K>
class fib_test : public testing::Test
{
};
using families = testing::Types<key4, key6>;
TYPED_TEST_SUITE(fib_test, families);

template <typename K>
void expect_same(const typename K::fib &fib, const model<K> &naive, source<K> &draw, std::uint32_t fallback)
{
    std::vector<typename K::addr> addrs;
    for (unsigned i = 0; i < 70; i++) {
        addrs.push_back(draw.addr());
    }
    for (const auto &[key, nexthop] : naive.prefixes) { // first and last address of some prefixes
        if (draw.random() % 8 == 0) {
            typename K::addr last = key.second;
            for (unsigned i = key.first; i < K::bits; i++) {
                last = K::with_bit(last, i, true);
            }
            addrs.push_back(key.second);
            addrs.push_back(last);
        }
    }
    std::vector<std::uint32_t> found(addrs.size());
    fib.lookup_bulk(addrs.data(), found.data(), static_cast<unsigned>(addrs.size()));
    for (std::size_t i = 0; i < addrs.size(); i++) {
        ASSERT_EQ(found[i], fib.lookup(addrs[i]));
        if (K::bits == 32 && found[i] == fallback) { // the index that stands for the default route
            fib.find({}, 0, found[i]);
        }
        ASSERT_EQ(found[i], naive.lookup(addrs[i], fallback));
    }
}

TYPED_TEST(fib_test, agrees_with_a_linear_search_through_random_changes)
{
    using K = TypeParam;
    grace period;
    constexpr std::uint32_t fallback = 7;
    typename K::fib fib(period.retire(), fallback);
    model<K> naive;
    source<K> draw{std::mt19937_64(20221111)};
    for (unsigned step = 0; step < (test::optimized ? 4000U : 1000U); step++) {
        const auto addr = draw.addr();
        const unsigned len = draw.len();
        const std::pair key{len, masked<K>(addr, len)};
        const auto nexthop = static_cast<std::uint32_t>(fallback + 1 + draw.random() % ((1U << 24) - fallback - 1));
        const unsigned action = draw.random() % 8;
        if (action < 4) {
            fib.insert(addr, len, nexthop);
            naive.prefixes[key] = nexthop;
        } else if (action < 5) {
            ASSERT_EQ(fib.remove(addr, len), naive.prefixes.erase(key) == 1);
        } else if (!naive.prefixes.empty()) { // an existing prefix
            auto it = std::next(naive.prefixes.begin(), static_cast<long>(draw.random() % naive.prefixes.size()));
            if (action == 5) {
                fib.insert(it->first.second, it->first.first, nexthop);
                it->second = nexthop;
            } else {
                ASSERT_TRUE(fib.remove(it->first.second, it->first.first));
                naive.prefixes.erase(it);
            }
        }
        if (step % 20 == 0) {
            ASSERT_NO_FATAL_FAILURE(expect_same<K>(fib, naive, draw, fallback)) << "step " << step;
        }
        if (step % 97 == 0) {
            period.pass();
        }
    }
    ASSERT_EQ(fib.size(), naive.prefixes.size());
    std::size_t seen = 0;
    fib.for_each([&](const typename K::addr &addr, unsigned len, std::uint32_t nexthop) {
        const auto it = naive.prefixes.find({len, addr});
        ASSERT_NE(it, naive.prefixes.end());
        ASSERT_EQ(it->second, nexthop);
        std::uint32_t found = ~nexthop;
        ASSERT_TRUE(fib.find(addr, len, found));
        ASSERT_EQ(found, nexthop);
        seen++;
    });
    ASSERT_EQ(seen, naive.prefixes.size());
    while (!naive.prefixes.empty()) {
        ASSERT_TRUE(fib.remove(naive.prefixes.begin()->first.second, naive.prefixes.begin()->first.first));
        naive.prefixes.erase(naive.prefixes.begin());
    }
    expect_same<K>(fib, naive, draw, fallback);
}

TYPED_TEST(fib_test, a_full_table_refuses_and_stays_as_it_was)
{
    using K = TypeParam;
    grace period;
    constexpr unsigned groups = 13; // one /128 needs as many groups
    typename K::fib fib(period.retire(), 0, groups);
    typename K::addr addr{};
    unsigned added = 0;
    const auto nth = [](unsigned i) {
        typename K::addr a{};
        for (unsigned b = 0; b < 10; b++) {
            a = K::with_bit(a, 10 + b, i >> b & 1);
        }
        return a;
    };
    fib.insert(addr, 8, 1);
    try {
        for (; added < 2 * groups; added++) {
            fib.insert(nth(added), K::bits, 2);
        }
        FAIL() << "not refused";
    } catch (const error &) {
    }
    ASSERT_EQ(added, K::bits == 32 ? groups : 1);
    ASSERT_EQ(fib.size(), 1U + added);
    ASSERT_EQ(fib.lookup(nth(added)), 1U);
    ASSERT_EQ(fib.lookup(nth(0)), 2U);
    fib.insert(nth(0), K::bits, 3); // replacing needs no room
    ASSERT_TRUE(fib.remove(nth(0), K::bits));
    EXPECT_THROW(fib.insert(nth(added), K::bits, 2), error) << "a group was used again before its grace period";
    period.pass();
    fib.insert(nth(added), K::bits, 2);
    ASSERT_EQ(fib.lookup(nth(added)), 2U);
    ASSERT_EQ(fib.lookup(nth(0)), 1U);
}

TYPED_TEST(fib_test, refuses_what_is_out_of_range)
{
    using K = TypeParam;
    grace period;
    typename K::fib fib(period.retire());
    EXPECT_THROW(fib.insert({}, K::bits + 1, 1), error);
    EXPECT_THROW(fib.insert({}, 8, 1U << 24), error);
    EXPECT_FALSE(fib.remove({}, K::bits + 1));
    std::uint32_t nexthop;
    EXPECT_FALSE(fib.find({}, K::bits + 1, nexthop));
    EXPECT_EQ(fib.size(), 0U);
}

/// A QSBR variable with one registered reader, and a retire function that waits for it.
class readers
{
public:
    readers()
    {
        const std::size_t size = rte_rcu_qsbr_get_memsize(1);
        qsbr_.reset(static_cast<rte_rcu_qsbr *>(std::aligned_alloc(64, (size + 63) / 64 * 64)));
        if (rte_rcu_qsbr_init(qsbr_.get(), 1) != 0 || rte_rcu_qsbr_thread_register(qsbr_.get(), 0) != 0) {
            std::abort();
        }
    }
    rte_rcu_qsbr *get() { return qsbr_.get(); }
    std::function<void(std::function<void()>)> retire()
    {
        return [this](std::function<void()> fn) { waiting_.emplace_back(rte_rcu_qsbr_start(get()), std::move(fn)); };
    }
    void reclaim()
    {
        while (!waiting_.empty() && rte_rcu_qsbr_check(get(), waiting_.front().first, false) == 1) {
            waiting_.front().second();
            waiting_.pop_front();
        }
    }

private:
    std::unique_ptr<rte_rcu_qsbr, void (*)(void *)> qsbr_{nullptr, std::free};
    std::deque<std::pair<std::uint64_t, std::function<void()>>> waiting_;
};

/// Room for two groups, and prefixes that come and go: a reader of an address whose next hop is always 1 must never see
/// the next hops that other prefixes write into a group that this address's entry has just left.
TYPED_TEST(fib_test, a_reader_never_sees_a_group_used_again)
{
    using K = TypeParam;
    readers rcu;
    typename K::fib fib(rcu.retire(), 0, 26);
    const typename K::addr here = K::with_bit({}, 1, true), there = K::with_bit({}, 2, true);
    fib.insert(here, 3, 1);
    const typename K::addr beside = K::with_bit(here, K::bits - 1, true);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> looked{0}, wrong{0};
    std::thread reader([&] {
        rte_rcu_qsbr_thread_online(rcu.get(), 0);
        while (!stop.load(std::memory_order_relaxed)) {
            typename K::addr addrs[32];
            std::uint32_t nexthops[32];
            std::fill(std::begin(addrs), std::end(addrs), here);
            fib.lookup_bulk(addrs, nexthops, 32);
            wrong += static_cast<std::uint64_t>(std::count_if(nexthops, nexthops + 32, [](auto n) { return n != 1; }));
            looked += 32;
            rte_rcu_qsbr_quiescent(rcu.get(), 0);
        }
        rte_rcu_qsbr_thread_offline(rcu.get(), 0);
    });
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
    unsigned rounds = 0, refused = 0;
    while (std::chrono::steady_clock::now() < end || looked == 0 || rounds == 0) {
        try {
            fib.insert(beside, K::bits, 2); // puts groups below `here`
            fib.remove(beside, K::bits);    // unlinks them
            fib.insert(there, K::bits, 3);  // takes them for itself if they are already free
            fib.insert(K::with_bit(there, K::bits - 1, true), K::bits - 1, 4);
            fib.remove(K::with_bit(there, K::bits - 1, true), K::bits - 1);
            fib.remove(there, K::bits);
            rounds++;
        } catch (const error &) {
            fib.remove(there, K::bits);
            refused++;
            std::this_thread::yield();
        }
        rcu.reclaim();
    }
    stop = true;
    reader.join();
    EXPECT_EQ(wrong.load(), 0U) << "of " << looked.load();
    (void)refused;
}

TEST(fib4_default, is_told_and_not_painted)
{
    grace period;
    fib4 fib(period.retire(), 5);
    std::vector<std::pair<bool, std::uint32_t>> told;
    fib.on_default = [&](bool exists, std::uint32_t nexthop) { told.emplace_back(exists, exists ? nexthop : 0); };
    fib.insert(0x0A000000, 8, 6);
    fib.insert(0x0A000001, 32, 7);
    fib.insert(0xC0000201, 32, 8);
    fib.insert(0, 0, 9);
    fib.insert(0, 0, 10);
    EXPECT_EQ(fib.lookup(0x08080808), 5U);
    EXPECT_EQ(fib.lookup(0xC0000202), 5U) << "beside a longer prefix too";
    EXPECT_EQ(fib.lookup(0x0A000002), 6U);
    std::uint32_t found = 0;
    EXPECT_TRUE(fib.find(0, 0, found));
    EXPECT_EQ(found, 10U);
    EXPECT_EQ(fib.size(), 4U);
    EXPECT_TRUE(fib.remove(0x0A000000, 8));
    EXPECT_EQ(fib.lookup(0x0A000002), 5U) << "the default route shows through";
    EXPECT_TRUE(fib.remove(0, 0));
    EXPECT_FALSE(fib.remove(0, 0));
    EXPECT_EQ(told, (std::vector<std::pair<bool, std::uint32_t>>{{true, 9}, {true, 10}, {false, 0}}));
}

TEST(fib4_size, a_million_routes)
{
    grace period;
    fib4 fib(period.retire());
    std::mt19937 random(1);
    const auto start = std::chrono::steady_clock::now();
    while (fib.size() < 1'000'000) {
        fib.insert(static_cast<std::uint32_t>(random()), 16 + random() % 9, 1 + random() % 1000);
    }
    const auto took = std::chrono::steady_clock::now() - start;
    RecordProperty("milliseconds",
                   static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
}

} // namespace
