// SPDX-License-Identifier: BSD-3-Clause
#include "forward/mirror/mirror_nexthops.hpp"
#include "grace.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

namespace halfpoll
{
namespace
{

using test::grace;

adjacency via(std::uint8_t mark)
{
    adjacency a;
    a.kind = adjacency_kind::forward;
    a.mtu = 1500;
    a.rewrite[5] = mark;
    return a;
}

// ---- the table ----

class nexthop_table_test : public testing::Test
{
protected:
    int mark_at(std::uint32_t index) const
    {
        const adjacency &a = *table_.get(index);
        return a.kind == adjacency_kind::forward ? a.rewrite[5] : -1;
    }
    grace period_;
    nexthop_table table_{period_.retire()};
};

TEST_F(nexthop_table_test, an_alias_follows_through_changes_and_further_aliases)
{
    const std::uint32_t hop = table_.add(via(1)), group = table_.add(adjacency{});
    table_.alias(group, hop);
    table_.alias(nexthop_table::default4, group);
    EXPECT_EQ(mark_at(group), 1);
    EXPECT_EQ(mark_at(nexthop_table::default4), 1);
    table_.replace(hop, via(2));
    EXPECT_EQ(mark_at(group), 2);
    EXPECT_EQ(mark_at(nexthop_table::default4), 2);
    const std::uint32_t other = table_.add(via(3));
    table_.alias(group, other);
    EXPECT_EQ(mark_at(nexthop_table::default4), 3);
    table_.replace(hop, via(4));
    EXPECT_EQ(mark_at(group), 3) << "no longer an alias of that";
    table_.replace(group, nexthop_group{.members = {hop, other}, .buckets = {hop, other}});
    EXPECT_EQ(table_.get(nexthop_table::default4)->kind, adjacency_kind::group);
    EXPECT_EQ(table_.get(nexthop_table::default4)->plain_max, 0U);
    EXPECT_EQ(table_.member(*table_.get(group), 2).rewrite[5], 4);
    EXPECT_EQ(table_.member(*table_.get(group), 3).rewrite[5], 3);
    table_.alias(nexthop_table::default4, nexthop_table::no_route);
    table_.remove(group);
    table_.replace(hop, via(5));
    period_.pass();
    EXPECT_EQ(table_.get(nexthop_table::default4)->punt, PUNT_NO_ROUTE);
    EXPECT_EQ(table_.add(via(6)), group);
}

TEST_F(nexthop_table_test, a_removed_one_stays_as_it_was_for_a_grace_period)
{
    const std::uint32_t hop = table_.add(via(1)), alias = table_.add(adjacency{});
    table_.alias(alias, hop);
    table_.remove(alias);
    table_.remove(hop);
    EXPECT_EQ(mark_at(hop), 1);
    EXPECT_EQ(mark_at(alias), 1);
    EXPECT_NE(table_.add(via(2)), hop);
    period_.pass();
    EXPECT_EQ(table_.get(hop)->punt, PUNT_NO_ROUTE);
    EXPECT_EQ(table_.get(alias)->punt, PUNT_NO_ROUTE);
    const std::uint32_t again[] = {table_.add(via(3)), table_.add(via(4))};
    EXPECT_EQ(again[0] + again[1], hop + alias);
}

TEST_F(nexthop_table_test, marks_of_use_reach_what_an_alias_stands_for)
{
    const std::uint32_t hop = table_.add(via(1)), other = table_.add(via(2));
    EXPECT_FALSE(table_.take_used(hop));
    table_.alias(nexthop_table::default4, hop);
    table_.mark_used(nexthop_table::default4);
    EXPECT_FALSE(table_.take_used(other));
    EXPECT_TRUE(table_.take_used(hop));
    EXPECT_FALSE(table_.take_used(hop)) << "taken";
}

TEST_F(nexthop_table_test, refuses_when_full)
{
    std::uint32_t added = 0;
    try {
        for (; added <= nexthop_table::max_nexthops; added++) {
            table_.add(via(1));
        }
    } catch (const error &) {
    }
    EXPECT_EQ(added, nexthop_table::max_nexthops - 2);
}

// ---- buckets ----

std::map<std::uint32_t, unsigned> counts(const std::vector<std::uint32_t> &buckets)
{
    std::map<std::uint32_t, unsigned> n;
    for (const std::uint32_t nexthop : buckets) {
        n[nexthop]++;
    }
    return n;
}

void expect_fair(const std::vector<std::uint32_t> &buckets, const std::vector<bucket_claim> &claims)
{
    double sum = 0;
    for (const bucket_claim &c : claims) {
        sum += c.weight;
    }
    auto have = counts(buckets);
    for (const bucket_claim &c : claims) {
        const double wanted = static_cast<double>(buckets.size()) * c.weight / sum;
        EXPECT_NEAR(have[c.nexthop], wanted, 0.02 * wanted) << "next hop " << c.nexthop << ", weight " << c.weight;
        have.erase(c.nexthop);
    }
    EXPECT_TRUE(have.empty()) << "buckets of nobody in the group";
}

TEST(bucket_share, weights_are_right_within_2_percent)
{
    for (const std::vector<std::uint32_t> &weights :
         {std::vector<std::uint32_t>{1}, {1, 1}, {1, 1, 1}, {1, 2, 3}, {1, 255}, {7, 11, 13, 17}, {100, 1, 1}}) {
        std::vector<bucket_claim> claims;
        for (const std::uint32_t weight : weights) {
            claims.push_back({static_cast<std::uint32_t>(claims.size()) + 10, weight});
        }
        std::vector<std::uint32_t> buckets;
        share_buckets(buckets, bucket_count(claims), claims);
        expect_fair(buckets, claims);
    }
}

TEST(bucket_share, many_members)
{
    std::vector<bucket_claim> claims;
    for (std::uint32_t i = 0; i < 200; i++) {
        claims.push_back({i, 1});
    }
    std::vector<std::uint32_t> buckets;
    share_buckets(buckets, bucket_count(claims), claims);
    EXPECT_EQ(buckets.size(), 16384U);
    expect_fair(buckets, claims);
}

/// Members are added and removed at random, with random weights: shares stay right, a loss moves only the lost buckets,
/// and a new member takes no more than its share.
TEST(bucket_share, only_what_must_move_moves)
{
    std::mt19937 random(7);
    for (unsigned round = 0; round < 200; round++) {
        std::vector<bucket_claim> all;
        for (std::uint32_t i = 0; i < 2 + random() % 7; i++) {
            all.push_back({i + 1, 1 + static_cast<std::uint32_t>(random() % 9)});
        }
        const unsigned count = bucket_count(all);
        std::vector<std::uint32_t> buckets;
        share_buckets(buckets, count, all);
        std::vector<bucket_claim> active = all;
        for (unsigned step = 0; step < 12; step++) {
            const std::vector<std::uint32_t> before = buckets;
            const bool lose = active.size() == all.size() || (active.size() > 1 && random() % 2);
            std::uint32_t turned = 0;
            if (lose) {
                const auto victim = active.begin() + static_cast<long>(random() % active.size());
                turned = victim->nexthop;
                active.erase(victim);
            } else {
                const auto missing = std::ranges::find_if(all, [&](const bucket_claim &c) {
                    return std::ranges::find(active, c.nexthop, &bucket_claim::nexthop) == active.end();
                });
                turned = missing->nexthop;
                active.push_back(*missing);
            }
            share_buckets(buckets, count, active);
            expect_fair(buckets, active);
            unsigned needless = 0;
            for (unsigned i = 0; i < count; i++) {
                needless += before[i] != buckets[i] && (lose ? before[i] : buckets[i]) != turned;
            }
            if (lose) {
                ASSERT_EQ(needless, 0U) << "round " << round << ", step " << step;
            } else {
                ASSERT_LE(needless, count / 50) << "round " << round << ", step " << step;
            }
        }
    }
}

// ---- shared_nexthops: both together ----

class shared_nexthops_test : public testing::Test
{
protected:
    static nexthop_key key(std::uint8_t n) { return {.oif = 1, .gateway = gateway(n), .family = AF_INET, .mtu = 0}; }
    static ip_addr gateway(std::uint8_t n) { return {AF_INET, {192, 0, 2, n}}; }
    static nexthop_group_key group(std::initializer_list<nexthop_member> members)
    {
        return {.id = 0, .family = AF_INET, .mtu = 0, .members = members};
    }
    static nexthop_group_key object(std::uint32_t id) { return {.id = id, .family = AF_INET, .mtu = 0, .members = {}}; }
    void set_active(std::uint8_t n, bool active)
    {
        dead_[n] = !active;
        shared_.refresh(1, gateway(n));
    }
    nexthop_state state(const nexthop_key &k)
    {
        const std::uint8_t n = k.gateway.bytes[3];
        if (dead_[n]) {
            adjacency a;
            a.punt = PUNT_RESOLVE;
            return {a, false};
        }
        return {via(n), true};
    }
    /// Buckets by gateway. One entry with 0 buckets: the index is an alias of that single next hop.
    std::map<int, unsigned> shares(std::uint32_t index)
    {
        const adjacency &a = *table_.get(index);
        if (a.kind != adjacency_kind::group) {
            return {{a.kind == adjacency_kind::forward ? a.rewrite[5] : -1, 0}};
        }
        std::map<int, unsigned> n;
        for (const std::uint32_t bucket : a.group->buckets) {
            n[table_.get(bucket)->rewrite[5]]++;
        }
        return n;
    }

