// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace halfpoll
{

/// The driver's side of a split virtqueue (virtio 1.2, 2.7) whose device is in the kernel: native byte order, no event
/// index. A buffer is a single descriptor, which has its number. One thread.
class virtqueue
{
public:
    static constexpr unsigned SIZE = 256; ///< a power of two

    // What driver and device share, as <linux/virtio_ring.h> has it, which is not C++.
    struct descriptor {
        static constexpr std::uint16_t DEVICE_WRITES = 2; ///< in `flags`

        std::uint64_t address;
        std::uint32_t length;
        std::uint16_t flags, next;
    };
    struct used_buffer {
        std::uint32_t number;
        std::uint32_t length; ///< bytes that the device has written
    };
    struct rings {
        static constexpr std::uint16_t NO_INTERRUPT = 1; ///< in available_flags: the device need not signal
        static constexpr std::uint16_t NO_NOTIFY = 1;    ///< in used_flags: the driver need not kick

        alignas(64) std::array<descriptor, SIZE> descriptors;
        alignas(64) std::uint16_t available_flags;
        std::uint16_t available_index;
        std::array<std::uint16_t, SIZE> available;
        alignas(64) std::uint16_t used_flags;
        std::uint16_t used_index;
        std::array<used_buffer, SIZE> used;
    };

    /// `shared`: zeroed memory that outlives the object.
    explicit virtqueue(rings &shared) noexcept : shared_(shared) {}

    /// Adds a buffer that the device does not have. The device sees it after publish().
    void add(std::uint16_t number, std::uint64_t address, std::uint32_t length, std::uint16_t flags) noexcept;
    /// Shows the device what was added. True: it waits for a kick.
    bool publish() noexcept;
    /// A buffer that the device has given back; nothing if there is none.
    std::optional<used_buffer> take() noexcept;

    /// Asks for a signal when the device gives a buffer back. True: it has given none back yet, so that the caller may
    /// wait for the signal.
    bool want_signal() noexcept;
    void want_no_signal() noexcept;

private:
    rings &shared_;
    std::uint16_t added_ = 0; ///< all that were ever added, as the index in the ring counts them
    std::uint16_t published_ = 0;
    std::uint16_t taken_ = 0;
};

} // namespace halfpoll
