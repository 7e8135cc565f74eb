// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "netlink_source.hpp"
#include "tc_messages.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace halfpoll
{

/// Queueing disciplines and filters (`tc`) that do something to packets on their way in or out by an interface.
class tc_source final : public netlink_source
{
public:
    static constexpr unsigned default_receive_buffer = 8U << 20;

    /// `receive_buffer`: bytes that the kernel may queue.
    tc_source(policy &policies, const epoll_set &events, const std::string &netns,
              unsigned receive_buffer = default_receive_buffer);

    /// Where filters may be.
    struct place {
        int ifindex = 0;
        std::uint32_t parent = 0;
    };

private:
    /// Interface, side, and what is there: "tbf", "ingress filter".
    using finding = std::tuple<int, policy_side, std::string>;
    enum class step { links, qdiscs, filters };

    std::unique_ptr<netlink_socket> open() override;
    void begin(bool anew) override;
    bool send_request(netlink_socket &socket) override;
    bool harmless(int errnum) const override;
    void take_reply(const nlmsghdr &message) override;
    void take_notification(const nlmsghdr &message) override;
    void complete() override;
    std::vector<policy_reason> reasons() const override;

    void add(int ifindex, policy_side side, std::string_view what);
    bool has_reason(int ifindex, policy_side side) const;
    void add_filter(const place &where);
    void add_qdisc(const qdisc_message &qdisc);
    void look_for_filters(const qdisc_message &qdisc);
    void take_link(const nlmsghdr &message);
    void inspect_again(int ifindex);
    bool in_scope(int ifindex) const { return whole_ || scope_.contains(ifindex); }

    const std::string netns_;
    const unsigned receive_buffer_;
    std::map<int, std::string> names_;          ///< of interfaces
    std::map<finding, std::uint64_t> findings_; ///< and the inspection in which each was seen last
    std::set<int> stale_;                       ///< interfaces that the next inspection looks at
    std::uint64_t inspection_ = 0;
    step next_ = step::links;  ///< of the inspection
    bool whole_ = true;        ///< the inspection looks at all interfaces
    std::set<int> scope_;      ///< else at these
    std::deque<place> places_; ///< whose filters are still to be asked for
    place asked_;              ///< the present one
};

} // namespace halfpoll