    grace period_;
    nexthop_table table_{period_.retire()};
    std::map<std::uint8_t, bool> dead_;
    std::map<std::uint32_t, nexthop_contents> objects_;
    shared_nexthops shared_{table_,
                            {.state = [this](const nexthop_key &k) { return state(k); },
                             .contents = [this](const nexthop_group_key &k) { return objects_[k.id]; }}};
};

TEST_F(shared_nexthops_test, a_group_shrinks_to_its_active_members_and_grows_again)
{
    const std::uint32_t index = shared_.acquire(group({{key(1), 1}, {key(2), 3}}));
    EXPECT_EQ(shared_.acquire(group({{key(1), 1}, {key(2), 3}})), index) << "shared";
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{1, 64}, {2, 192}}));
    const std::vector<std::uint32_t> before = table_.get(index)->group->buckets;
    set_active(1, false);
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{2, 0}})) << "as if it were the only one";
    set_active(2, false);
    EXPECT_EQ(table_.get(index)->punt, PUNT_RESOLVE);
    set_active(2, true);
    set_active(1, true);
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{1, 64}, {2, 192}}));
    shared_.release(index);
    EXPECT_EQ(shares(index).size(), 2U) << "one user is left";
    shared_.release(index);
    period_.pass();
    EXPECT_EQ(table_.get(index)->punt, PUNT_NO_ROUTE);
    const std::uint32_t fresh = shared_.acquire(key(9));
    EXPECT_LE(fresh, index + 2) << "all three indices were given back";
    shared_.release(fresh);
}

