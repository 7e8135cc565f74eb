// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/timer_fd.hpp"
#include "forward/netlink/netlink.hpp"
#include "nft_inspection.hpp"
#include "policy_source.hpp"

#include <halfpoll/ktime.hpp>

#include <cstdint>
#include <linux/netlink.h>
#include <optional>
#include <string>
#include <vector>

namespace halfpoll
{

class epoll_set;
class policy;

/// The reasons of nftables: base chains that forwarded packets meet and that have a rule, or a policy other than
/// accept.
///
/// Inspects again after each change of a table, chain or rule. Changes of sets, which may come by the thousand, cost no
/// inspection, although each makes a new generation.
class nft_source final : public policy_source
{
public:
    static constexpr unsigned default_receive_buffer = 8U << 20;

    nft_source(policy &policies, const epoll_set &events, const std::string &netns,
               unsigned receive_buffer = default_receive_buffer);
    void process() override;
    bool settled() const override;
    /// Number of inspections begun so far.
    std::uint64_t inspections() const noexcept { return inspections_; }

private:
    void open();
    void receive_until(ktime_t end);
    bool begin_if_due();
    void take(const nlmsghdr &message);
    void take_notification(const nlmsghdr &message);
    void finish();
    void publish(std::vector<policy_reason> reasons);
    void doubt_if_late();
    void give_up(const std::string &why);
    void wait(ktime_t delay);

    policy &policies_;
    const epoll_set &events_;
    const std::string netns_;
    const unsigned receive_buffer_;
    timer_fd timer_;                       ///< makes an inspection due, whatever the kernel reports
    std::optional<netlink_socket> socket_; ///< none after a failure
    std::optional<nft_inspection> running_;
    bool due_ = true;              ///< an inspection is needed
    bool waiting_ = false;         ///< with it, until the timer expires
    bool doubted_ = true;          ///< the policy does not have the reasons of an inspection
    ktime_t changed_ = 0;          ///< when the oldest change was reported that no inspection covers; 0: none
    ktime_t being_covered_ = 0;    ///< the same for the changes that `running_` covers
    std::uint32_t generation_ = 0; ///< the last one that the messages so far account for
    std::uint64_t inspections_ = 0;
};

} // namespace halfpoll
