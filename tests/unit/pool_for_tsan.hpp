// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/pi_lock.hpp>

#include <rte_mempool.h>

#ifdef HALFPOLL_THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

namespace halfpoll::test
{

#ifdef HALFPOLL_THREAD_SANITIZER

/// The library with a pool's handler is not instrumented. This class declares the handler's ordering to
/// ThreadSanitizer: the thread that takes an object out sees everything that the thread did before which put it in.
class pool_for_tsan
{
public:
    explicit pool_for_tsan(const rte_mempool *pool)
    {
        if (enqueue_) {
            return; // all pools of a program share the handler
        }
        rte_mempool_ops *ops = rte_mempool_get_ops(pool->ops_index);
        enqueue_ = ops->enqueue;
        dequeue_ = ops->dequeue;
        ops->enqueue = [](rte_mempool *p, void *const *objects, unsigned n) {
            for (unsigned i = 0; i < n; ++i) {
                __tsan_release(objects[i]);
            }
            return enqueue_(p, objects, n);
        };
        ops->dequeue = [](rte_mempool *p, void **objects, unsigned n) {
            const int rc = dequeue_(p, objects, n);
            for (unsigned i = 0; rc == 0 && i < n; ++i) {
                __tsan_acquire(objects[i]);
            }
            return rc;
        };
    }

private:
    static inline rte_mempool_enqueue_t enqueue_ = nullptr;
    static inline rte_mempool_dequeue_t dequeue_ = nullptr;
};

#else

struct pool_for_tsan {
    explicit pool_for_tsan(const rte_mempool *) {}
};

#endif

} // namespace halfpoll::test
