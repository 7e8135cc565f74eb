// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/netns.hpp>

#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

namespace halfpoll
{

netns_scope::netns_scope(const std::string &netns)
{
    if (netns.empty()) {
        return;
    }
    const bool named = netns.find('/') == std::string::npos;
    const std::string path = named ? "/run/netns/" + netns : netns;
    const int target = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (target < 0) {
        const std::string remedy = named ? " (create it: ip netns add " + netns + ")" : "";
        throw_errno(errno, "network namespace " + path + remedy);
    }
    home_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    const int err = home_ < 0 ? errno : setns(target, CLONE_NEWNET) == 0 ? 0 : errno;
    close(target);
    if (err == 0) {
        return;
    }
    if (home_ >= 0) {
        close(home_);
    }
    throw_errno(err, "entering network namespace " + path + " (needs CAP_SYS_ADMIN)");
}

bool is_this_netns(const std::string &netns)
{
    const auto inode = [] {
        struct stat here {
        };
        return stat("/proc/thread-self/ns/net", &here) == 0 ? here.st_ino : 0;
    };
    const ino_t home = inode();
    const netns_scope scope(netns);
    return inode() == home;
}

netns_scope::~netns_scope()
{
    if (home_ < 0) {
        return;
    }
    if (setns(home_, CLONE_NEWNET) != 0) {
        std::terminate(); // the thread would continue in a namespace that is not its own
    }
    close(home_);
}

} // namespace halfpoll
