// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/net_device.hpp>
#include <halfpoll/xdp_program.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace halfpoll
{

class net_core;

// XDP: a program of an rx queue sees each burst first, before RPS, and says of each packet what becomes of it
// (xdp_program.h). A packet of any number of segments is one packet.

/// A program. Constructed and destroyed on the control thread; destroyed after the last burst that it has seen.
class xdp_program
{
public:
    explicit xdp_program(std::string name) : name_(std::move(name)) {}
    virtual ~xdp_program() = default;
    xdp_program(const xdp_program &) = delete;
    xdp_program &operator=(const xdp_program &) = delete;

    const std::string &name() const noexcept { return name_; }
    /// Judges a burst: sets each of the n actions. Any data core, several at the same time. Must not block or throw.
    virtual void run(halfpoll_xdp_burst &burst) noexcept = 0;
    /// Its own figures, lines of "name value". Control thread, while packets are judged.
    virtual std::string show() const { return {}; }

private:
    std::string name_;
};

/// A program known at compile time: `F` is called for each packet, inlined into the loop over the burst:
/// std::uint8_t f(halfpoll_xdp_burst &, std::uint32_t i) noexcept returns an xdp_action.
template <typename F>
class xdp_inline final : public xdp_program
{
    static_assert(std::is_nothrow_invocable_r_v<std::uint8_t, F &, halfpoll_xdp_burst &, std::uint32_t>);

public:
    xdp_inline(std::string name, F f) : xdp_program(std::move(name)), f_(std::move(f)) {}
    void run(halfpoll_xdp_burst &burst) noexcept override
    {
        const std::uint32_t n = burst.n;
        for (std::uint32_t i = 0; i < n; ++i) {
            burst.action[i] = f_(burst, i);
        }
    }

private:
    F f_;
};

template <typename F>
std::shared_ptr<xdp_program> make_xdp_program(std::string name, F f)
{
    return std::make_shared<xdp_inline<F>>(std::move(name), std::move(f));
}

/// Opens the program of a shared object (xdp_program.h) with its configuration. Each call makes an instance of its own;
/// the object is unloaded after the last one. An object that is to be replaced on disk gets a new file of that name,
/// for the old one may be in use. `core` lives longer than the program. Throws `error` that names the file: it is
/// missing, or no object, or others could change it (trusted_file.hpp), or it is for another version of halfpoll or
/// DPDK, or it says itself what it lacks. Control thread.
std::shared_ptr<xdp_program> xdp_load(net_core &core, const std::string &file, const std::string &config = {});

inline constexpr int XDP_ALL_QUEUES = -1;

/// Puts a program on an rx queue of a device, in place of the one that is there. Each burst is judged by one program
/// alone, none passes by without one, and none is lost. Returns when nobody runs the former one any more, which is then
/// let go. It stays through failure and return of the device. Control thread; throws `error` if there is no such queue,
/// and changes nothing then.
void xdp_attach(net_core &core, net_device &dev, std::shared_ptr<xdp_program> program, int queue = XDP_ALL_QUEUES);
/// Packets go on without a program from now on. Likewise.
void xdp_detach(net_core &core, net_device &dev, int queue = XDP_ALL_QUEUES);

/// Packets of an rx queue by what became of them, since the device was registered.
struct xdp_counters {
    std::uint64_t pass = 0, drop = 0, tx = 0;
    std::uint64_t redirect = 0; ///< given to a redirect; errors are counted there
    std::uint64_t aborted = 0;  ///< XDP_ABORTED, or no valid action
};
/// Control thread. `queue` is one of the device's.
xdp_counters xdp_counters_of(const net_device &dev, unsigned queue) noexcept;
/// Null: none. Control thread.
std::shared_ptr<xdp_program> xdp_program_of(const net_device &dev, unsigned queue) noexcept;

} // namespace halfpoll
