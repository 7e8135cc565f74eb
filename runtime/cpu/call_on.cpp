// SPDX-License-Identifier: BSD-3-Clause
#include "call_on.hpp"

#include "bh_thread.hpp"

#include <halfpoll/error.hpp>

#include <exception>
#include <mutex>

namespace halfpoll
{

void call_on(softnet_data &sd, const std::function<void(softnet_data &)> &fn)
{
    if (this_softnet_data()) {
        throw error("call_on() from a bottom-half thread would wait for itself: use call_on_async()");
    }
    struct request : call_single_data {
        const std::function<void(softnet_data &)> *fn;
        bh_thread *target;
        std::exception_ptr failure;
        bool done = false; // protected by the target's call_mutex
    } call;
    call.fn = &fn;
    call.target = sd.thread;
    call.arg = &call;
    call.func = [](softnet_data &by, void *arg) noexcept {
        request &r = *static_cast<request *>(arg);
        bh_thread &target = *r.target; // the caller may free `r` as soon as `done` is set
        try {
            (*r.fn)(by);
        } catch (...) {
            r.failure = std::current_exception();
        }
        std::lock_guard lock(target.call_mutex);
        r.done = true;
        target.call_done.notify_all();
    };
    call_on_async(sd, call);
    std::unique_lock lock(call.target->call_mutex);
    call.target->call_done.wait(lock, [&] { return call.done; });
    lock.unlock();
    if (call.failure) {
        std::rethrow_exception(call.failure);
    }
}

} // namespace halfpoll