TEST_F(shared_nexthops_test, one_change_of_a_next_hop_serves_all_groups)
{
    const std::uint32_t a = shared_.acquire(group({{key(1), 1}, {key(2), 1}}));
    const std::uint32_t b = shared_.acquire(group({{key(1), 1}, {key(3), 1}}));
    const adjacency *before[] = {table_.get(a), table_.get(b)};
    const std::uint32_t alone = shared_.acquire(key(1));
    shared_.refresh(1, gateway(1));
    EXPECT_EQ(table_.get(a), before[0]) << "nothing changed";
    set_active(1, false);
    EXPECT_EQ(shares(a), (std::map<int, unsigned>{{2, 0}}));
    EXPECT_EQ(shares(b), (std::map<int, unsigned>{{3, 0}}));
    EXPECT_EQ(table_.get(alone)->punt, PUNT_RESOLVE);
    for (const std::uint32_t index : {a, b, alone}) {
        shared_.release(index);
    }
}

TEST_F(shared_nexthops_test, a_member_named_twice_has_both_weights)
{
    const std::uint32_t index = shared_.acquire(group({{key(1), 1}, {key(2), 1}, {key(1), 2}}));
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{1, 192}, {2, 64}}));
    shared_.release(index);
}

TEST_F(shared_nexthops_test, an_object_changes_its_contents_under_its_users)
{
    objects_[7] = {{}, {{key(1), 1}}};
    const std::uint32_t index = shared_.acquire(object(7));
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{1, 0}}));
    objects_[7] = {{}, {{key(2), 1}, {key(3), 1}}};
    shared_.refresh_objects({7});
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{2, 128}, {3, 128}}));
    objects_[7] = {{}, {{key(2), 1}, {key(3), 1}, {key(4), 2}}};
    shared_.refresh_objects({8});
    EXPECT_EQ(shares(index).size(), 2U) << "not asked to look";
    shared_.refresh_objects({7});
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{2, 64}, {3, 64}, {4, 128}}));
    adjacency drop;
    drop.kind = adjacency_kind::drop;
    objects_[7] = {drop, {}};
    shared_.refresh_objects({7});
    EXPECT_EQ(table_.get(index)->kind, adjacency_kind::drop);
    shared_.release(index);
}

