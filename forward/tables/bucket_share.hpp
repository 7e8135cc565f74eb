// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <vector>

namespace halfpoll
{

/// A next hop's claim on the buckets of its group.
struct bucket_claim {
    std::uint32_t nexthop = 0;
    std::uint32_t weight = 1; ///< not 0
};

/// Number of buckets, a power of two, with which a group of these claims gets shares that are right within 2 %.
unsigned bucket_count(const std::vector<bucket_claim> &claims);

/// Distributes `count` buckets by weight. `buckets` holds the present distribution (empty: none). A bucket keeps its
/// next hop where that next hop still has a claim to it: the loss of a next hop moves only its own buckets, and a new
/// next hop takes its share from all others and leaves their remaining buckets alone. The next hops in `claims` are
/// distinct, and there is at least one.
void share_buckets(std::vector<std::uint32_t> &buckets, unsigned count, const std::vector<bucket_claim> &claims);

} // namespace halfpoll
