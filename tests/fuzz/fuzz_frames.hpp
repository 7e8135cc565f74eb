// SPDX-License-Identifier: BSD-3-Clause
//
// A mutator that makes frames: now and then it appends one with valid headers, of every kind that parsers distinguish.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t *data, std::size_t size, std::size_t most);

namespace halfpoll::fuzz
{

class frame_maker
{
public:
    explicit frame_maker(unsigned seed) : random_(seed) {}

    /// Returns a packet in the format of fuzz_packets.hpp.
    std::vector<std::uint8_t> packet()
    {
        out_.assign(2 + 12, 0x02);
        for (unsigned tags = one_of(5); tags > 2; --tags) {
            put({0x81, 0x00, 0, 7});
        }
        ip(one_of(4) != 0);
        const std::size_t length = out_.size() - 2;
        const std::size_t cut = one_of(8) == 0 ? one_of(16) : 0;
        out_[0] = static_cast<std::uint8_t>(length);
        out_[1] = static_cast<std::uint8_t>(length >> 8 | cut << 3);
        return out_;
    }

private:
    unsigned one_of(unsigned n) { return static_cast<unsigned>(random_()) % n; }
    void put(std::initializer_list<unsigned> bytes)
    {
        for (const unsigned b : bytes) {
            out_.push_back(static_cast<std::uint8_t>(b));
        }
    }
    void put_be16(unsigned v) { put({v >> 8, v & 255}); }

    void ip(bool quoting)
    {
        const bool four = one_of(2);
        put({four ? 0x08U : 0x86U, four ? 0x00U : 0xDDU});
        four ? ip4(quoting, false) : ip6(quoting, false);
    }

    /// Addresses are 10.0.0.1 to .4, and fd00::1 to ::4.
    void ip4(bool quoting, bool quoted)
    {
        static constexpr unsigned protocols[] = {6, 17, 1, 6, 17, 47};
        const unsigned options = one_of(6) ? 0 : one_of(11), protocol = quoted ? 6U : protocols[one_of(6)];
        put({0x45 + options, 0});
        put_be16(20 + options * 4 + 40 + one_of(64));
        put({0, 1});
        put_be16(one_of(6) ? 0x4000 : one_of(0x4000));
        put({64, protocol, 0, 0, 10, 0, 0, 1 + one_of(4), 10, 0, 0, 1 + one_of(4)});
        out_.resize(out_.size() + options * 4, 1);
        payload(protocol, quoting, true);
    }

    void ip6(bool quoting, bool quoted)
    {
        static constexpr unsigned protocols[] = {6, 17, 58}, extensions[] = {0, 43, 44, 60};
        const unsigned count = one_of(3) ? 0 : one_of(11), last = quoted ? 6U : protocols[one_of(3)];
        unsigned next = count ? extensions[one_of(4)] : last;
        put({0x60, 0, 0, 0});
        put_be16(8 * count + 40 + one_of(64));
        put({next, 64});
        for (unsigned i = 0; i < 2; ++i) {
            put({0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 + one_of(4)});
        }
        for (unsigned i = 1; i <= count; ++i) {
            const unsigned follows = i == count ? last : extensions[one_of(4)];
            put({follows, 0, 0, next == 44 ? one_of(2) * (8 + one_of(2)) : 0U, 0, 0, 0, 0});
            next = follows;
        }
        payload(last, quoting, false);
    }

    void payload(unsigned protocol, bool quoting, bool four)
    {
        if ((protocol == 1 || protocol == 58) && quoting) {
            put({protocol == 1 ? 3U : 1 + one_of(4), 4, 0, 0, 0, 0, 0, 0});
            return four ? ip4(false, true) : ip6(false, true);
        }
        put_be16(1 + one_of(4));
        put_be16(one_of(2) ? 80 : 53);
        put({0, 0, 0, 1, 0, 0, 0, 0, 0x50, 1U << one_of(5), 0, 0, 0, 0, 0, 0});
        out_.resize(out_.size() + one_of(24), 0xEE);
    }

    std::minstd_rand random_;
    std::vector<std::uint8_t> out_;
};

} // namespace halfpoll::fuzz

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t *data, std::size_t size, std::size_t most, unsigned seed)
{
    if (seed % 8 != 0) {
        return LLVMFuzzerMutate(data, size, most);
    }
    const auto frame = halfpoll::fuzz::frame_maker(seed / 8).packet();
    const std::size_t keep = seed % 16 == 0 ? 0 : size;
    if (keep + frame.size() > most) {
        return LLVMFuzzerMutate(data, size, most);
    }
    std::copy(frame.begin(), frame.end(), data + keep);
    return keep + frame.size();
}
