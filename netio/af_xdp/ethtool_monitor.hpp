// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// Opens a non-blocking socket that gets a message whenever ethtool changes a setting of an interface in the calling
/// thread's network namespace, by ioctl or netlink. The caller owns the fd. Returns -1 if the kernel sends no such
/// messages (it has no CONFIG_ETHTOOL_NETLINK). Any thread.
int open_ethtool_monitor() noexcept;

} // namespace halfpoll
