// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <stdexcept>
#include <string>
#include <system_error>

namespace halfpoll
{

/// What set-up and control code throws: one sentence that says what failed, where, and the remedy if there is one.
/// Data cores never throw.
class error : public std::runtime_error
{
public:
    using std::runtime_error::runtime_error;
};

/// `what: strerror(errnum)`; errnum is a positive errno.
[[noreturn]] inline void throw_errno(int errnum, const std::string &what)
{
    throw error(what + ": " + std::generic_category().message(errnum));
}

} // namespace halfpoll
