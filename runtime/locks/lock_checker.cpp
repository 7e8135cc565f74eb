// SPDX-License-Identifier: BSD-3-Clause
//
// The order of lock classes is a graph that grows as locks are taken: an edge A -> B means that B was taken under A. A
// thread that adds a path B -> ... -> A can deadlock with a thread that holds A and waits for B, even if it does not
// happen in this run.
#include <halfpoll/local_lock.hpp>
#include <halfpoll/softnet_data.hpp>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace halfpoll
{

namespace
{

constexpr unsigned CLASSES = 64; ///< classes beyond that get this id, and their order is not checked
constexpr unsigned DEPTH = 8;    ///< locks that a thread may hold at a time

std::atomic<std::uint64_t> ids_taken{0};                       ///< bit per class; relaxed: no other data depends on it
std::array<std::atomic<std::uint64_t>, CLASSES> taken_under{}; ///< by class: the classes taken under it; relaxed hints
std::array<std::atomic<const char *>, CLASSES> names{};        ///< for messages

thread_local std::array<const nested_bh_lock *, DEPTH> held{};
thread_local unsigned held_count = 0;

unsigned take_id(const char *name) noexcept
{
    std::uint64_t taken = ids_taken.load(std::memory_order_relaxed);
    unsigned id;
    do {
        id = static_cast<unsigned>(std::countr_one(taken));
        if (id == CLASSES) {
            return id;
        }
    } while (!ids_taken.compare_exchange_weak(taken, taken | std::uint64_t{1} << id, std::memory_order_relaxed));
    names[id].store(name, std::memory_order_relaxed);
    return id;
}

/// Classes that were taken under `from`, directly or not.
std::uint64_t reachable(unsigned from) noexcept
{
    std::uint64_t seen = 0, look = std::uint64_t{1} << from;
    while (look != 0) {
        const unsigned id = static_cast<unsigned>(std::countr_zero(look));
        look &= look - 1;
        const std::uint64_t next = taken_under[id].load(std::memory_order_relaxed) & ~seen;
        seen |= next;
        look |= next;
    }
    return seen;
}

[[noreturn]] void report(const nested_bh_lock &lock, const char *what, const char *whom = "") noexcept
{
    std::fprintf(stderr, "halfpoll: lock %s of logical CPU %d %s%s\n", lock.lock_class().name(), lock.cpu(), what,
                 whom);
    std::abort();
}

void check_order(const nested_bh_lock &lock, const nested_bh_lock &under) noexcept
{
    const unsigned id = lock.lock_class().id(), outer = under.lock_class().id();
    if (&lock == &under) {
        report(lock, "is taken twice by one thread: it is not recursive");
    }
    if (id == CLASSES || outer == CLASSES) {
        return;
    }
    if (id == outer) {
        report(lock, "is taken under another one of its class, and nothing says which comes first");
    }
    if (reachable(id) & std::uint64_t{1} << outer) {
        report(lock, "is taken in the wrong order: elsewhere it is held where this is taken: ",
               names[outer].load(std::memory_order_relaxed));
    }
    taken_under[outer].fetch_or(std::uint64_t{1} << id, std::memory_order_relaxed);
}

} // namespace

nested_bh_lock_class::nested_bh_lock_class(const char *name) noexcept : name_(name), id_(take_id(name)) {}

nested_bh_lock_class::~nested_bh_lock_class()
{
    if (id_ == CLASSES) {
        return;
    }
    const std::uint64_t mine = std::uint64_t{1} << id_;
    taken_under[id_].store(0, std::memory_order_relaxed);
    for (auto &classes : taken_under) {
        classes.fetch_and(~mine, std::memory_order_relaxed);
    }
    ids_taken.fetch_and(~mine, std::memory_order_relaxed);
}

namespace lock_checker
{

void acquire(const nested_bh_lock &lock) noexcept
{
    if (!this_softnet_data()) {
        report(lock, "is taken with bottom halves enabled: local_bh_disable() comes first");
    }
    for (unsigned i = 0; i < held_count; ++i) {
        check_order(lock, *held[i]);
    }
    if (held_count == DEPTH) {
        report(lock, "is one more than a thread may hold at a time");
    }
    held[held_count++] = &lock;
}

void release(const nested_bh_lock &lock) noexcept
{
    for (unsigned i = held_count; i-- > 0;) {
        if (held[i] == &lock) {
            --held_count;
            for (; i < held_count; ++i) {
                held[i] = held[i + 1];
            }
            return;
        }
    }
    report(lock, "is released by a thread that does not hold it");
}

void expect_none(const char *what) noexcept
{
    if (held_count != 0) {
        report(*held[held_count - 1], "is held across ", what);
    }
}

} // namespace lock_checker

} // namespace halfpoll
