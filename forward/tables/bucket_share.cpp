// SPDX-License-Identifier: BSD-3-Clause
#include "bucket_share.hpp"

#include <algorithm>
#include <bit>
#include <numeric>
#include <unordered_map>

namespace halfpoll
{

namespace
{

constexpr std::uint64_t min_buckets = 256, max_buckets = 1U << 14;
constexpr std::uint64_t buckets_of_the_lightest = 64; // one bucket more or less is then less than 2 % of it
constexpr std::uint32_t nobody = UINT32_MAX;

std::uint64_t sum_of(const std::vector<bucket_claim> &claims)
{
    return std::accumulate(claims.begin(), claims.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const bucket_claim &c) { return sum + c.weight; });
}

/// Number of buckets for each claim, by the largest-remainder method.
std::vector<int> quotas(unsigned count, const std::vector<bucket_claim> &claims)
{
    const std::uint64_t sum = sum_of(claims);
    std::vector<int> quota;
    std::vector<std::pair<std::uint64_t, std::size_t>> remainders; // sorted: largest remainder first, then by index
    unsigned given = 0;
    for (std::size_t i = 0; i < claims.size(); ++i) {
        const std::uint64_t part = std::uint64_t{count} * claims[i].weight;
        quota.push_back(static_cast<int>(part / sum));
        given += static_cast<unsigned>(part / sum);
        remainders.emplace_back(sum - part % sum, i);
    }
    std::ranges::sort(remainders);
    for (std::size_t i = 0; given < count; ++i, ++given) {
        ++quota[remainders[i].second];
    }
    return quota;
}

} // namespace

unsigned bucket_count(const std::vector<bucket_claim> &claims)
{
    const std::uint64_t lightest = std::ranges::min_element(claims, {}, &bucket_claim::weight)->weight;
    const std::uint64_t wanted = buckets_of_the_lightest * sum_of(claims) / lightest;
    return static_cast<unsigned>(std::clamp(std::bit_ceil(wanted), min_buckets, max_buckets));
}

void share_buckets(std::vector<std::uint32_t> &buckets, unsigned count, const std::vector<bucket_claim> &claims)
{
    if (buckets.size() != count) {
        buckets.assign(count, nobody);
    }
    std::vector<int> lacking = quotas(count, claims);
    const std::vector<int> quota = lacking;
    std::unordered_map<std::uint32_t, std::size_t> place;
    for (std::size_t i = 0; i < claims.size(); ++i) {
        place[claims[i].nexthop] = i;
    }
    for (std::uint32_t &bucket : buckets) {
        const auto claim = place.find(bucket);
        claim == place.end() ? void(bucket = nobody) : void(--lacking[claim->second]);
    }
    // A deviation of one bucket, or of 1/64 of the quota, comes from rounding and is no reason to move a flow.
    const auto unfair = [&](std::size_t i) { return std::abs(lacking[i]) > std::max(1, quota[i] / 64); };
    std::vector<std::size_t> places(claims.size());
    std::iota(places.begin(), places.end(), 0);
    const auto neediest = [&] { return *std::ranges::max_element(places, {}, [&](auto i) { return lacking[i]; }); };
    for (std::uint32_t &bucket : buckets) {
        if (bucket == nobody) {
            const std::size_t i = neediest();
            bucket = claims[i].nexthop;
            --lacking[i];
        }
    }
    if (std::ranges::none_of(places, unfair)) {
        return;
    }
    for (std::uint32_t &bucket : buckets) {
        const std::size_t from = place[bucket];
        const std::size_t to = neediest();
        if (lacking[from] < 0 && lacking[to] > 0) {
            ++lacking[from];
            --lacking[to];
            bucket = claims[to].nexthop;
        }
    }
}

} // namespace halfpoll
