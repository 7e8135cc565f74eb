// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

/// A link of the calling thread's network namespace.
struct link_facts {
    std::string name;
    int index = 0;
    int master = 0;   ///< index of the bridge, bond … that it is a port of; 0: none
    int lower = 0;    ///< index of the link that a VLAN, macvlan … is made on; 0: none
    std::string kind; ///< "veth", "bridge" …; empty: a device
    std::string xdp;  ///< name of the XDP program on it; empty: none, or it may not be looked at
};

// Bits of link_xdp_features(); NETDEV_XDP_ACT_* of the kernel.
inline constexpr std::uint64_t XDP_FEATURE_BASIC = 1;
inline constexpr std::uint64_t XDP_FEATURE_REDIRECT = 2;
inline constexpr std::uint64_t XDP_FEATURE_ZEROCOPY = 8;

/// The machine that halfpoll runs on, as the checks see it: its files, and what only a system call can tell. Tests put
/// a made-up one in its place. Control thread. "…_error": 0, or the errno that the attempt ends with; nothing is left.
class host
{
public:
    /// `root`: the directory that /sys, /proc, /dev and /run are in, if not "/".
    explicit host(std::string root = {}) : root_(std::move(root)) {}
    virtual ~host() = default;
    host(const host &) = delete;
    host &operator=(const host &) = delete;

    // ---- files. Paths are absolute, without the root ----
    /// The content without its last newline; empty if it cannot be read.
    std::string read(const std::string &path) const;
    bool exists(const std::string &path) const;
    /// The last part of what a symbolic link points to; empty if it is none.
    std::string link_name(const std::string &path) const;
    /// The path without symbolic links in it; empty if it does not exist.
    std::string resolve(const std::string &path) const;
    /// Names in a directory, in order; none if it cannot be read.
    std::vector<std::string> list(const std::string &path) const;
    /// A setting below /proc/sys, seen from a network namespace (empty: this one).
    std::string sysctl(const std::string &netns, const std::string &path) const;
    /// Opens a device file for reading and writing.
    virtual int open_error(const std::string &path) const;
    /// Writes to an existing file, in one piece.
    virtual int write_error(const std::string &path, const std::string &text);
    /// Makes or replaces a file, and its directory. Throws `error`.
    void store(const std::string &path, const std::string &text);
    void remove(const std::string &path) noexcept;

    // ---- this process ----
    virtual bool capable(unsigned capability) const;
    virtual std::uint64_t memlock_limit() const; ///< bytes; UINT64_MAX: none
    virtual std::uint64_t file_limit() const;    ///< open files, as far as the process may raise it; UINT64_MAX: none
    virtual std::uint64_t address_limit() const; ///< bytes; UINT64_MAX: none
    /// Whether it may write to the file, or make files in the folder. Its own, not below the root.
    virtual int write_access(const std::string &path) const;
    virtual std::string environment(const char *name) const;
    virtual std::string program() const; ///< its file

    // ---- the kernel ----
    virtual int tun_error() const;
    virtual int io_uring_error() const;
    virtual int socket_error(int family, int type, int protocol) const;
    virtual int xsk_map_error() const;
    virtual int fifo_error(int priority) const;
    /// Loads a module with its dependencies; false if that fails.
    virtual bool load_module(const std::string &name);

    // ---- the network of the calling thread ----
    virtual std::vector<link_facts> links() const;
    /// XDP_FEATURE_…; absent: the kernel does not tell (before 6.3).
    virtual std::optional<std::uint64_t> link_xdp_features(int index) const;
    /// Receive queues that AF_XDP would have to serve; 0: cannot be told.
    virtual unsigned link_rx_queues(const std::string &name) const;
    /// Interfaces with a default route, of either family and any table.
    virtual std::vector<std::string> default_route_links() const;
    /// The interface through which the kernel sends to an address, and the one that has it; empty: none.
    virtual std::string link_towards(const std::string &address) const;
    virtual std::string link_of_address(const std::string &address) const;

protected:
    std::string path(const std::string &file) const { return root_ + file; }

private:
    std::string root_;
};

} // namespace halfpoll
