// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <rte_ether.h>

#include <cstdint>
#include <string>

struct rte_mbuf;

namespace halfpoll
{

/// A TAP interface and the fd that owns it.
struct tap {
    int fd = -1; ///< non-blocking; frames are preceded by a virtio_net_hdr
    int ifindex = 0;
    std::string name;     ///< that it has now
    bool created = false; ///< false: it was there
};

/// Creates the interface, persistent, or takes over one that nobody holds; carrier down, MAC and MTU set, checksum
/// offload on and segmentation offload off. One that was made under that name is found under the one that it has now.
/// The caller closes the fd. Control thread; throws `error` with the remedy.
tap tap_open(const std::string &netns, const std::string &name, const rte_ether_addr &mac, std::uint32_t mtu);
/// Throws `error` if tap_open() would because of the name or who has it. Control thread.
void tap_check(const std::string &netns, const std::string &name);
/// An fd without an interface: writes and reads fail as if it had been deleted. The caller closes it. Throws `error`.
int tap_unattached();

/// Where the interface of an fd is now, seen from a namespace.
struct tap_place {
    enum { here, elsewhere, gone } where = here;
    std::string name; ///< unless it is gone
    int ifindex = 0;  ///< if it is here
};
/// Control thread; throws `error`.
tap_place tap_find(const std::string &netns, int fd);
/// It is found under that name from now on, whatever it is called. Control thread; throws `error`.
void tap_identify(const std::string &netns, int ifindex, const std::string &name);

/// Of an interface that has been deleted meanwhile, nothing. Throws `error`.
void tap_set_carrier(int fd, const std::string &name, bool up);
/// Sets MAC and MTU as tap_open() does, wherever the interface is. Control thread; throws `error`.
void tap_set_address(const std::string &netns, int fd, const rte_ether_addr &mac, std::uint32_t mtu);
/// `name`: for messages; the interface may have been renamed or moved. Throws `error`.
void tap_set_mtu(const std::string &netns, int fd, const std::string &name, std::uint32_t mtu);
/// Removes a persistent TAP interface that nobody holds, by the name that it was made under; nothing if there is none.
void tap_destroy(const std::string &netns, const std::string &name) noexcept;
/// The interface goes with its fd, and not before.
void tap_forget(int fd) noexcept;

/// Writes one frame, segmented or not; true if the kernel took it.
bool tap_write(int fd, const rte_mbuf &m) noexcept;

enum class tap_result {
    frame,   ///< in the mbufs, checksum complete
    bad,     ///< a frame that does not fit or is not a plain one; the mbufs hold nothing
    empty,   ///< nothing to read
    removed, ///< the interface is gone
};
/// Reads one frame into empty mbufs, `n` of them at most: `into`, `into` - 1, …, of which `used` then make up the
/// packet that begins with *into.
tap_result tap_read(int fd, rte_mbuf **into, unsigned n, unsigned &used) noexcept;

/// Reads one frame and throws it away.
void tap_discard(int fd) noexcept;

/// Completes a checksum of which the field at `start` + `offset` holds the pseudo-header's part, over everything from
/// `start` on. False if that is not inside the packet, or the field not in its first segment.
bool complete_checksum(rte_mbuf &m, unsigned start, unsigned offset) noexcept;

} // namespace halfpoll
