// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/port.hpp>

#include <functional>
#include <memory>
#include <string>

namespace halfpoll
{

/// Makes a port of a DPDK device. `devargs` is a PCI address ("0000:01:00.0"), the string of a virtual device that is
/// probed now ("net_virtio_user0,path=/run/v.sock"), or "port:N" for a port that the embedder probed. Control thread.
/// Throws device_absent if a PCI device is not present or is bound to another driver, else `error`. `warn` is called
/// with one-line messages about features that work only in part. The destructor removes the device from DPDK if it was
/// not given as "port:N": it can then be unplugged, bound to another driver or probed again.
std::unique_ptr<port> make_ethdev_port(const std::string &devargs, std::function<void(const std::string &)> warn = {});

} // namespace halfpoll
