// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <string>

namespace halfpoll
{

/// Puts the calling thread into a network namespace for the length of a scope. Sockets and TAPs opened meanwhile belong
/// to that namespace for good. Control threads.
class netns_scope
{
public:
    /// A name under /run/netns or a path; empty: stays where it is. Throws `error` with the remedy; the thread is then
    /// where it was.
    explicit netns_scope(const std::string &netns);
    ~netns_scope();
    netns_scope(const netns_scope &) = delete;
    netns_scope &operator=(const netns_scope &) = delete;

private:
    int home_ = -1; ///< the namespace to return to; -1: never left
};

} // namespace halfpoll
