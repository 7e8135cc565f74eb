// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>
#include <memory>
#include <string>

namespace halfpoll
{

/// A DPDK port: `devargs` is a PCI address ("0000:01:00.0"), a vdev string ("net_virtio_user0,path=/run/v.sock") that
/// is probed now, or "port:N" for one that the embedder probed. Control thread. Throws `error`; device_absent for a PCI
/// device that is not there, or bound to another driver. `warn` gets one-line messages about what works only in part
/// (called from open()). Destroying it gives the device back: it can be unplugged, bound otherwise or probed again.
std::unique_ptr<port> make_ethdev_port(const std::string &devargs, std::function<void(const std::string &)> warn = {});

} // namespace halfpoll
