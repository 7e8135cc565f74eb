// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace halfpoll
{

/// Goes through the headers of a frame, tunnels and extension headers included, and completes the one checksum that its
/// sender left to the hardware.
///
/// A frame has at most one such checksum, and nothing says where. An unfinished one holds the folded sum of its
/// pseudo-header (nothing in GRE and SCTP), which a right one may hold by chance. Checksums of the headers around it
/// are finished, and right once the inner one is (local checksum offload); so one that does not make them right is not
/// unfinished but somebody's payload. Around it there may be none (UDP without checksum): then its looks decide.
void complete_nested_checksum(std::uint8_t *frame, std::uint32_t length) noexcept;

} // namespace halfpoll
