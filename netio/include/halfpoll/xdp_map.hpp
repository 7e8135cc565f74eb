// SPDX-License-Identifier: BSD-3-Clause
//
// Redirect maps: where an XDP program's xdp_redirect_map() leads. All calls on the control thread, unless said
// otherwise; the data cores look entries up without a lock, and have let go of an entry when the call that removed it
// returns.
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

/// With the kernel's names and meaning (BPF_MAP_TYPE_…).
enum class xdp_map_type : std::uint8_t {
    devmap,      ///< interfaces by index
    devmap_hash, ///< interfaces by any key
    cpumap,      ///< the key is a runtime CPU: its stack gets the packet
    xskmap,      ///< sockets by index: packets leave to another process or to the embedder
};
/// "devmap", …
const char *to_string(xdp_map_type type) noexcept;

/// What a key leads to; the type of the map says what counts.
struct xdp_map_entry {
    std::uint32_t key = 0;
    ifindex_t ifindex = 0;              ///< devmap: out of it. xskmap: to the process at its other end (memif)
    unsigned qsize = 0;                 ///< cpumap: packets that may wait, up to CPUMAP_MAX_QSIZE; 0 deletes the entry
    std::shared_ptr<xdp_socket> socket; ///< xskmap, instead of `ifindex`
    /// devmap: sees what leaves (PASS or DROP). cpumap: sees what arrives on the CPU (PASS, DROP or REDIRECT).
    std::shared_ptr<xdp_program> prog;
};
inline constexpr unsigned CPUMAP_MAX_QSIZE = 16384;
inline constexpr unsigned XDP_MAP_MAX_ENTRIES = 65536;

/// The errors of a redirect, by their kernel names; the packet is dropped (DROP_XDP_REDIRECT). The kernel's others
/// cannot occur: packets need no conversion, and every device and map takes redirects of any number of segments.
enum class xdp_error : std::uint8_t {
    einval,   ///< no interface of that number
    enoent,   ///< broadcast, and no device of the map takes it
    enetdown, ///< device is down or has no carrier
    emsgsize, ///< longer than the device's MTU, link header and one VLAN tag
    enomem,   ///< broadcast, and no buffer for a copy
    enobufs,  ///< queue of the CPU or socket is full
    count
};
/// "EOVERFLOW", …
const char *to_string(xdp_error err) noexcept;
/// Sum over CPUs. Any thread.
std::uint64_t xdp_redirect_errors(const net_core &core, xdp_error err) noexcept;

/// Makes an empty map. `max_entries` 0: 256, a cpumap as many as there are CPUs. Throws `error`.
std::shared_ptr<halfpoll_xdp_map> xdp_map_create(net_core &core, const std::string &name, xdp_map_type type,
                                                 unsigned max_entries = 0);
/// Null if there is none of that name.
std::shared_ptr<halfpoll_xdp_map> xdp_map_find(const net_core &core, const std::string &name);
std::vector<std::shared_ptr<halfpoll_xdp_map>> xdp_maps(const net_core &core);
/// Empties it and takes it off the list; who still has it finds no entry in it. Also at the end of net_core.
void xdp_map_destroy(net_core &core, halfpoll_xdp_map &map) noexcept;

} // namespace halfpoll

/// A map. Programs know it by its C name only.
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

    /// Sets an entry. `flags`: BPF_ANY, BPF_NOEXIST or BPF_EXIST. Throws `error`, and changes nothing then. Packets on
    /// their way to the former entry get there.
    virtual void update(const halfpoll::xdp_map_entry &entry, std::uint64_t flags = BPF_ANY) = 0;
    /// False: there is none.
    virtual bool erase(std::uint32_t key) = 0;
    /// By key.
    virtual std::vector<halfpoll::xdp_map_entry> entries() const = 0;

    // For halfpoll.
    /// The device goes: its entries are unlinked, and freed by the next call of free_removed().
    virtual void unlink_device(const halfpoll::net_device &) {}
    /// After a grace period.
    virtual void free_removed() noexcept {}
    virtual void clear() noexcept = 0;
};

namespace halfpoll
{
using xdp_map = ::halfpoll_xdp_map;
}
