// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>
#include <memory>
#include <string>

namespace halfpoll
{

/// Makes a port of a kernel interface in the calling thread's network namespace, driven through one AF_XDP socket for
/// each queue. The UMEM is the memory of the packet pool, which must come from packet_pool_create(); copy mode is used
/// where the kernel refuses zero-copy. While the port is open it takes every frame of the interface and keeps the
/// kernel from using IPv6 on it; close() restores both. The kernel detaches the XDP program when the process ends.
/// Control thread. Throws device_absent if there is no such interface, else `error`; this call and open() name the
/// missing capability or kernel feature. `warn` is called from open() with one-line messages about features that work
/// only in part.
std::unique_ptr<port> make_af_xdp_port(const std::string &ifname, std::function<void(const std::string &)> warn = {});

} // namespace halfpoll
