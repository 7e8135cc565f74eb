// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "input.hpp"

#include <span>

namespace halfpoll
{

/// A burst as structure of arrays: what the group stage reads of frames and finds out about them.
struct ip4_burst {
    alignas(64) const std::uint8_t *frame[input_max]; ///< in; at least 34 bytes are readable
    alignas(64) std::uint32_t pkt_len[input_max];     ///< in
    alignas(64) std::uint32_t dst[input_max];         ///< out: destination, host order
    alignas(64) std::uint32_t ttl_word[input_max];    ///< out: bytes 22-25 (TTL, protocol, checksum) one hop further
    alignas(64) std::uint32_t fault[input_max];       ///< out: not 0: not a plain packet to forward
};

/// Checks what RFC 1812 5.2.2 and 5.3 ask, for frames from a link header on (link addresses excepted): EtherType,
/// version and header length, total length, checksum, TTL > 1, addresses that may be forwarded. Reads and writes the
/// arrays up to `n` rounded up to 16, whose surplus entries must be readable. True if there is no fault among the first
/// `n` provided that the surplus repeats them.
using ip4_check_fn = bool (*)(ip4_burst &burst, unsigned n) noexcept;

struct ip4_check_level {
    const char *name;
    ip4_check_fn check;
};

/// What this machine can run, best first.
std::span<const ip4_check_level> ip4_check_levels() noexcept;

bool ip4_check_base(ip4_burst &burst, unsigned n) noexcept;
bool ip4_check_avx2(ip4_burst &burst, unsigned n) noexcept;
bool ip4_check_avx512(ip4_burst &burst, unsigned n) noexcept;

} // namespace halfpoll
