// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace halfpoll
{

/// A link address or an address of a host, as a number that nobody outside the process can foresee.
using source_id = std::uint64_t;

/// Sources that the kernel knows. Data cores look without a lock while the control thread changes them.
class known_sources
{
public:
    /// With a secret of its own. Throws `error`.
    known_sources();
    /// Of up to 16 bytes, wherever they lie. Any thread.
    source_id id_of(const std::uint8_t *bytes, unsigned n) const noexcept;
    /// Data cores: a hint that changes from one packet to the next.
    bool contains(source_id id) const noexcept;

    /// As often as it is removed again. One that finds no room (of 32,768; 8 of one cache line) is not known. Control
    /// thread.
    void add(source_id id);
    void remove(source_id id) noexcept;

private:
    static constexpr unsigned LINES = 4096, IN_A_LINE = 8;
    /// 0: free. Relaxed, values of their own.
    struct alignas(64) line {
        std::array<std::atomic<source_id>, IN_A_LINE> ids{};
    };

    const std::array<std::uint32_t, 2> seeds_;
    std::vector<line> lines_;
    std::unordered_map<source_id, unsigned> uses_; ///< control thread
};

} // namespace halfpoll
