// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// Completes the TCP or UDP checksum of a frame whose sender left it to the hardware: the field then holds the folded
/// sum of the pseudo-header alone (CHECKSUM_PARTIAL on a software interface). Every other frame is left alone: one
/// whose right checksum happens to look so gets the same value again. Plain, 802.1Q and 802.1ad frames, IPv4 without
/// fragments, IPv6 without extension headers.
void complete_partial_checksum(std::uint8_t *frame, std::uint32_t length) noexcept;

} // namespace halfpoll
