// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace halfpoll
{

/// A link address or a host's address as a number that nobody outside the process can predict.
using source_id = std::uint64_t;

/// Sources that the kernel knows. Data CPUs look sources up without a lock while the control thread changes them.
class known_sources
{
public:
    /// Draws a secret of its own. Throws `error`.
    known_sources();
    /// The id of an address of at most 16 bytes, at any alignment; never 0. Any thread.
    source_id id_of(const std::uint8_t *bytes, unsigned n) const noexcept;
    /// Whether a source is known. Data CPUs: a hint, which may change from one packet to the next.
    bool contains(source_id id) const noexcept;

    /// Adds a source, or one use of it; it is known until remove() was called as often. There is room for 32,768
    /// sources, 8 in a cache line; a source that finds its line full stays unknown. Control thread.
    void add(source_id id);
    void remove(source_id id) noexcept;

private:
    static constexpr unsigned LINES = 4096, IN_A_LINE = 8;
    /// 0: free. Relaxed; each id stands for itself.
    struct alignas(64) line {
        std::array<std::atomic<source_id>, IN_A_LINE> ids{};
    };

    const std::array<std::uint32_t, 2> seeds_;
    std::vector<line> lines_;
    std::unordered_map<source_id, unsigned> uses_; ///< control thread
};

} // namespace halfpoll
