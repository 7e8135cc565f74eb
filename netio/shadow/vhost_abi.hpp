// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <sys/ioctl.h>

// Requests of /dev/vhost-net, as <linux/vhost.h> has them, which is not C++.
namespace halfpoll::vhost
{

/// Memory that the driver shows to the device. An address in a ring is one of the process, moved by the difference of
/// the two addresses here.
struct memory_table {
    std::uint32_t regions;
    std::uint32_t padding;
    std::uint64_t ring_address;
    std::uint64_t bytes;
    std::uint64_t process_address;
    std::uint64_t flags;
};
struct vring_state {
    std::uint32_t index, value;
};
struct vring_file {
    std::uint32_t index;
    std::int32_t fd;
};
struct vring_addresses {
    std::uint32_t index, flags;
    std::uint64_t descriptors, used, available, log;
};

inline constexpr std::uint32_t FROM_KERNEL = 0, TO_KERNEL = 1; ///< index of a ring

inline constexpr unsigned long SET_FEATURES = _IOW(0xAF, 0x00, std::uint64_t);
inline constexpr unsigned long SET_OWNER = _IO(0xAF, 0x01);
inline constexpr unsigned long SET_MEM_TABLE = _IOW(0xAF, 0x03, std::uint64_t); // the size is that without regions
inline constexpr unsigned long SET_VRING_NUM = _IOW(0xAF, 0x10, vring_state);
inline constexpr unsigned long SET_VRING_ADDR = _IOW(0xAF, 0x11, vring_addresses);
inline constexpr unsigned long SET_VRING_BASE = _IOW(0xAF, 0x12, vring_state);
inline constexpr unsigned long SET_VRING_KICK = _IOW(0xAF, 0x20, vring_file);
inline constexpr unsigned long SET_VRING_CALL = _IOW(0xAF, 0x21, vring_file);
inline constexpr unsigned long NET_SET_BACKEND = _IOW(0xAF, 0x30, vring_file);

} // namespace halfpoll::vhost
