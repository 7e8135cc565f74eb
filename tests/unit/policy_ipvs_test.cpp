// SPDX-License-Identifier: BSD-3-Clause
#include "source_rig.hpp"

#include "forward/policy/ipvs_source.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

namespace halfpoll
{
namespace
{

const std::string head = "IP Virtual Server version 1.2.1 (size=4096)\n"
                         "Prot LocalAddress:Port Scheduler Flags\n"
                         "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

std::vector<std::string> texts_of(const std::vector<policy_reason> &reasons)
{
    std::vector<std::string> texts;
    for (const policy_reason &r : reasons) {
        texts.push_back((r.family == AF_INET ? "4 " : r.family == AF_INET6 ? "6 " : "46 ") + r.text);
    }
    return texts;
}

TEST(policy_ipvs_text_test, services)
{
    EXPECT_TRUE(ipvs_services("").empty());
    EXPECT_TRUE(ipvs_services(head).empty());
    EXPECT_THAT(texts_of(ipvs_services(head + "TCP  0A000001:0050 wlc  \n"
                                              "  -> 0A000002:0050      Masq    1      0          0         \n"
                                              "UDP  C0000201:0035 rr ops \n"
                                              "SCTP [2001:0db8:0000:0000:0000:0000:0000:0001]:0B59 rr \n"
                                              "  -> [2001:0db8:0000:0000:0000:0000:0000:0002]:0B59      Route   1 0 0\n"
                                              "FWM  0000000A wlc persistent 300 FFFFFFFF\n")),
                testing::ElementsAre("4 ipvs TCP 10.0.0.1:80", "4 ipvs UDP 192.0.2.1:53",
                                     "6 ipvs SCTP [2001:db8::1]:2905", "46 ipvs FWM 10"));
}

TEST(policy_ipvs_text_test, many_services)
{
    std::string text = head;
    for (int i = 0; i < 100; ++i) {
        text += "TCP  0A000001:0050 rr \n";
    }
    const auto reasons = ipvs_services(text + "TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr \n");
    EXPECT_EQ(reasons.size(), 8U + 1 + 1);
    EXPECT_THAT(texts_of(reasons), testing::Contains("4 ipvs: 92 more"));
}

TEST(policy_ipvs_text_test, connections)
{
    const std::string connection_head =
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n";
    const std::string four = "TCP 0A000001 8235 0A000002 0050 0A000003 0050 ESTABLISHED     899 sip a:b\n";
    const std::string six =
        "UDP 2001:0db8:0000:0000:0000:0000:0000:0001 8235 2001:0db8:0000:0000:0000:0000:0000:0002 0035 "
        "2001:0db8:0000:0000:0000:0000:0000:0003 0035 UDP             299\n";
    EXPECT_TRUE(ipvs_connections("").empty());
    EXPECT_TRUE(ipvs_connections(connection_head).empty());
    EXPECT_THAT(ipvs_connections(connection_head + four), testing::ElementsAre(AF_INET));
    EXPECT_THAT(ipvs_connections(connection_head + six), testing::ElementsAre(AF_INET6));
    EXPECT_THAT(ipvs_connections(connection_head + six + four), testing::ElementsAre(AF_INET, AF_INET6));
}

TEST(policy_ipvs_test, without_services)
{
    const test::source_rig<ipvs_source> rig(policy_kind::ipvs);
    EXPECT_EQ(rig.texts(), std::set<std::string>());
}

TEST(policy_ipvs_test, services_come_and_go)
{
    test::source_rig<ipvs_source> rig(policy_kind::ipvs);
    if (const auto tried = test::run("ip netns exec " + rig.netns.name() + " ipvsadm -ln"); tried.status != 0) {
        GTEST_SKIP() << "ipvsadm: " << tried.output;
    }
    rig.netns.exec("ipvsadm -A -t 192.0.2.1:80 -s rr");
    rig.expect({"4: ipvs TCP 192.0.2.1:80"});
    rig.netns.exec("ipvsadm -A -u [2001:db8::1]:53 -s rr");
    rig.expect({"4: ipvs TCP 192.0.2.1:80", "6: ipvs UDP [2001:db8::1]:53"});
    rig.netns.exec("ipvsadm -A -f 7 -s rr");
    rig.expect({"4: ipvs TCP 192.0.2.1:80", "6: ipvs UDP [2001:db8::1]:53", "46: ipvs FWM 7"});
    rig.netns.exec("ipvsadm -C");
    rig.expect({});
}

} // namespace
} // namespace halfpoll
