// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "netio/base/bpf_code.hpp"

#include <halfpoll/port.hpp>

#include <cstdint>

namespace halfpoll
{

/// Lets packets of a port pass from its device to the kernel's stack and back inside the kernel:
///
///   device -> XDP program: XDP_PASS -> tcx ingress of the device: redirect -> the shadow receives
///   the shadow sends -> tcx egress of the shadow: redirect -> the device sends
///
/// So they keep the kernel's GRO and segmentation offload, and cost the runtime nothing. The links end with this object
/// or with the process. Control thread.
class kernel_pass
{
public:
    /// Nothing passes before apply(). `device`: ifindex of the port's device.
    explicit kernel_pass(int device);
    ~kernel_pass();
    kernel_pass(const kernel_pass &) = delete;
    kernel_pass &operator=(const kernel_pass &) = delete;

    /// False: the kernel cannot (before Linux 6.6), or has refused a program or a map.
    bool usable() const noexcept { return counts_ >= 0; }
    /// errno for which the kernel has refused a program or a map; 0: it has not.
    int refused() const noexcept { return refused_; }
    /// Appends to the XDP program of the device the code that passes packets. It expects ctx in r6, and goes on behind
    /// the code with the packets that do not pass. If usable().
    void append(bpf_code &code) const;
    /// port::set_pass()
    bool apply(const pass_to_kernel &wanted) noexcept;
    /// port::pass_address()
    void pass_address(const box_address &address, bool passes) noexcept;
    /// port::owns_program()
    bool owns_program(std::uint32_t id) const noexcept;
    /// Packets since the construction.
    std::uint64_t passed_in() const { return count(IN); }
    std::uint64_t passed_out() const { return count(OUT); }

private:
    enum counter : std::uint32_t { IN, OUT, COUNTERS };

    void append_lookup(bpf_code &code, bpf_code::label &keep) const;
    void append_count(bpf_code &code, counter which, std::uint8_t by) const;
    int load_in() const;
    int load_out() const;
    bool attach_in() noexcept;
    bool attach_out(int shadow) noexcept;
    void detach_out() noexcept;
    void write_state(std::uint32_t passing, int shadow, int device) noexcept;
    std::uint64_t count(counter which) const;

    int device_;
    int refused_ = 0;
    int state_ = -1;                   ///< map of one pass_state
    int counts_ = -1;                  ///< map of COUNTERS numbers for each CPU
    int addresses_ = -1;               ///< set of box_address
    int in_ = -1, out_ = -1;           ///< programs
    int in_link_ = -1, out_link_ = -1; ///< -1: not attached
    int shadow_ = 0;                   ///< interface that out_link_ is on
};

} // namespace halfpoll
