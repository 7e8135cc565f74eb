// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "netlink_source.hpp"

#include <cstdint>
#include <linux/xfrm.h>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace halfpoll
{

/// IPsec policies (`ip xfrm policy`) that block or transform forwarded packets. Each is followed by its index, so that
/// 100,000 of them are dumped once only.
class xfrm_source final : public netlink_source
{
public:
    static constexpr unsigned default_receive_buffer = 8U << 20;

    /// `receive_buffer`: bytes that the kernel may queue.
    xfrm_source(policy &policies, const epoll_set &events, const std::string &netns,
                unsigned receive_buffer = default_receive_buffer);

private:
    /// A policy that is a reason.
    struct found {
        xfrm_selector selector{};
        std::uint8_t direction = 0;
        std::uint64_t inspection = 0; ///< in which it was seen last
    };

    std::unique_ptr<netlink_socket> open() override;
    void begin(bool anew) override;
    bool send_request(netlink_socket &socket) override;
    bool harmless(int errnum) const override;
    void take_reply(const nlmsghdr &message) override;
    void take_notification(const nlmsghdr &message) override;
    void complete() override;
    std::vector<policy_reason> reasons() const override;

    void add(const xfrm_userpolicy_info &info, bool reason);
    void remove(const xfrm_userpolicy_info &info);
    void take_default(const nlmsghdr &message);

    const std::string netns_;
    const unsigned receive_buffer_;
    enum class step { policies, defaults, end } next_ = step::end;
    std::uint64_t inspection_ = 0;
    std::map<std::uint16_t, std::map<std::uint32_t, found>> policies_; ///< by family of the selector, then by index
    std::set<std::uint32_t> removed_; ///< during this inspection: the dump may still show them
    xfrm_userpolicy_default defaults_{};
};

} // namespace halfpoll
