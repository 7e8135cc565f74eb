// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include "shadow_gro.hpp"
#include "vnet_header.hpp"

#include <rte_ether.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <sys/uio.h>
#include <vector>

namespace halfpoll
{

/// A TAP interface and the fds of its queues, which the caller owns.
struct tap {
    std::vector<int> fds; ///< by queue; non-blocking; a virtio_net_hdr precedes each frame
    int ifindex = 0;
    std::string name;     ///< present name
    bool created = false; ///< false: it existed
    bool uso = false;     ///< the kernel takes and gives UDP packets that are segmented later
};

/// Creates a persistent interface with so many queues, or adopts one that no process holds. It finds an interface that
/// was created as `name` also after a rename. One with a single queue cannot be adopted for several, nor one of several
/// for a single one; several may become fewer or more. The carrier is down, MAC and MTU are set, checksum and
/// segmentation offload are on, whatever they were before. The caller closes the fds. Control thread; throws `error`
/// with the remedy.
tap tap_open(const std::string &netns, const std::string &name, unsigned queues, const rte_ether_addr &mac,
             std::uint32_t mtu);
/// Throws `error` if tap_open() would fail because of the name, the kind of the interface, or because another process
/// holds it. Control thread.
void tap_check(const std::string &netns, const std::string &name, unsigned queues);
/// Opens fds without an interface: writes and reads fail as if the interface had been deleted. The caller closes them.
/// Throws `error`.
std::vector<int> tap_unattached(unsigned queues);

/// The place of an fd's interface, seen from a namespace.
struct tap_place {
    enum { here, elsewhere, gone } where = here;
    std::string name; ///< empty if it is gone
    int ifindex = 0;  ///< 0 unless it is here
};
/// Finds the interface of an fd.
/// Control thread; throws `error`.
tap_place tap_find(const std::string &netns, int fd);
/// Sets the name under which tap_open() finds the interface, whatever its present name is. Control thread; throws
/// `error`.
void tap_identify(const std::string &netns, int ifindex, const std::string &name);

/// What may be merged on the way to the interface, in whatever namespace it is. Control thread; throws `error`.
gro_kinds tap_gro(const std::string &netns, int fd);
/// Sets the carrier. Does nothing if the interface has been deleted. Throws `error`.
void tap_set_carrier(int fd, const std::string &name, bool up);
/// Sets MAC and MTU as tap_open() does, in whatever namespace the interface is. Control thread; throws `error`.
void tap_set_address(const std::string &netns, int fd, const rte_ether_addr &mac, std::uint32_t mtu);
struct tap_address {
    rte_ether_addr mac{};
    std::uint32_t mtu = 0;
};
/// Sets MAC and MTU to `to` where they are still those of `refused`, in whatever namespace the interface is. Control
/// thread; throws `error`.
void tap_set_back(const std::string &netns, int fd, const tap_address &refused, const tap_address &to);
/// Sets the MTU in whatever namespace the interface is. `name`: for messages. Throws `error`.
void tap_set_mtu(const std::string &netns, int fd, const std::string &name, std::uint32_t mtu);
/// Removes the persistent TAP interface that was created as `name`, if no process holds it. Ignores errors.
void tap_destroy(const std::string &netns, const std::string &name) noexcept;
/// Makes an interface not persistent: it is removed when the last of its fds is closed.
void tap_forget(int fd) noexcept;

/// Writes one frame, which begins with a vnet_header. False: the kernel did not take it.
bool tap_write(int fd, std::span<const iovec> frame) noexcept;

/// Room for the longest frame and more: a frame that the kernel leaves to be segmented has fewer than 64 KiB.
using tap_buffer = std::array<std::uint8_t, 65536 + 1024>;
/// A frame in a tap_buffer.
struct tap_frame {
    vnet_header header;
    std::span<std::uint8_t> bytes;
};
enum class tap_result {
    frame,   ///< a frame was read
    bad,     ///< a frame was read that does not fit
    empty,   ///< nothing to read
    removed, ///< the interface is gone
};
/// Reads one frame.
tap_result tap_read(int fd, tap_buffer &buffer, tap_frame &frame) noexcept;

} // namespace halfpoll
