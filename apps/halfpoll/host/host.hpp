// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace halfpoll
{

/// A link in the calling thread's network namespace.
struct link_facts {
    std::string name;
    int index = 0;
    int master = 0;   ///< index of the bridge, bond … that this link is a port of; 0: none
    int lower = 0;    ///< index of the link below a VLAN, macvlan …; 0: none
    std::string kind; ///< "veth", "bridge" …; empty: a device
    std::string xdp;  ///< name of the attached XDP program; empty: none, or no permission to read it
};

// Bits of link_xdp_features(): the kernel's NETDEV_XDP_ACT_*.
inline constexpr std::uint64_t XDP_FEATURE_BASIC = 1;
inline constexpr std::uint64_t XDP_FEATURE_REDIRECT = 2;
inline constexpr std::uint64_t XDP_FEATURE_ZEROCOPY = 8;

/// The machine that halfpoll runs on, as the checks see it: its files, and the facts that need a system call. Tests
/// replace it with a made-up machine. Control thread. A method named …_error attempts an operation and returns 0 or
/// errno; a mere attempt leaves nothing behind.
class host
{
public:
    /// `root`: the directory that contains /sys, /proc, /dev and /run, if that is not "/".
    explicit host(std::string root = {}) : root_(std::move(root)) {}
    virtual ~host() = default;
    host(const host &) = delete;
    host &operator=(const host &) = delete;

    // ---- files; paths are absolute, without the root ----
    /// Returns the content without its last newline; empty if the file cannot be read.
    std::string read(const std::string &path) const;
    bool exists(const std::string &path) const;
    /// Returns the last component of a symbolic link's target; empty if the path is not a symbolic link.
    std::string link_name(const std::string &path) const;
    /// Returns the path with all symbolic links resolved; empty if it does not exist.
    std::string resolve(const std::string &path) const;
    /// Returns the names in a directory, sorted; none if it cannot be read.
    std::vector<std::string> list(const std::string &path) const;
    /// Returns a setting below /proc/sys as a network namespace has it (empty: this thread's namespace).
    std::string sysctl(const std::string &netns, const std::string &path) const;
    /// Opens a device file for reading and writing, and closes it.
    virtual int open_error(const std::string &path) const;
    /// Writes `text` to an existing file with one write().
    virtual int write_error(const std::string &path, const std::string &text);
    /// Makes or replaces a file; makes its directory if needed. Throws `error`.
    void store(const std::string &path, const std::string &text);
    void remove(const std::string &path) noexcept;

    // ---- this process ----
    virtual bool capable(unsigned capability) const;
    virtual std::uint64_t memlock_limit() const; ///< bytes; UINT64_MAX: none
    virtual std::uint64_t file_limit() const;    ///< open files, up to the hard limit; UINT64_MAX: none
    virtual std::uint64_t address_limit() const; ///< bytes; UINT64_MAX: none
    /// Checks that the process may write to a file, or make files in a folder. The path is not below the root.
    virtual int write_access(const std::string &path) const;
    virtual std::string environment(const char *name) const;
    virtual std::string program() const; ///< path of the executable

    // ---- the kernel ----
    virtual int tun_error() const;
    virtual int vhost_error() const; ///< vhost-net
    virtual int io_uring_error() const;
    virtual int socket_error(int family, int type, int protocol) const;
    virtual int xsk_map_error() const;
    virtual int fifo_error(int priority) const;
    /// Loads a module and its dependencies; returns false if that fails.
    virtual bool load_module(const std::string &name);

    // ---- the network of the calling thread ----
    virtual std::vector<link_facts> links() const;
    /// XDP_FEATURE_…; absent: the kernel does not report them (before 6.3).
    virtual std::optional<std::uint64_t> link_xdp_features(int index) const;
    /// Returns the number of receive queues that AF_XDP would have to serve; 0: unknown.
    virtual unsigned link_rx_queues(const std::string &name) const;
    /// Returns the interfaces with a default route, in any table and of either family.
    virtual std::vector<std::string> default_route_links() const;
    /// Returns the interface through which the kernel sends to an address, and the interface that has an address;
    /// empty: none.
    virtual std::string link_towards(const std::string &address) const;
    virtual std::string link_of_address(const std::string &address) const;

protected:
    std::string path(const std::string &file) const { return root_ + file; }

private:
    std::string root_;
};

} // namespace halfpoll
