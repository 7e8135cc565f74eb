// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// Completes the checksum of a frame whose sender left it to the hardware: the field then holds the folded sum of the
/// pseudo-header alone (CHECKSUM_PARTIAL on a software interface), and nothing says where it is. Every other frame is
/// left alone: one whose right checksum happens to look so gets the same value again. TCP, UDP, GRE and SCTP, in
/// whatever chain of headers and tunnels: see csum_walk. Bytes behind the IP packet do not count. Any thread.
void complete_partial_checksum(std::uint8_t *frame, std::uint32_t length) noexcept;

} // namespace halfpoll
