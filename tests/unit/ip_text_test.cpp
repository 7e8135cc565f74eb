// SPDX-License-Identifier: BSD-3-Clause
#include "forward/tables/ip_text.hpp"

#include <gtest/gtest.h>

namespace
{

using namespace halfpoll;

TEST(IpText, PrefixesThereAndBack)
{
    for (const std::string text :
         {"0.0.0.0/0", "10.1.2.0/24", "192.0.2.1/32", "::/0", "2001:db8::/33", "fe80::1/128"}) {
        const auto prefix = parse_prefix(text);
        ASSERT_TRUE(prefix) << text;
        EXPECT_EQ(to_string(*prefix), text);
    }
}

TEST(IpText, BitsBeyondTheLengthAreCleared)
{
    EXPECT_EQ(to_string(*parse_prefix("10.1.2.3/16")), "10.1.0.0/16");
    EXPECT_EQ(to_string(*parse_prefix("2001:db8:ffff::1/33")), "2001:db8:8000::/33");
}

TEST(IpText, WhatIsNoPrefix)
{
    for (const std::string text : {"", "/", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x",
                                   "10.0.0/8", "::/129", "x/8", "10.0.0.0/ 8"}) {
        EXPECT_FALSE(parse_prefix(text)) << text;
    }
}

TEST(IpText, Addresses)
{
    EXPECT_EQ(to_string(*parse_address("192.0.2.1")), "192.0.2.1");
    EXPECT_EQ(to_string(*parse_address("2001:DB8::1")), "2001:db8::1");
    EXPECT_FALSE(parse_address("192.0.2.1/32"));
    EXPECT_FALSE(parse_address("nonsense"));
    EXPECT_EQ(to_string(ip_addr{}), "");
}

} // namespace
