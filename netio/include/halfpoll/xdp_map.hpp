// SPDX-License-Identifier: BSD-3-Clause
//
// Redirect maps: the targets of xdp_redirect_map() in XDP programs. All calls are for the control thread unless a
// comment says otherwise. Data CPUs look entries up without a lock; when a call that removed an entry returns, no data
// CPU uses the entry any more.
#pragma once

#include <halfpoll/net_core.hpp>
#include <halfpoll/xdp_program.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace halfpoll
{

class xdp_program;
class xdp_socket;

/// Types of maps, with the kernel's names and meaning (BPF_MAP_TYPE_…).
enum class xdp_map_type : std::uint8_t {
    devmap,      ///< interfaces; the key is an index
    devmap_hash, ///< interfaces; any key
    cpumap,      ///< runtime CPUs; the key is the CPU, whose stack gets the packet
    xskmap,      ///< sockets; the key is an index: packets leave to another process or to the embedder
};
/// The type's name: "devmap", …
const char *to_string(xdp_map_type type) noexcept;

/// The target of a key. The type of the map decides which members are used.
struct xdp_map_entry {
    std::uint32_t key = 0;
    /// devmap: packets leave by it. xskmap: they leave to the process at its other end (memif).
    ifindex_t ifindex = 0;
    /// cpumap: packets that may wait, at most CPUMAP_MAX_QSIZE; 0 deletes the entry.
    unsigned qsize = 0;
    std::shared_ptr<xdp_socket> socket; ///< xskmap, instead of `ifindex`
    /// devmap: judges packets that leave (PASS or DROP). cpumap: judges packets on the target CPU (PASS, DROP or
    /// REDIRECT). xskmap: null.
    std::shared_ptr<xdp_program> prog;
};
inline constexpr unsigned CPUMAP_MAX_QSIZE = 16384;
inline constexpr unsigned XDP_MAP_MAX_ENTRIES = 65536;

/// The errors of a redirect, by their kernel names. The packet is dropped (DROP_XDP_REDIRECT). The kernel's other
/// errors cannot occur: packets need no conversion, and every device and map takes redirects of any number of segments.
enum class xdp_error : std::uint8_t {
    einval,   ///< no interface has that number, the program set no target, or the packet's device has closed
    enoent,   ///< broadcast, and no device of the map takes the packet
    enetdown, ///< device is down or has no carrier
    emsgsize, ///< longer than the device's MTU, link header and one VLAN tag
    enomem,   ///< broadcast, and there was no buffer for a copy
    enobufs,  ///< the queue of the CPU or socket is full
    count
};
/// The kernel's name: "EINVAL", …
const char *to_string(xdp_error err) noexcept;
/// Packets dropped for that error, summed over CPUs. Any thread.
std::uint64_t xdp_redirect_errors(const net_core &core, xdp_error err) noexcept;

/// Makes an empty map. `max_entries` 0 means 256, for a cpumap the number of CPUs. Throws `error` if the name is empty
/// or in use, or if `max_entries` exceeds XDP_MAP_MAX_ENTRIES.
std::shared_ptr<halfpoll_xdp_map> xdp_map_create(net_core &core, const std::string &name, xdp_map_type type,
                                                 unsigned max_entries = 0);
/// Null if no map has that name.
std::shared_ptr<halfpoll_xdp_map> xdp_map_find(const net_core &core, const std::string &name);
std::vector<std::shared_ptr<halfpoll_xdp_map>> xdp_maps(const net_core &core);
/// Empties a map and removes it from the list; a holder of a reference finds no entry in it. net_core's destructor does
/// this for all maps.
void xdp_map_destroy(net_core &core, halfpoll_xdp_map &map) noexcept;

} // namespace halfpoll

/// A map. Programs know it only by its C name.
struct halfpoll_xdp_map {
    halfpoll_xdp_map(std::string map_name, halfpoll::xdp_map_type map_type, unsigned entries)
        : name(std::move(map_name)), type(map_type), max_entries(entries)
    {
    }
    virtual ~halfpoll_xdp_map() = default;
    halfpoll_xdp_map(const halfpoll_xdp_map &) = delete;
    halfpoll_xdp_map &operator=(const halfpoll_xdp_map &) = delete;

    const std::string name;
    const halfpoll::xdp_map_type type;
    const unsigned max_entries;

    /// Sets an entry. `flags`: BPF_ANY, BPF_NOEXIST (there must be no entry) or BPF_EXIST (there must be one). Packets
    /// already redirected to the former entry still get there. Throws `error` if the key is out of range, the flags are
    /// not met, the map is full, or the entry does not suit the type of the map; then nothing has changed.
    virtual void update(const halfpoll::xdp_map_entry &entry, std::uint64_t flags = BPF_ANY) = 0;
    /// Removes an entry. False: there is none.
    virtual bool erase(std::uint32_t key) = 0;
    /// All entries, in ascending order of their keys.
    virtual std::vector<halfpoll::xdp_map_entry> entries() const = 0;

    // Called by halfpoll only.
    /// A device is being unregistered: unlinks its entries, which the next call of free_removed() frees.
    virtual void unlink_device(const halfpoll::net_device &) {}
    /// Frees unlinked entries, after a grace period.
    virtual void free_removed() noexcept {}
    virtual void clear() noexcept = 0;
};

namespace halfpoll
{
using xdp_map = ::halfpoll_xdp_map;
}
