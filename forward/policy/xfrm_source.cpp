// SPDX-License-Identifier: BSD-3-Clause
#include "xfrm_source.hpp"

#include "forward/netlink/attributes.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

constexpr std::size_t most_texts = 8; // of a family

/// Kernel and C library each count the attributes of their own time; XFRMA_IF_ID is the newest one that matters here.
constexpr bool leaves_packets_alone(std::uint16_t attribute)
{
    return attribute == XFRMA_POLICY_TYPE || attribute == XFRMA_MARK || attribute == XFRMA_IF_ID;
}

/// True if forwarded packets may meet the policy (`out` and `fwd`; `in` concerns what the box itself receives, and
/// larger numbers belong to sockets of the box) and it may do something to them. Policies that allow without a
/// template, such as the exceptions of IKE daemons, let packets pass as they are. A policy with an interface id
/// concerns only packets of the XFRM interface with this id, which is no port. The other conditions (mark, interface,
/// protocol) are not looked at.
bool is_reason(const nlmsghdr &message, const xfrm_userpolicy_info &info)
{
    bool acts = info.action != XFRM_POLICY_ALLOW;
    bool of_interface = false;
    for_each_attr(message, sizeof info, [&](const nlattr *attr) {
        acts |= !leaves_packets_alone(mnl_attr_get_type(attr));
        of_interface |= mnl_attr_get_type(attr) == XFRMA_IF_ID && mnl_attr_validate(attr, MNL_TYPE_U32) == 0 &&
                        mnl_attr_get_u32(attr) != 0;
    });
    return (info.dir == XFRM_POLICY_OUT || info.dir == XFRM_POLICY_FWD) && acts && !of_interface;
}

std::string prefix_text(std::uint16_t family, const xfrm_address_t &address, unsigned length)
{
    char text[INET6_ADDRSTRLEN] = "any";
    inet_ntop(family, &address, text, sizeof text);
    return std::string(text) + "/" + std::to_string(length);
}

std::string text_of(const xfrm_selector &s, std::uint8_t direction)
{
    return "xfrm policy " + prefix_text(s.family, s.saddr, s.prefixlen_s) + " -> " +
           prefix_text(s.family, s.daddr, s.prefixlen_d) + " dir " + (direction == XFRM_POLICY_OUT ? "out" : "fwd");
}

bool accepts(std::uint8_t verdict) { return verdict == XFRM_USERPOLICY_ACCEPT || verdict == XFRM_USERPOLICY_UNSPEC; }

} // namespace

xfrm_source::xfrm_source(policy &policies, const epoll_set &events, const std::string &netns, unsigned receive_buffer)
    : netlink_source(policies, policy_kind::xfrm, events), netns_(netns), receive_buffer_(receive_buffer)
{
}

std::unique_ptr<netlink_socket> xfrm_source::open()
{
    if (!netlink_socket::supported(NETLINK_XFRM)) {
        return nullptr;
    }
    // A policy that expires is reported to its own group only.
    return std::make_unique<netlink_socket>(
        netns_, NETLINK_XFRM, std::initializer_list<int>{XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE}, receive_buffer_);
}

/// Also an inspection anew keeps what is known: complete() takes out what was not seen again.
void xfrm_source::begin(bool /*anew*/)
{
    ++inspection_;
    removed_.clear();
    next_ = step::policies;
}

bool xfrm_source::send_request(netlink_socket &socket)
{
    if (next_ == step::end) {
        return false;
    }
    char space[MNL_NLMSG_HDRLEN + MNL_ALIGN(sizeof(xfrm_userpolicy_default))] = {};
    nlmsghdr *message = mnl_nlmsg_put_header(space);
    if (next_ == step::policies) {
        next_ = step::defaults;
        message->nlmsg_type = XFRM_MSG_GETPOLICY;
        message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    } else {
        next_ = step::end;
        mnl_nlmsg_put_extra_header(message, sizeof(xfrm_userpolicy_default));
        message->nlmsg_type = XFRM_MSG_GETDEFAULT;
        message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    }
    socket.request(*message);
    return true;
}

