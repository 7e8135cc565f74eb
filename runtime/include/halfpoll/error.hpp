// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace halfpoll
{

/// The exception of set-up and control code. Its message is one sentence that names what failed, where, and the remedy
/// if there is one. Data CPUs never throw.
class error : public std::runtime_error
{
public:
    using std::runtime_error::runtime_error;
};

/// Throws `error` with the message "`what`: strerror(`errnum`)", and the remedy if file descriptors are short, which
/// can happen anywhere. `errnum` is a positive errno.
[[noreturn]] inline void throw_errno(int errnum, const std::string &what)
{
    const char *remedy = errnum == EMFILE ? " (raise the limit of open files: ulimit -n; systemd: LimitNOFILE=)" : "";
    throw error(what + ": " + std::generic_category().message(errnum) + remedy);
}

} // namespace halfpoll
