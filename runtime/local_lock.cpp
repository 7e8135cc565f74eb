// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/error.hpp>
#include <halfpoll/local_lock.hpp>

#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <string>

namespace halfpoll
{

cpu_pin::cpu_pin(int cpu, const std::string &who)
{
    if (this_lock_self.cpu >= 0) {
        throw error(who + " is held on logical CPU " + std::to_string(this_lock_self.cpu) + " already");
    }
    pthread_getaffinity_np(pthread_self(), sizeof old_affinity_, &old_affinity_);
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0 && cpu < CPU_SETSIZE) {
        CPU_SET(static_cast<unsigned>(cpu), &set);
    }
    if (const int rc = pthread_setaffinity_np(pthread_self(), sizeof set, &set)) {
        throw_errno(rc, who + " cannot be pinned to logical CPU " + std::to_string(cpu) +
                            " (is it online and in this process's cpuset?)");
    }
    this_lock_self = {.tid = current_tid(), .cpu = cpu};
}

cpu_pin::~cpu_pin()
{
    this_lock_self.cpu = -1;
    pthread_setaffinity_np(pthread_self(), sizeof old_affinity_, &old_affinity_);
}

void nested_bh_lock::refuse() const noexcept
{
    char name[16] = "?";
    pthread_getname_np(pthread_self(), name, sizeof name);
    const int at = this_lock_self.cpu;
    std::fprintf(stderr,
                 "halfpoll: thread %s (%u) took lock %s of logical CPU %d, but is pinned to %s: make it a "
                 "bottom-half thread of that CPU first (cpu_attachment, or cpu_pin)\n",
                 name, current_tid(), class_.name(), cpu_, at < 0 ? "none" : std::to_string(at).c_str());
    std::abort();
}

} // namespace halfpoll
