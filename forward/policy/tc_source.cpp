// SPDX-License-Identifier: BSD-3-Clause
#include "tc_source.hpp"

#include "forward/netlink/attributes.hpp"
#include "forward/netlink/netlink_parse.hpp"

#include <cerrno>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <utility>

namespace halfpoll
{

namespace
{

constexpr std::uint32_t ingress_filters = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);
constexpr std::uint32_t egress_filters = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS);

policy_side side_of(const tc_source::place &where)
{
    const bool in = TC_H_MAJ(where.parent) == TC_H_MAJ(TC_H_CLSACT) && where.parent != egress_filters;
    return in ? policy_side::in : policy_side::out;
}

void request_tc(netlink_socket &socket, std::uint16_t type, int ifindex, std::uint32_t parent)
{
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(tcmsg))] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    auto *header = static_cast<tcmsg *>(mnl_nlmsg_put_extra_header(message, sizeof(tcmsg)));
    header->tcm_ifindex = ifindex;
    header->tcm_parent = parent;
    socket.request(*message);
}

} // namespace

tc_source::tc_source(policy &policies, const epoll_set &events, const std::string &netns, unsigned receive_buffer)
    : netlink_source(policies, policy_kind::tc, events), netns_(netns), receive_buffer_(receive_buffer)
{
}

std::unique_ptr<netlink_socket> tc_source::open()
{
    return std::make_unique<netlink_socket>(netns_, NETLINK_ROUTE, std::initializer_list<int>{RTNLGRP_TC, RTNLGRP_LINK},
                                            receive_buffer_);
}

/// An inspection that was not complete leaves its scope to the next one.
void tc_source::begin(bool anew)
{
    ++inspection_;
    places_.clear();
    scope_.merge(std::exchange(stale_, {}));
    if (anew) {
        names_.clear();
        whole_ = true;
    }
    next_ = anew ? step::links : step::qdiscs;
}

bool tc_source::send_request(netlink_socket &socket)
{
    switch (next_) {
    case step::links: // notifications keep their names up to date
        next_ = step::qdiscs;
        asked_ = {};
        socket.request_dump(RTM_GETLINK, AF_UNSPEC);
        return true;
    case step::qdiscs:
        next_ = step::filters;
        asked_ = {};
        request_tc(socket, RTM_GETQDISC, 0, 0);
        return true;
    case step::filters:
        break;
    }
    if (places_.empty()) {
        return false;
    }
    asked_ = places_.front();
    places_.pop_front();
    request_tc(socket, RTM_GETTFILTER, asked_.ifindex, asked_.parent);
    return true;
}

/// The kernel has no queueing disciplines, or the place has just gone.
bool tc_source::harmless(int errnum) const
{
    return errnum == EOPNOTSUPP || (asked_.ifindex != 0 && (errnum == ENODEV || errnum == EINVAL));
}

void tc_source::take_reply(const nlmsghdr &message)
{
    switch (message.nlmsg_type) {
    case RTM_NEWLINK:
        take_link(message);
        break;
    case RTM_NEWQDISC:
        if (const qdisc_message qdisc = parse_qdisc(message); in_scope(qdisc.ifindex)) {
            add_qdisc(qdisc);
            look_for_filters(qdisc);
        }
        break;
    case RTM_NEWTFILTER:
        add_filter(asked_);
        break;
    default:
        break;
    }
}

/// What makes the fast path unsafe is taken from the notification. Whether a reason is gone only an inspection tells.
void tc_source::take_notification(const nlmsghdr &message)
{
    switch (message.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        take_link(message);
        break;
    case RTM_NEWQDISC: {
        const qdisc_message qdisc = parse_qdisc(message);
        add_qdisc(qdisc);
        inspect_again(qdisc.ifindex);
        break;
    }
    case RTM_DELQDISC: // a dump that is under way may skip another one
        disturb();
        inspect_again(parse_qdisc(message).ifindex);
        break;
    // A filter in a shared block has no interface: the block itself is the reason.
    case RTM_NEWTFILTER:
        if (const auto header = copy_header<tcmsg>(message); header.tcm_ifindex > 0) {
            const place where{header.tcm_ifindex, header.tcm_parent};
            if (!has_reason(where.ifindex, side_of(where))) {
                add_filter(where);
            }
        }
        break;
    case RTM_DELTFILTER:
        if (const auto header = copy_header<tcmsg>(message); header.tcm_ifindex > 0) {
            inspect_again(header.tcm_ifindex);
        }
        break;
    default:
        break;
    }
}

