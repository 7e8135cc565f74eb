// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// Completes the checksum of a frame whose sender left it to the hardware. The checksum field then holds only the
/// folded sum of the pseudo-header (CHECKSUM_PARTIAL on a software interface), and nothing says where the field is.
/// Other frames are not changed: if a finished checksum happens to have that value, the computation gives the same
/// value again. Handles TCP, UDP, GRE and SCTP in any chain of headers and tunnels (csum_walk.hpp). Bytes behind the IP
/// packet are ignored. Any thread.
void complete_partial_checksum(std::uint8_t *frame, std::uint32_t length) noexcept;

} // namespace halfpoll
