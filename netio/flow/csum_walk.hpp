// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// Walks through the headers of a frame, including tunnels and extension headers, and completes the one checksum that
/// its sender left to the hardware.
///
/// A frame has at most one such checksum, and nothing says where it is. An unfinished field holds the folded sum of its
/// pseudo-header (0 in GRE and SCTP), a value that a finished field may hold by chance. The checksums of the headers
/// around the unfinished one are finished, and they are right once the inner one is completed (local checksum offload).
/// So a field that does not make them right is not unfinished, but belongs to a payload. If no checksum is around it
/// (UDP without checksum), its value alone decides. Any thread that owns the frame.
void complete_nested_checksum(std::uint8_t *frame, std::uint32_t length) noexcept;

} // namespace halfpoll
