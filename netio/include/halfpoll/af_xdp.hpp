// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>
#include <memory>
#include <string>

namespace halfpoll
{

/// A kernel interface of the calling thread's network namespace, driven through AF_XDP sockets, one per queue. mbuf
/// memory is the UMEM (pool from packet_pool_create()); copy mode where zero-copy is refused. While open it takes every
/// frame of the interface and keeps the kernel from using IPv6 on it; close() restores that. The program goes when the
/// process does. Control thread. Throws `error` that names the missing capability or kernel feature. `warn` gets
/// one-line messages about what works only in part (called from open()).
std::unique_ptr<port> make_af_xdp_port(const std::string &ifname, std::function<void(const std::string &)> warn = {});

} // namespace halfpoll
