// SPDX-License-Identifier: BSD-3-Clause
#include "mirror_impl.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <linux/rtnetlink.h>
#include <utility>

// A load marks the entries that the dumps show, then sweeps the others. An entry that stays is never taken out of the
// FIB. Nothing in this file waits: requests are sent, and process() passes the replies on.

namespace halfpoll
{

namespace
{

constexpr unsigned dump_attempts = 10;
constexpr unsigned disturbed_attempts = 3;
constexpr ktime_t stall_time = NSEC_PER_SEC;
constexpr ktime_t longest_pause = NSEC_PER_SEC;
constexpr int pause_share = 3; // the pause after a load, as a multiple of its duration

constexpr table_request all_tables[] = {{RTM_GETLINK, AF_UNSPEC},    {RTM_GETLINK, AF_INET6}, {RTM_GETNETCONF, AF_INET},
                                        {RTM_GETNETCONF, AF_INET6},  {RTM_GETNEIGH, AF_INET}, {RTM_GETNEIGH, AF_INET6},
                                        {RTM_GETNEXTHOP, AF_UNSPEC}, {RTM_GETRULE, AF_INET},  {RTM_GETRULE, AF_INET6},
                                        {RTM_GETROUTE, AF_INET},     {RTM_GETROUTE, AF_INET6}};

bool concerns(const stale_tables &stale, const table_request &table)
{
    switch (table.type) {
    case RTM_GETLINK:
        return table.family == AF_INET6 ? stale.links6 : stale.links;
    case RTM_GETNEXTHOP:
        return stale.objects;
    case RTM_GETRULE:
        return stale.rules;
    case RTM_GETROUTE:
        return table.family == AF_INET ? stale.routes4 : stale.routes6;
    default:
        return false;
    }
}

/// True if the kernel lacks the family or feature: its table is then empty.
bool absent(int errnum) { return errnum == EOPNOTSUPP || errnum == EAFNOSUPPORT; }

/// True if another attempt may succeed.
bool passing(int errnum) { return errnum == ENOBUFS || errnum == EBUSY || errnum == EINTR || errnum == EAGAIN; }

} // namespace

bool mirror::impl::settled() const { return !loading() && !lost_messages && !stale.any() && !socket.readable(); }

/// Begins to dump the stale tables. Returns false if none is stale, or if it is too early.
bool mirror::impl::begin_load_if_due()
{
    if (loading() || (!lost_messages && !stale.any())) {
        return false;
    }
    const ktime_t now = ktime_get();
    if (now < load_after) {
        load_timer.arm(load_after - now);
        return false;
    }
    // Marks that are set from now on belong to a later load: the changes that they stand for may not be complete when
    // the kernel gives the turn.
    const stale_tables marks = std::exchange(stale, {});
    load = {};
    load.whole = std::exchange(lost_messages, false);
    load.began = now;
    std::ranges::copy_if(all_tables, std::back_inserter(load.tables),
                         [&](const table_request &table) { return load.whole || concerns(marks, table); });
    load_timer.arm(stall_time);
    if (load.whole || marks.any_but_links6()) {
        socket.request_turn();
    } else { // only links6, which is read every second: not worth taking RTNL
        load.has_turn = true;
        request_table(false);
    }
    return true;
}

/// Ends a load and begins a pause, so that a link that flaps all the time leaves most of the thread's time to others.
void mirror::impl::end_load(bool complete)
{
    const ktime_t now = ktime_get();
    load_after = now + std::min((now - load.began) * pause_share, longest_pause);
    stats.resyncs += load.whole && complete ? 1 : 0;
    failed_loads = complete ? 0 : failed_loads + 1;
    lost_messages |= !complete;
    load = {};
    load_timer.disarm();
}

/// Called by the timer. If no reply came for `stall_time`, the end of a dump was lost.
void mirror::impl::look_after_load()
{
    if (loading()) {
        std::exchange(load.heard, false) ? load_timer.arm(stall_time) : end_load(false);
    }
}

/// Requests the present table: a new dump, which counts alone, or (`united`) one more whose entries count together with
/// those of the dump before.
void mirror::impl::request_table(bool united)
{
    const table_request &table = load.tables[load.next];
    load.touched.clear();
    load.interrupted = load.disturbed = false;
    if (!united) {
        ++generation;
        routes.begin_dump();
        load.doubtful.clear();
        if (table.type == RTM_GETROUTE && load.only.empty()) {
            (table.family == AF_INET ? dead_hops4 : dead_hops6) = false;
        }
    }
    if (table.type == RTM_GETRULE) {
        std::erase_if(rules, [&](const rule_message &r) { return r.family == table.family; });
    }
    ++load.attempts;
    socket.request_dump(table.type, table.family);
}

void mirror::impl::take(const nlmsghdr &message)
{
    if (!socket.is_reply(message)) {
        if (!socket.is_late_reply(message)) {
            handle(message);
        }
        return;
    }
    if (!loading()) {
        return; // a reply for a load that was given up
    }
    load.heard = true;
    load.interrupted |= (message.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (message.nlmsg_type == NLMSG_ERROR || message.nlmsg_type == NLMSG_DONE) { // both begin with an error number
        const bool has_number = message.nlmsg_len >= NLMSG_LENGTH(sizeof(int));
        answered(has_number ? -*static_cast<const int *>(NLMSG_DATA(&message)) : 0);
    } else {
        handle(message);
    }
}

/// Called at the end of the reply to the last request.
void mirror::impl::answered(int errnum)
{
    if (!std::exchange(load.has_turn, true)) {
        if (errnum != 0) {
            complain("cannot take a turn in the kernel's configuration (" + std::string(std::strerror(errnum)) + ")");
        }
        request_table(false);
        return;
    }
    if (errnum != 0 && !absent(errnum) && !passing(errnum)) {
        throw_errno(errnum, "rtnetlink socket: dump");
    }
    if (load.tables[load.next].type == RTM_GETRULE) {
        judge_rules(); // before the first route is applied
    }
    if (lost_messages || passing(errnum)) {
        end_load(false);
    } else {
        table_read();
    }
}

void mirror::impl::table_read()
{
    const table_request table = load.tables[load.next];
    // IPv6: while routes come and go, the kernel resumes a dump at a count of entries, so that it may skip some.
    const bool gaps = load.disturbed && table.family == AF_INET6 && load.attempts < disturbed_attempts;
    if (load.attempts < dump_attempts && (load.interrupted || gaps)) {
        request_table(true);
        return;
    }
    if (load.interrupted) {
        end_load(false);
        return;
    }
    sweep(table);
    load.only = std::exchange(load.doubtful, {});
    if (!load.only.empty() && load.attempts < dump_attempts) {
        request_table(false);
        return;
    }
    mark_doubtful(table);
    load.only.clear();
    load.attempts = 0;
    if (++load.next < load.tables.size()) {
        request_table(false);
    } else {
        end_load(true);
    }
}

/// If prefixes are still doubtful, leaves them to a later load.
void mirror::impl::mark_doubtful(const table_request &table)
{
    if (!load.only.empty()) {
        (table.family == AF_INET ? stale.routes4 : stale.routes6) = true;
    }
}

/// Returns false for a dump entry that may be older than a notification about the same subject. Records when
/// notifications arrive.
bool mirror::impl::is_newest(const nlmsghdr &message, const ip_prefix &prefix, std::int64_t number)
{
    if (!loading()) {
        return true;
    }
    const message_subject subject{message.nlmsg_type & ~3, prefix, number};
    if (!socket.is_reply(message)) {
        load.touched[subject] = socket.reads();
        return true;
    }
    const auto touched = load.touched.find(subject);
    return touched == load.touched.end() || touched->second <= socket.part();
}

void mirror::impl::sweep(const table_request &table)
{
    switch (table.type) {
    case RTM_GETLINK:
        if (table.family == AF_UNSPEC) {
            sweep_links();
        }
        break;
    case RTM_GETNEIGH:
        sweep_neighbours(table.family);
        break;
    case RTM_GETNEXTHOP:
        sweep_objects(); // forget_object() marks the routes stale, too
        break;
    case RTM_GETROUTE:
        for (const ip_prefix &prefix : routes.sweep(table.family, load.only)) {
            route_changed(prefix, true);
        }
        break;
    default:
        break;
    }
}

void mirror::impl::sweep_links()
{
    std::vector<int> gone;
    for (const auto &[ifindex, link] : links) {
        if (link.generation != generation) {
            gone.push_back(ifindex);
        }
    }
    std::ranges::for_each(gone, [this](int ifindex) { forget_link(ifindex); });
}

void mirror::impl::sweep_neighbours(std::uint8_t family)
{
    std::vector<std::pair<ip_addr, int>> gone;
    for (const auto &[key, neighbour] : neighbours) {
        if (key.first.family == family && neighbour.generation != generation) {
            gone.push_back(key);
        }
    }
    std::ranges::for_each(gone, [this](const auto &key) { forget_neighbour(key); });
}

void mirror::impl::sweep_objects()
{
    std::vector<std::uint32_t> gone;
    for (const auto &[id, object] : objects) {
        if (object.generation != generation) {
            gone.push_back(id);
        }
    }
    std::ranges::for_each(gone, [this](std::uint32_t id) { forget_object(id); });
}

} // namespace halfpoll
