// SPDX-License-Identifier: BSD-3-Clause
#include "table_loader.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <linux/rtnetlink.h>
#include <utility>

// A load marks the entries that the dumps show, then sweeps the others. An entry that stays is never taken out of the
// FIB.

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

table_loader::table_loader(const epoll_set &events, netlink_socket &socket, const kernel_state &state,
                           load_state &loads, route_table &routes, message_handler &messages, mirror_report &report)
    : socket_(socket), state_(state), loads_(loads), load_(loads.load), routes_(routes), messages_(messages),
      report_(report), load_timer_(events), link6_timer_(events)
{
    link6_timer_.arm_rounded(NSEC_PER_SEC);
}

void table_loader::process_timers()
{
    if (link6_timer_.take_expiry()) {
        look_at_links6();
    }
    if (load_timer_.take_expiry()) {
        look_after_load();
    }
}

void table_loader::demand_load() noexcept
{
    loads_.lost_messages = true;
    load_after_ = 0;
    failed_loads_ = 0;
}

bool table_loader::settled() const
{
    return !loads_.loading() && !loads_.lost_messages && !loads_.stale.any() && !socket_.readable();
}

bool table_loader::begin_load_if_due()
{
    if (loads_.loading() || (!loads_.lost_messages && !loads_.stale.any())) {
        return false;
    }
    const ktime_t now = ktime_get();
    if (now < load_after_) {
        load_timer_.arm(load_after_ - now);
        return false;
    }
    // Marks that are set from now on belong to a later load: the changes that they stand for may not be complete when
    // the kernel gives the turn.
    const stale_tables marks = std::exchange(loads_.stale, {});
    load_ = {};
    load_.whole = std::exchange(loads_.lost_messages, false);
    load_.began = now;
    std::ranges::copy_if(all_tables, std::back_inserter(load_.tables),
                         [&](const table_request &table) { return load_.whole || concerns(marks, table); });
    load_timer_.arm(stall_time);
    if (load_.whole || marks.any_but_links6()) {
        socket_.request_turn();
    } else { // only links6, which is read every second: not worth taking RTNL
        load_.has_turn = true;
        request_table(false);
    }
    return true;
}

/// Ends a load and begins a pause, so that a link that flaps all the time leaves most of the thread's time to others.
void table_loader::end_load(bool complete)
{
    const ktime_t now = ktime_get();
    load_after_ = now + std::min((now - load_.began) * pause_share, longest_pause);
    report_.stats.resyncs += load_.whole && complete ? 1 : 0;
    failed_loads_ = complete ? 0 : failed_loads_ + 1;
    loads_.lost_messages |= !complete;
    load_ = {};
    load_timer_.disarm();
}

/// Called by the timer. If no reply came for `stall_time`, and none waits for this thread, which may have been away all
/// that time, the end of a dump was lost.
void table_loader::look_after_load()
{
    if (loads_.loading()) {
        std::exchange(load_.heard, false) || socket_.readable() ? load_timer_.arm(stall_time) : end_load(false);
    }
}

/// Requests the present table: a new dump, which counts alone, or (`united`) one more whose entries count together with
/// those of the dump before.
void table_loader::request_table(bool united)
{
    const table_request &table = load_.tables[load_.next];
    load_.touched.clear();
    load_.interrupted = load_.disturbed = false;
    if (!united) {
        ++loads_.generation;
        routes_.begin_dump();
        load_.doubtful.clear();
        if (table.type == RTM_GETROUTE && load_.only.empty()) {
            (table.family == AF_INET ? loads_.dead_hops4 : loads_.dead_hops6) = false;
        }
    }
    messages_.begin_dump(table);
    ++load_.attempts;
    socket_.request_dump(table.type, table.family);
}

void table_loader::take(const nlmsghdr &message)
{
    if (!socket_.is_reply(message)) {
        if (!socket_.is_late_reply(message)) {
            messages_.handle(message);
        }
        return;
    }
    if (!loads_.loading()) {
        return; // a reply for a load that was given up
    }
    load_.heard = true;
    load_.interrupted |= (message.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (message.nlmsg_type == NLMSG_ERROR || message.nlmsg_type == NLMSG_DONE) { // both begin with an error number
        const bool has_number = message.nlmsg_len >= NLMSG_LENGTH(sizeof(int));
        answered(has_number ? -*static_cast<const int *>(NLMSG_DATA(&message)) : 0);
    } else {
        messages_.handle(message);
    }
}

/// Called at the end of the reply to the last request.
void table_loader::answered(int errnum)
{
    if (!std::exchange(load_.has_turn, true)) {
        if (errnum != 0) {
            report_.complain("cannot take a turn in the kernel's configuration (" + std::string(std::strerror(errnum)) +
                             ")");
        }
        request_table(false);
        return;
    }
    if (errnum != 0 && !absent(errnum) && !passing(errnum)) {
        throw_errno(errnum, "rtnetlink socket: dump");
    }
    const bool failed = loads_.lost_messages || passing(errnum);
    messages_.end_dump(load_.tables[load_.next], failed || load_.interrupted ? rule_mirror::dump::failed
                                                 : absent(errnum)            ? rule_mirror::dump::absent
                                                                             : rule_mirror::dump::whole);
    if (failed) {
        end_load(false);
    } else {
        table_read();
    }
}

void table_loader::table_read()
{
    const table_request table = load_.tables[load_.next];
    // IPv6: while routes come and go, the kernel resumes a dump at a count of entries, so that it may skip some.
    const bool gaps = load_.disturbed && table.family == AF_INET6 && load_.attempts < disturbed_attempts;
    if (load_.attempts < dump_attempts && (load_.interrupted || gaps)) {
        request_table(true);
        return;
    }
    if (load_.interrupted) {
        end_load(false);
        return;
    }
    messages_.sweep(table);
    load_.only = std::exchange(load_.doubtful, {});
    if (!load_.only.empty() && load_.attempts < dump_attempts) {
        request_table(false);
        return;
    }
    mark_doubtful(table);
    load_.only.clear();
    load_.attempts = 0;
    if (++load_.next < load_.tables.size()) {
        request_table(false);
    } else {
        end_load(true);
    }
}

/// If prefixes are still doubtful, leaves them to a later load.
void table_loader::mark_doubtful(const table_request &table)
{
    if (!load_.only.empty()) {
        (table.family == AF_INET ? loads_.stale.routes4 : loads_.stale.routes6) = true;
    }
}

/// The kernel sends no message when net.ipv6.conf.IF.mtu or disable_ipv6 change, by sysctl or by a router
/// advertisement. Some kernels (6.1) send none when ignore_routes_with_linkdown changes, either.
void table_loader::look_at_links6()
{
    loads_.stale.links6 = true;
    link6_timer_.arm_rounded(NSEC_PER_SEC + static_cast<ktime_t>(state_.links.size()) * NSEC_PER_MSEC);
}

} // namespace halfpoll
