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

// XDP: a program of an rx queue sees each burst first, before RPS, and decides the action for each packet
// (xdp_program.h). A packet of any number of segments is one packet.

/// A program. Constructed and destroyed on the control thread; destroyed after its last run() has returned.
class xdp_program
{
public:
    explicit xdp_program(std::string name) : name_(std::move(name)) {}
    virtual ~xdp_program() = default;
    xdp_program(const xdp_program &) = delete;
    xdp_program &operator=(const xdp_program &) = delete;

    const std::string &name() const noexcept { return name_; }
    /// Judges a burst: sets the action of each of the n packets. On any data CPU, on several at the same time. Must not
    /// block or throw.
    virtual void run(halfpoll_xdp_burst &burst) noexcept = 0;
    /// The program's own figures, as lines of "name value". Control thread, while data CPUs run the program.
    virtual std::string show() const { return {}; }

private:
    std::string name_;
};

/// A program known at compile time. `F` is called for each packet and inlined into the loop over the burst:
/// std::uint8_t f(halfpoll_xdp_burst &, std::uint32_t i) noexcept returns the xdp_action of packet i.
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
/// the object is unloaded after the last one. To replace an object on disk, write a new file and rename it: the old
/// file may be in use. `core` outlives the program. Control thread. Throws `error` that names the file: it cannot be
/// read, it could be changed by a user other than root, the effective user and the owner of the running program, it is
/// not a complete shared object, it exports no complete halfpoll_xdp_program, it was built for another HALFPOLL_XDP_ABI
/// or DPDK release, or its open() failed (with the text that open() gave).
std::shared_ptr<xdp_program> xdp_load(net_core &core, const std::string &file, const std::string &config = {});

inline constexpr int XDP_ALL_QUEUES = -1;

/// Puts a program on an rx queue of a device, or on all queues, in place of the present one. Each burst is judged by
/// exactly one of the two, and no packet is lost. Returns when no data CPU runs the former program any more, whose
/// reference is then released. The program stays attached when the device fails and returns. Control thread. Throws
/// `error` if `program` is null or there is no such queue, and then changes nothing.
void xdp_attach(net_core &core, net_device &dev, std::shared_ptr<xdp_program> program, int queue = XDP_ALL_QUEUES);
/// Detaches the program: from now on packets of the queue pass without one. Otherwise as xdp_attach().
void xdp_detach(net_core &core, net_device &dev, int queue = XDP_ALL_QUEUES);

/// Packets of an rx queue by action, since the device was registered.
struct xdp_counters {
    std::uint64_t pass = 0, drop = 0, tx = 0;
    std::uint64_t redirect = 0; ///< taken by a redirect, packets that its target dropped included
    std::uint64_t aborted = 0;  ///< XDP_ABORTED, or not a valid action
};
/// `queue` is one of the device's. Control thread.
xdp_counters xdp_counters_of(const net_device &dev, unsigned queue) noexcept;
/// Null: the queue has no program. Control thread.
std::shared_ptr<xdp_program> xdp_program_of(const net_device &dev, unsigned queue) noexcept;

} // namespace halfpoll
