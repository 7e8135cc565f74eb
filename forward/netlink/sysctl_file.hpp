// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <optional>
#include <string>

namespace halfpoll
{

/// A number below /proc/sys/net, as one network namespace has it. The kernel reports no change of such a setting, so
/// that it has to be read again and again. The file stays open: reading needs no change of the namespace.
class sysctl_file
{
public:
    /// `netns` as for netns_scope; `path` below /proc/sys/net. Throws `error` if the namespace cannot be entered, and
    /// if the file cannot be opened for another reason than that the kernel lacks it.
    sysctl_file(const std::string &netns, const std::string &path);
    ~sysctl_file();
    sysctl_file(const sysctl_file &) = delete;
    sysctl_file &operator=(const sysctl_file &) = delete;

    /// No value: the kernel lacks the setting.
    std::optional<int> read() const noexcept;

private:
    int fd_ = -1; ///< -1: the kernel lacks it
};

} // namespace halfpoll
