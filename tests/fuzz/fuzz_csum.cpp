// SPDX-License-Identifier: BSD-3-Clause
// Completion of unfinished checksums: it reads and writes only within the frame and changes at most one field, and a
// frame that it has completed is finished.
#include "netio/af_xdp/af_xdp_csum.hpp"

#include "fuzz_packets.hpp"

#include <array>
#include <random>
#include <utility>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t *data, std::size_t size, std::size_t most);

using namespace halfpoll;

namespace
{

using bytes = std::vector<std::uint8_t>;

/// Makes frames with valid lengths, from the inside out, with tunnels of all kinds. Any checksum may look unfinished.
class tunnel_maker
{
public:
    explicit tunnel_maker(unsigned seed) : random_(seed) {}

    bytes frame()
    {
        data_.assign(random_() % 40, 0x5A);
        layer4();
        for (unsigned depth = 1 + one_of(5); depth-- > 0;) {
            one_of(4) ? ip() : tunnel();
        }
        ethernet();
        return std::move(data_);
    }

private:
    unsigned one_of(unsigned n) { return static_cast<unsigned>(random_()) % n; }
    void put(std::initializer_list<unsigned> header, std::uint8_t protocol, unsigned type)
    {
        data_.insert(data_.begin(), header.begin(), header.end());
        protocol_ = protocol;
        type_ = type;
    }
    static unsigned high(std::size_t v) { return static_cast<unsigned>(v >> 8 & 255); }
    static unsigned low(std::size_t v) { return static_cast<unsigned>(v & 255); }

    void layer4()
    {
        switch (one_of(3)) {
        case 0:
            return put({0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0}, 6, 0);
        case 1:
            return put({0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0}, 132, 0);
        default:
            return udp();
        }
    }
    void udp()
    {
        put({0xC0, 0, one_of(2) ? 0x12U : 0x1A, 0xB5, high(data_.size() + 8), low(data_.size() + 8), 0, 0}, 17, 0);
    }

    /// Sets the checksum field at `offset` of the header at the beginning of data_ to the sum of addresses, length and
    /// protocol.
    void leave_unfinished(const bytes &addresses)
    {
        const std::size_t offset = protocol_ == 6 ? 16 : protocol_ == 17 ? 6 : 0;
        if (offset == 0 || one_of(4) == 0) {
            return;
        }
        std::uint32_t sum = protocol_ + static_cast<std::uint32_t>(data_.size());
        for (std::size_t i = 0; i < addresses.size(); i += 2) {
            sum += addresses[i] << 8 | addresses[i + 1];
        }
        sum = (sum & 0xFFFF) + (sum >> 16);
        data_[offset] = static_cast<std::uint8_t>(high(sum));
        data_[offset + 1] = static_cast<std::uint8_t>(low(sum));
    }

    void ip()
    {
        if (one_of(2)) {
            leave_unfinished({10, 0, 0, 1, 10, 0, 0, 2});
            const std::size_t total = data_.size() + 20;
            return put({0x45, 0, high(total), low(total), 0, 1, 0x40, 0, 64, protocol_, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2},
                       4, 0x0800);
        }
        bytes addresses(32, 0);
        addresses[0] = addresses[16] = 0xFD;
        addresses[31] = 9;
        leave_unfinished(addresses);
        if (one_of(3) == 0) { // a routing header with segments left
            put({protocol_, 2, 4, 1, 0, 0, 0, 0, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}, 43, 0);
            addresses[31] = 7;
        }
        const std::size_t length = data_.size();
        const std::uint8_t next = protocol_;
        data_.insert(data_.begin(), addresses.begin(), addresses.end());
        put({0x60, 0, 0, 0, high(length), low(length), next, 64}, 41, 0x86DD);
    }
    void ethernet() { put({2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, high(type_), low(type_)}, 143, 0x6558); }
    void tunnel()
    {
        switch (one_of(6)) {
        case 0:
            ethernet();
            put({8, 0, 0, 0, 0, 0, 5, 0}, 0, 0);
            return udp();
        case 1:
            put({0, 0, high(type_), low(type_), 0, 0, 5, 0}, 0, 0);
            return udp();
        case 2:
            put({0, protocol_, 0, 0}, 0, 0);
            return udp();
        case 3:
            return put({0x80, 0, high(type_), low(type_), one_of(2), 0, 0, 0}, 47, 0);
        case 4:
            return put({0, 0, 0x11, 64}, 137, 0x8847);
        default:
            return put({0, 0, high(type_), low(type_)}, 47, 0);
        }
    }

    std::minstd_rand random_;
    bytes data_;
    std::uint8_t protocol_ = 59;
    unsigned type_ = 0x88B5;
};

} // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t *data, std::size_t size, std::size_t most, unsigned seed)
{
    if (seed % 8 != 0) {
        return LLVMFuzzerMutate(data, size, most);
    }
    const bytes frame = tunnel_maker(seed / 8).frame();
    const std::size_t length = std::min(frame.size(), most);
    std::copy_n(frame.begin(), length, data);
    return length;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size)
{
    const auto frame = std::make_unique<std::uint8_t[]>(size);
    std::copy_n(data, size, frame.get());
    complete_partial_checksum(frame.get(), static_cast<std::uint32_t>(size));
    std::size_t first = size, last = 0;
    for (std::size_t i = 0; i < size; ++i) {
        if (frame[i] != data[i]) {
            first = std::min(first, i);
            last = i;
        }
    }
    fuzz::require(first == size || last - first < 4);
    const bytes once(frame.get(), frame.get() + size);
    complete_partial_checksum(frame.get(), static_cast<std::uint32_t>(size));
    fuzz::require(std::equal(once.begin(), once.end(), frame.get()));
    return 0;
}
