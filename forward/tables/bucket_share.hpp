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

/// How many buckets a group of these needs for shares that are right within 2 %: a power of two.
unsigned bucket_count(const std::vector<bucket_claim> &claims);

/// Shares out `count` buckets by weight; `buckets` is how they are shared out now (empty: not at all). A bucket keeps
/// its next hop where that has a claim to it: what is lost moves only its own buckets, what is new takes its share from
/// all others and leaves the rest alone. Next hops in `claims` are distinct, and there is at least one.
void share_buckets(std::vector<std::uint32_t> &buckets, unsigned count, const std::vector<bucket_claim> &claims);

} // namespace halfpoll
