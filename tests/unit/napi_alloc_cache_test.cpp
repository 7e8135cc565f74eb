// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/eal.hpp>
#include <halfpoll/napi_alloc_cache.hpp>
#include <halfpoll/runtime.hpp>

#include <gtest/gtest.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstdint>
#include <set>
#include <vector>

using namespace halfpoll;

namespace
{

class napi_alloc_cache_test : public testing::Test
{
protected:
    void SetUp() override { pool_ = packet_pool_create("alloc_cache_test", COUNT, 2176, 0); }
    void TearDown() override
    {
        EXPECT_EQ(rte_mempool_avail_count(pool_), COUNT) << "packets leaked";
        packet_pool_free(pool_);
    }
    static constexpr unsigned COUNT = 1000;
    rte_mempool *pool_ = nullptr;
};

TEST_F(napi_alloc_cache_test, RefillsInBulkAndGivesEverythingBack)
{
    napi_alloc_cache cache(pool_);
    rte_mbuf *m;
    ASSERT_TRUE(cache.alloc_raw(&m, 1));
    EXPECT_EQ(rte_mempool_avail_count(pool_), COUNT - napi_alloc_cache::REFILL);
    EXPECT_EQ(rte_mbuf_refcnt_read(m), 1);
    EXPECT_EQ(m->next, nullptr);
    cache.free(&m, 1);
    EXPECT_EQ(rte_mempool_avail_count(pool_), COUNT - napi_alloc_cache::REFILL) << "kept";
    cache.drain();
    EXPECT_EQ(rte_mempool_avail_count(pool_), COUNT);
}

TEST_F(napi_alloc_cache_test, AllOrNoneDownToTheLastPacket)
{
    napi_alloc_cache cache(pool_);
    std::vector<rte_mbuf *> pkts(COUNT);
    for (unsigned i = 0; i < COUNT; i += 100) {
        ASSERT_TRUE(cache.alloc_raw(&pkts[i], 100)) << i;
    }
    EXPECT_EQ(std::set<rte_mbuf *>(pkts.begin(), pkts.end()).size(), COUNT) << "none twice";
    rte_mbuf *m;
    EXPECT_FALSE(cache.alloc_raw(&m, 1));
    EXPECT_EQ(cache.alloc_failures(), 1U);
    cache.free(pkts.data(), COUNT);
    EXPECT_TRUE(cache.alloc_raw(&m, 1));
    cache.free(&m, 1);
}

TEST_F(napi_alloc_cache_test, SpillsWhenFullAndKeepsMost)
{
    napi_alloc_cache cache(pool_);
    std::vector<rte_mbuf *> pkts(napi_alloc_cache::CAPACITY + 1);
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool_, pkts.data(), static_cast<unsigned>(pkts.size())), 0);
    cache.free(pkts.data(), static_cast<unsigned>(pkts.size()));
    EXPECT_EQ(rte_mempool_avail_count(pool_), COUNT - (napi_alloc_cache::CAPACITY + 1 - napi_alloc_cache::REFILL));
}

TEST_F(napi_alloc_cache_test, ChainsClonesAndStrangersGoWhereTheyBelong)
{
    rte_mempool *other = packet_pool_create("alloc_cache_other", 63, 2176, 0);
    {
        napi_alloc_cache cache(pool_);
        rte_mbuf *head = rte_pktmbuf_alloc(pool_), *tail = rte_pktmbuf_alloc(pool_);
        ASSERT_EQ(rte_pktmbuf_chain(head, tail), 0);
        rte_mbuf *stranger = rte_pktmbuf_alloc(other);
        rte_mbuf *original = rte_pktmbuf_alloc(other);
        rte_mbuf *clone = rte_pktmbuf_clone(original, pool_);
        rte_mbuf *shared = rte_pktmbuf_alloc(pool_);
        rte_mbuf_refcnt_update(shared, 1);
        rte_mbuf *all[] = {head, stranger, clone, shared};
        cache.free(all, 4);
        EXPECT_EQ(rte_mempool_avail_count(other), 62U) << "the stranger is home, the original is still held";
        EXPECT_EQ(rte_mbuf_refcnt_read(original), 1) << "the clone let go";
        EXPECT_EQ(rte_mbuf_refcnt_read(shared), 1);
        rte_mbuf *again[3];
        ASSERT_TRUE(cache.alloc_raw(again, 3)); // `head`, `tail` and the former clone
        for (rte_mbuf *m : again) {
            EXPECT_EQ(m->next, nullptr);
            EXPECT_EQ(m->nb_segs, 1);
            EXPECT_FALSE(RTE_MBUF_CLONED(m));
        }
        cache.free(again, 3);
        rte_mbuf *rest[] = {shared, original};
        cache.free(rest, 2);
    }
    EXPECT_EQ(rte_mempool_avail_count(other), 63U);
    packet_pool_free(other);
}

#ifndef NDEBUG
/// A thread that is in no section of the cache's CPU.
TEST_F(napi_alloc_cache_test, AForeignThreadIsToldSo)
{
    testing::GTEST_FLAG(death_test_style) = "threadsafe";
    runtime rt(runtime_options{});
    napi_alloc_cache cache(pool_, &rt.cpu(0));
    rte_mbuf *m = rte_pktmbuf_alloc(pool_);
    EXPECT_DEATH(cache.free(&m, 1), "at_home");
    EXPECT_DEATH(cache.alloc_raw(&m, 1), "at_home");
    rt.call_on(0, [&](softnet_data &) { cache.free(&m, 1); });
    EXPECT_EQ(cache.count(), 1U);
}
#endif

TEST(packet_pool, IsOneAlignedRegionThatHoldsEveryPacket)
{
    rte_mempool *pool = packet_pool_create("region_test", 2047, 2176);
    const pool_region region = packet_pool_region(pool);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region.base) % 4096, 0U);
    const auto first = reinterpret_cast<std::uintptr_t>(region.base), end = first + region.length;
    std::vector<rte_mbuf *> pkts(2047);
    ASSERT_EQ(rte_pktmbuf_alloc_bulk(pool, pkts.data(), 2047), 0);
    for (rte_mbuf *m : pkts) {
        const auto p = reinterpret_cast<std::uintptr_t>(m);
        EXPECT_TRUE(p >= first && p < end);
        EXPECT_TRUE(reinterpret_cast<std::uintptr_t>(m->buf_addr) + m->buf_len <= end);
        EXPECT_EQ(m->buf_len, 2176);
    }
    rte_pktmbuf_free_bulk(pkts.data(), 2047);
    packet_pool_free(pool);
}

TEST(packet_pool, SaysWhatIsWrong)
{
    try {
        packet_pool_create("too_big", 1'000'000, 2176);
        FAIL() << "made";
    } catch (const error &e) {
        EXPECT_NE(std::string(e.what()).find("too_big"), std::string::npos) << e.what();
    }
    rte_mempool *plain = rte_pktmbuf_pool_create("plain", 63, 0, 0, 2176, SOCKET_ID_ANY);
    ASSERT_NE(plain, nullptr);
    EXPECT_THROW(packet_pool_region(plain), error);
    rte_mempool_free(plain);
}

} // namespace
