// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace halfpoll
{

/// A non-blocking socket that gets a message whenever ethtool changes a setting of an interface in the calling thread's
/// network namespace, by ioctl or netlink. The caller closes it. -1: the kernel does not tell (it has no
/// CONFIG_ETHTOOL_NETLINK). Any thread.
int open_ethtool_monitor() noexcept;

} // namespace halfpoll
