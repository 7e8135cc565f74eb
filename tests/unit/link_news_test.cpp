// SPDX-License-Identifier: BSD-3-Clause
// How the link watcher interprets rtnetlink messages.
#include "netio/af_xdp/af_xdp_link.hpp"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <sys/socket.h>

namespace halfpoll
{
namespace
{

constexpr int watched = 7;

link_news of_error(int error, std::uint32_t missing = 0)
{
    struct {
        nlmsghdr header;
        nlmsgerr answer;
    } message{};
    message.header.nlmsg_len = NLMSG_LENGTH(sizeof message.answer) - missing;
    message.header.nlmsg_type = NLMSG_ERROR;
    message.answer.error = error;
    return link_news_of(message.header, watched);
}

link_news of_link(std::uint16_t type, int ifindex, std::uint8_t family = AF_UNSPEC)
{
    struct {
        nlmsghdr header;
        ifinfomsg info;
    } message{};
    message.header.nlmsg_len = sizeof message;
    message.header.nlmsg_type = type;
    message.info.ifi_index = ifindex;
    message.info.ifi_family = family;
    return link_news_of(message.header, watched);
}

TEST(link_news, only_one_error_says_that_the_interface_is_gone)
{
    EXPECT_EQ(of_error(-ENODEV), link_news::removed);
    for (const int other : {-ENOBUFS, -ENOMEM, -EPERM, -EBUSY}) {
        EXPECT_EQ(of_error(other), link_news::failed) << other;
    }
    EXPECT_EQ(of_error(0), link_news::none) << "an acknowledgement";
    EXPECT_EQ(of_error(-ENODEV, 4), link_news::failed) << "cut off";
}

TEST(link_news, links)
{
    EXPECT_EQ(of_link(RTM_NEWLINK, watched), link_news::state);
    EXPECT_EQ(of_link(RTM_DELLINK, watched), link_news::removed);
    EXPECT_EQ(of_link(RTM_DELLINK, watched, AF_BRIDGE), link_news::none) << "it leaves a bridge";
    EXPECT_EQ(of_link(RTM_NEWLINK, watched + 1), link_news::none);
    EXPECT_EQ(of_link(RTM_DELLINK, watched + 1), link_news::none);
    EXPECT_EQ(of_link(RTM_NEWADDR, watched), link_news::none);
}

} // namespace
} // namespace halfpoll