TEST_F(shared_nexthops_test, use_of_a_group_is_use_of_its_members)
{
    const std::uint32_t index = shared_.acquire(group({{key(1), 1}, {key(2), 1}}));
    const std::uint32_t idle = shared_.acquire(key(3));
    table_.mark_used(index);
    shared_.spread_used_marks();
    std::map<int, bool> used;
    shared_.for_each_hop(key(1), [&](const shared_nexthops::hop_info &hop) {
        used[hop.key.gateway.bytes[3]] = table_.take_used(hop.index);
        return true;
    });
    EXPECT_EQ(used, (std::map<int, bool>{{1, true}, {2, true}, {3, false}}));
    shared_.release(index);
    shared_.release(idle);
}

TEST_F(shared_nexthops_test, the_walk_goes_round_from_where_it_stopped)
{
    std::vector<std::uint32_t> indices;
    for (std::uint8_t n = 1; n <= 4; n++) {
        indices.push_back(shared_.acquire(key(n)));
    }
    std::vector<int> seen;
    shared_.for_each_hop(key(2), [&](const shared_nexthops::hop_info &hop) {
        seen.push_back(hop.key.gateway.bytes[3]);
        return true;
    });
    EXPECT_EQ(seen, (std::vector{3, 4, 1, 2}));
    seen.clear();
    shared_.for_each_hop(key(4), [&](const shared_nexthops::hop_info &hop) {
        seen.push_back(hop.key.gateway.bytes[3]);
        return seen.size() < 2;
    });
    EXPECT_EQ(seen, (std::vector{1, 2}));
    for (const std::uint32_t index : indices) {
        shared_.release(index);
    }
}

TEST_F(shared_nexthops_test, a_group_without_room_for_its_members_is_punted_until_there_is)
{
    objects_[7] = {{}, {{key(1), 1}, {key(2), 1}}};
    const std::uint32_t index = shared_.acquire(object(7));
    std::vector<std::uint32_t> others;
    while (true) {
        try {
            others.push_back(table_.add(adjacency{}));
        } catch (const error &) {
            break;
        }
    }
    objects_[7] = {{}, {{key(1), 1}, {key(3), 1}}};
    shared_.refresh_objects({7});
    EXPECT_EQ(table_.get(index)->punt, PUNT_TABLE_FULL) << "not by the former members";
    EXPECT_EQ(shared_.users_without_room(), 1U);
    EXPECT_THROW(shared_.acquire(group({{key(1), 1}, {key(5), 1}})), error);
    for (const std::uint32_t other : others) {
        table_.remove(other);
    }
    period_.pass();
    shared_.fill_up();
    EXPECT_EQ(shared_.users_without_room(), 0U);
    EXPECT_EQ(shares(index), (std::map<int, unsigned>{{1, 128}, {3, 128}}));
    shared_.release(index);
}

} // namespace
} // namespace halfpoll