/// Kernels before 5.15 have no defaults. They accept.
bool xfrm_source::harmless(int errnum) const { return next_ == step::end && errnum == EINVAL; }

void xfrm_source::take_reply(const nlmsghdr &message)
{
    if (message.nlmsg_type == XFRM_MSG_GETDEFAULT) {
        take_default(message);
        return;
    }
    const auto info = copy_header<xfrm_userpolicy_info>(message);
    if (message.nlmsg_type == XFRM_MSG_NEWPOLICY && !removed_.contains(info.index)) {
        add(info, is_reason(message, info));
    }
}

void xfrm_source::take_notification(const nlmsghdr &message)
{
    switch (message.nlmsg_type) {
    case XFRM_MSG_NEWPOLICY:
    case XFRM_MSG_UPDPOLICY: {
        const auto info = copy_header<xfrm_userpolicy_info>(message);
        remove(info);
        add(info, is_reason(message, info));
        break;
    }
    case XFRM_MSG_DELPOLICY: // its header is how the policy was named; the policy follows
        for_each_attr(message, sizeof(xfrm_userpolicy_id), [&](const nlattr *attr) {
            xfrm_userpolicy_info info;
            if (mnl_attr_get_type(attr) == XFRMA_POLICY && mnl_attr_get_payload_len(attr) >= sizeof info) {
                std::memcpy(&info, mnl_attr_get_payload(attr), sizeof info);
                remove(info);
            }
        });
        break;
    case XFRM_MSG_POLEXPIRE:
        if (const auto expiry = copy_header<xfrm_user_polexpire>(message); expiry.hard != 0) {
            remove(expiry.pol);
        }
        break;
    case XFRM_MSG_FLUSHPOLICY:
        inspect_again();
        break;
    case XFRM_MSG_GETDEFAULT:
        take_default(message);
        break;
    default:
        break;
    }
}

void xfrm_source::add(const xfrm_userpolicy_info &info, bool reason)
{
    if (reason) {
        policies_[info.sel.family][info.index] = {info.sel, info.dir, inspection_};
        changed();
    }
}

void xfrm_source::remove(const xfrm_userpolicy_info &info)
{
    if (inspecting()) {
        removed_.insert(info.index);
    }
    if (policies_[info.sel.family].erase(info.index) != 0) {
        changed();
    }
}

void xfrm_source::take_default(const nlmsghdr &message)
{
    defaults_ = copy_header<xfrm_userpolicy_default>(message);
    changed();
}

void xfrm_source::complete()
{
    removed_.clear();
    for (auto &[family, policies] : policies_) {
        std::erase_if(policies, [this](const auto &entry) { return entry.second.inspection != inspection_; });
    }
}

std::vector<policy_reason> xfrm_source::reasons() const
{
    std::vector<policy_reason> reasons;
    for (const auto &[name, verdict] : {std::pair{"fwd", defaults_.fwd}, {"out", defaults_.out}}) {
        if (!accepts(verdict)) {
            reasons.push_back({.text = std::string("xfrm policy default ") + name + " block"});
        }
    }
    for (const auto &[selected, policies] : policies_) {
        // A selector without a family: both.
        const auto family =
            selected == AF_INET || selected == AF_INET6 ? static_cast<std::uint8_t>(selected) : std::uint8_t{AF_UNSPEC};
        std::size_t texts = 0;
        for (auto p = policies.begin(); p != policies.end() && texts < most_texts; ++p, ++texts) {
            reasons.push_back({.family = family, .text = text_of(p->second.selector, p->second.direction)});
        }
        if (texts < policies.size()) {
            reasons.push_back(
                {.family = family, .text = "xfrm policy: " + std::to_string(policies.size() - texts) + " more"});
        }
    }
    return reasons;
}

} // namespace halfpoll