void tc_source::inspect_again(int ifindex)
{
    stale_.insert(ifindex);
    netlink_source::inspect_again();
}

void tc_source::take_link(const nlmsghdr &message)
{
    const auto link = parse_link(message);
    if (!link) {
        return; // a port of a bridge, or IPv6 settings
    }
    if (message.nlmsg_type == RTM_NEWLINK) {
        if (std::string &name = names_[link->ifindex]; name != link->name) {
            name = link->name;
            changed();
        }
        return;
    }
    names_.erase(link->ifindex);
    std::erase_if(findings_, [&](const auto &entry) { return std::get<int>(entry.first) == link->ifindex; });
    changed();
    if (inspecting()) {
        disturb(); // the dump may skip the interface after this one
    }
}

void tc_source::add(int ifindex, policy_side side, std::string_view what)
{
    findings_[{ifindex, side, std::string(what)}] = inspection_;
    changed();
}

/// True if there is a reason already that the present inspection, if any, will not sweep.
bool tc_source::has_reason(int ifindex, policy_side side) const
{
    for (auto f = findings_.lower_bound({ifindex, side, {}}); f != findings_.end(); ++f) {
        const auto &[there, its_side, what] = f->first;
        if (there != ifindex || its_side != side) {
            return false;
        }
        if (!inspecting() || f->second == inspection_) {
            return true;
        }
    }
    return false;
}

void tc_source::add_filter(const place &where)
{
    const bool clsact = TC_H_MAJ(where.parent) == TC_H_MAJ(TC_H_CLSACT);
    const policy_side side = side_of(where);
    add(where.ifindex, side, !clsact ? "filter" : side == policy_side::in ? "ingress filter" : "egress filter");
}

/// The filters of a shared block are not looked at: a block with an interface is there to be filled.
void tc_source::add_qdisc(const qdisc_message &qdisc)
{
    if (qdisc.ingress_block) {
        add(qdisc.ifindex, policy_side::in, "ingress block");
    }
    if (qdisc.egress_block) {
        add(qdisc.ifindex, policy_side::out, "egress block");
    }
    if (!qdisc.holds_filters() && !qdisc.is_neutral()) {
        add(qdisc.ifindex, qdisc.parent == TC_H_INGRESS ? policy_side::in : policy_side::out, qdisc.kind);
    }
}

void tc_source::look_for_filters(const qdisc_message &qdisc)
{
    if (qdisc.holds_filters()) {
        places_.push_back({qdisc.ifindex, ingress_filters});
    }
    if (qdisc.kind == "clsact") {
        places_.push_back({qdisc.ifindex, egress_filters});
    }
    // Filters name their discipline by its handle. Handle 0, which the kernel gives, stands for the root.
    if (qdisc.takes_filters() && qdisc.is_neutral() && (qdisc.handle != 0 || qdisc.parent == TC_H_ROOT)) {
        places_.push_back({qdisc.ifindex, qdisc.handle});
    }
}

void tc_source::complete()
{
    std::erase_if(findings_, [this](const auto &entry) {
        return in_scope(std::get<int>(entry.first)) && entry.second != inspection_;
    });
    whole_ = false;
    scope_.clear();
}

std::vector<policy_reason> tc_source::reasons() const
{
    std::vector<policy_reason> reasons;
    for (const auto &[what, inspection] : findings_) {
        const auto &[ifindex, side, text] = what;
        const auto name = names_.find(ifindex);
        reasons.push_back({.side = side,
                           .ifindex = ifindex,
                           .text = "tc " + text + " on " +
                                   (name == names_.end() ? "interface " + std::to_string(ifindex) : name->second)});
    }
    return reasons;
}

} // namespace halfpoll
