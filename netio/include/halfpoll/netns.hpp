// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <string>

namespace halfpoll
{

/// Puts the calling thread into a network namespace for the lifetime of the object. Sockets and TAPs that are opened in
/// that time belong to the namespace for good. The destructor ends the process if the thread cannot return. Control
/// threads.
class netns_scope
{
public:
    /// `netns`: a name under /run/netns, or a path; empty: the thread stays where it is. Throws `error` with the
    /// remedy; the thread is then where it was.
    explicit netns_scope(const std::string &netns);
    ~netns_scope();
    netns_scope(const netns_scope &) = delete;
    netns_scope &operator=(const netns_scope &) = delete;

private:
    int home_ = -1; ///< fd of the namespace to return to; -1: the thread did not leave it
};

/// Whether `netns`, as for netns_scope, is the namespace of the calling thread. Throws `error` as netns_scope does.
bool is_this_netns(const std::string &netns);

} // namespace halfpoll
