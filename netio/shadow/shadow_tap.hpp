// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <rte_ether.h>

#include <cstdint>
#include <string>

struct rte_mbuf;

namespace halfpoll
{

/// A TAP interface and its fd, which the caller owns.
struct tap {
    int fd = -1; ///< non-blocking; a virtio_net_hdr precedes each frame
    int ifindex = 0;
    std::string name;     ///< present name
    bool created = false; ///< false: it existed
};

/// Creates a persistent interface, or adopts one that no process holds. It finds an interface that was created as
/// `name` also after a rename. The carrier is down, MAC and MTU are set, checksum offload is on and segmentation
/// offload is off. The caller closes the fd. Control thread; throws `error` with the remedy.
tap tap_open(const std::string &netns, const std::string &name, const rte_ether_addr &mac, std::uint32_t mtu);
/// Throws `error` if tap_open() would fail because of the name or because another process holds the interface. Control
/// thread.
void tap_check(const std::string &netns, const std::string &name);
/// Opens an fd without an interface: writes and reads fail as if the interface had been deleted. The caller closes it.
/// Throws `error`.
int tap_unattached();

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
/// Makes an interface not persistent: it is removed when its fd is closed.
void tap_forget(int fd) noexcept;

/// Writes one frame of up to 16 segments. False: the kernel did not take it.
bool tap_write(int fd, const rte_mbuf &m) noexcept;

enum class tap_result {
    frame,   ///< a frame is in the mbufs, its checksum complete
    bad,     ///< the frame does not fit or is not a plain one; the mbufs hold nothing
    empty,   ///< nothing to read
    removed, ///< the interface is gone
};
/// Reads one frame into at most `n` empty mbufs: `into`, `into` - 1, … . `used` is the number of those that make up the
/// packet, which begins with *into.
tap_result tap_read(int fd, rte_mbuf **into, unsigned n, unsigned &used) noexcept;

/// Reads one frame and discards it.
void tap_discard(int fd) noexcept;

/// Completes the checksum of the bytes from `start` on; the field at `start` + `offset` holds the sum of the
/// pseudo-header. False: that is not inside the packet, or the field is not in its first segment.
bool complete_checksum(rte_mbuf &m, unsigned start, unsigned offset) noexcept;

} // namespace halfpoll
