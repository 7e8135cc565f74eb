// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/client/rates.hpp"
#include "apps/halfpoll/client/render.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace
{

using namespace halfpoll;
using nlohmann::json;

TEST(Rates, CountersPerSecondSettingsAsTheyAre)
{
    const json before = {{"napi", {{{"name", "a-0"}, {"polls", 100}, {"gro_flush_timeout", 20}, {"mode", "spin"}}}}};
    const json after = {{"napi", {{{"name", "a-0"}, {"polls", 350}, {"gro_flush_timeout", 20}, {"mode", "spin"}}}}};
    const json expected = {{"napi", {{{"name", "a-0"}, {"polls", 125}, {"gro_flush_timeout", 20}, {"mode", "spin"}}}}};
    EXPECT_EQ(rates(before, after, 2.0), expected);
}

TEST(Rates, RowsBelongTogetherByName)
{
    const json before = {{"drops", {{{"reason", "b"}, {"count", 10}}}}};
    const json after = {{"drops", {{{"reason", "a"}, {"count", 7}}, {{"reason", "b"}, {"count", 12}}}}};
    const json expected = {{"drops", {{{"reason", "a"}, {"count", 7}}, {{"reason", "b"}, {"count", 2}}}}};
    EXPECT_EQ(rates(before, after, 1.0), expected) << "a is new: it counts from zero";
}

TEST(Rates, NestedCountersAndThoseThatBeganAnew)
{
    const json before = {
        {"interfaces", {{{"name", "lan"}, {"rx_packets", 1000}, {"device", {{"rx_missed", 5}, {"speed", 7}}}}}}};
    const json after = {
        {"interfaces", {{{"name", "lan"}, {"rx_packets", 30}, {"device", {{"rx_missed", 6}, {"speed", 7}}}}}}};
    const json got = rates(before, after, 0.5)["interfaces"][0];
    EXPECT_EQ(got["rx_packets"], 60) << "fewer than before: the port was opened again";
    EXPECT_EQ(got["device"]["rx_missed"], 2);
    EXPECT_EQ(got["device"]["speed"], 7);
}

TEST(Rates, TenthsAndWholeNumbers)
{
    const json before = {{"softirqs", {{{"softirq", "NET_RX"}, {"cpu0", 0}, {"cpu1", 0}}}}};
    const json after = {{"softirqs", {{{"softirq", "NET_RX"}, {"cpu0", 1}, {"cpu1", 6}}}}};
    const json got = rates(before, after, 3.0)["softirqs"][0];
    EXPECT_EQ(got["cpu0"].dump(), "0.3");
    EXPECT_EQ(got["cpu1"].dump(), "2");
}

TEST(Rates, WhatHasNoCountersStays)
{
    const json status = {{"status", {{"pid", 1}, {"count", 5}}}};
    EXPECT_EQ(rates(status, status, 1.0), status);
}

TEST(Render, PagesShareOneHeaderAndAlignment)
{
    table_layout layout;
    const json first = {{{"address", "10.0.0.1"}, {"lladdr", "02:00:00:00:00:01"}, {"dev", "lan"}, {"shadow", "lan0"}}};
    const json second = {{{"address", "fd00::1234"}, {"lladdr", "02:00:00:00:00:02"}}};
    EXPECT_EQ(render_page("neigh", json::array(), layout), "");
    EXPECT_EQ(render_page("neigh", first, layout), "address   lladdr             dev  shadow\n"
                                                   "10.0.0.1  02:00:00:00:00:01  lan  lan0\n");
    EXPECT_EQ(render_page("neigh", second, layout), "fd00::1234  02:00:00:00:00:02  -    -\n");
}

TEST(Render, ALookupHasOtherColumnsThanRoutes)
{
    const json lookup = {{"route", {{{"to", "10.0.0.1"}, {"prefix", "10.0.0.0/24"}, {"kind", "forward"}}}}};
    const json routes = {{"route", {{{"prefix", "10.0.0.0/24"}, {"type", "unicast"}, {"metric", 0}}}}};
    EXPECT_THAT(render(lookup), testing::StartsWith("to "));
    EXPECT_THAT(render(routes), testing::StartsWith("prefix "));
}

TEST(Render, PolicyIsALineForEachInterfaceAndFamily)
{
    const json reply = {{"policy",
                         {{{"interface", "lan0"},
                           {"port", "lan"},
                           {"family", "IPv4"},
                           {"in", "kernel"},
                           {"out", "fast"},
                           {"passes", true},
                           {"why", "ip rule"},
                           {"reasons", {{{"kind", "rule"}, {"text", "ip rule"}, {"side", "in"}, {"obeyed", true}}}}},
                          {{"interface", "lan0"},
                           {"port", "lan"},
                           {"family", "IPv6"},
                           {"in", "fast"},
                           {"out", "fast"},
                           {"passes", false},
                           {"why", ""},
                           {"reasons", json::array()}}}}};
    EXPECT_EQ(render(reply), "interface  port  family  in      out   passes  why\n"
                             "lan0       lan   IPv4    kernel  fast  true    ip rule\n"
                             "lan0       lan   IPv6    fast    fast  false   -\n");
}

TEST(Render, SaysOnceThatThereIsNothing)
{
    const json none = json::array(), one = {{{"error", "EINVAL"}, {"packets", 3}}};
    EXPECT_EQ(render({{"xdp_map_entries", none}, {"xdp_maps", none}}), "no xdp map entries\n");
    EXPECT_EQ(render({{"xdp_map_entries", none}, {"xdp_redirect_errors", one}}), "error   packets\nEINVAL        3\n");
}

TEST(Render, ShowsListsOfAnyValues)
{
    const json status = {{"status",
                          {{"cpus", {0, 1}},
                           {"threads", {"ksoftirqd", "irq_work"}},
                           {"policy", {"ip rule", "nft inet filter forward"}},
                           {"degraded", json::array()}}}};
    const std::string text = render(status);
    EXPECT_THAT(text, testing::ContainsRegex("cpus +0 1\n"));
    EXPECT_THAT(text, testing::ContainsRegex("threads +ksoftirqd irq_work\n"));
    EXPECT_THAT(text, testing::ContainsRegex("policy +ip rule; nft inet filter forward\n")) << "phrases stay apart";
}

} // namespace
