// SPDX-License-Identifier: BSD-3-Clause
#include <halfpoll/error.hpp>
#include <halfpoll/local_lock.hpp>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <string>
#include <sys/rseq.h>

namespace halfpoll
{

namespace
{

/// The address where the kernel keeps the calling thread's current CPU (rseq(2)); `&instead` if the kernel keeps none
/// or another value. `instead` holds the CPU that the thread has just been pinned to.
const volatile std::int32_t *cpu_of_this_thread(const std::int32_t &instead) noexcept
{
    if (__rseq_size == 0) {
        return &instead;
    }
    const char *area = static_cast<const char *>(__builtin_thread_pointer()) + __rseq_offset;
    const auto *kept = reinterpret_cast<const volatile std::int32_t *>(area + offsetof(struct rseq, cpu_id));
    return *kept == instead ? kept : &instead;
}

} // namespace

cpu_pin::cpu_pin(int cpu, const std::string &who)
{
    if (this_lock_self.cpu != &lock_self::NO_CPU) {
        throw error(who + " is held on logical CPU " + std::to_string(*this_lock_self.cpu) + " already");
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
    pinned_to_ = cpu;
    this_lock_self = {.tid = current_tid(), .cpu = cpu_of_this_thread(pinned_to_)};
}

cpu_pin::~cpu_pin()
{
    this_lock_self.cpu = &lock_self::NO_CPU;
    pthread_setaffinity_np(pthread_self(), sizeof old_affinity_, &old_affinity_);
}

void nested_bh_lock::refuse() const noexcept
{
    char name[16] = "?";
    pthread_getname_np(pthread_self(), name, sizeof name);
    const bool moved = this_lock_self.cpu != &lock_self::NO_CPU;
    std::fprintf(stderr, "halfpoll: thread %s (%u) takes lock %s of logical CPU %d, but %s\n", name, current_tid(),
                 class_.name(), cpu_,
                 moved ? "runs on another one: it belongs to that, or its affinity was changed"
                       : "is pinned to none: make it a bottom-half thread first (cpu_attachment, or cpu_pin)");
    std::abort();
}

} // namespace halfpoll
