// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <memory>
#include <string>

namespace halfpoll
{

/// A DPDK port: `devargs` is a PCI address ("0000:01:00.0"), a vdev string ("net_virtio_user0,path=/run/v.sock") that
/// is probed now, or "port:N" for one that the embedder probed. Control thread. Throws `error`.
std::unique_ptr<port> make_ethdev_port(const std::string &devargs);

} // namespace halfpoll
