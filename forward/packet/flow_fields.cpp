// SPDX-License-Identifier: BSD-3-Clause
#include "flow_fields.hpp"

#include "wire.hpp"

namespace halfpoll
{
namespace
{

constexpr unsigned longest_chain = 15; // headers that are looked at
constexpr std::uint16_t ethertype_none = 0, ethertype_teb = 0x6558, ethertype_ppp = 0x880B;

enum : std::uint8_t {
    proto_hop_by_hop = 0,
    proto_ipip = 4,
    proto_tcp = 6,
    proto_udp = 17,
    proto_dccp = 33,
    proto_ip6 = 41,
    proto_routing = 43,
    proto_fragment = 44,
    proto_gre = 47,
    proto_esp = 50,
    proto_ah = 51,
    proto_destination = 60,
    proto_sctp = 132,
    proto_udp_lite = 136
};

/// One search. next_layer() and next_header() return false at its end.
class flow_search
{
public:
    flow_search(const rte_mbuf *m, bool ip6, flow_depth depth) noexcept
        : m_(m), depth_(depth), ethertype_(ip6 ? ethertype_ip6 : ethertype_ip4)
    {
    }
    flow_fields run() noexcept
    {
        for (unsigned i = 0; i < longest_chain && (ethertype_ != ethertype_none ? next_layer() : next_header()); i++) {
        }
        return found_;
    }

private:
    /// The next `length` bytes (at most 40); null if the packet ends before.
    const std::uint8_t *bytes(unsigned length) noexcept
    {
        return static_cast<const std::uint8_t *>(rte_pktmbuf_read(m_, at_, length, copy_));
    }
    bool next_layer() noexcept;
    bool next_header() noexcept;
    bool ip4() noexcept;
    bool ip6() noexcept;
    bool option() noexcept;
    bool fragment() noexcept;
    bool gre() noexcept;
    bool gre_payload(std::uint16_t type) noexcept;
    bool pptp(unsigned header_len, std::uint16_t flags) noexcept;
    void ports(unsigned offset) noexcept;
    /// Goes on with the packet inside, unless only the outer one counts.
    bool enter(std::uint16_t ethertype) noexcept
    {
        found_.encapsulated = true;
        ethertype_ = ethertype;
        return depth_ == flow_depth::innermost;
    }

    const rte_mbuf *m_;
    const flow_depth depth_;
    unsigned at_ = eth_len;
    std::uint16_t ethertype_; ///< of what begins at at_; ethertype_none: it is the header of protocol found_.protocol
    flow_fields found_;
    std::uint8_t copy_[ip6_len]; ///< of headers that lie in several segments
};

bool flow_search::next_layer() noexcept
{
    switch (ethertype_) {
    case ethertype_ip4:
        return ip4();
    case ethertype_ip6:
        return ip6();
    case ethertype_vlan:
    case ethertype_qinq:
        if (const std::uint8_t *tag = bytes(4)) {
            ethertype_ = load_be16(tag + 2);
            at_ += 4;
            return ethertype_ != ethertype_none;
        }
        return false;
    default:
        return false;
    }
}

bool flow_search::ip4() noexcept
{
    const std::uint8_t *ip = bytes(ip4_len);
    if (ip == nullptr || (ip[0] & 15U) < 5) {
        return false;
    }
    found_.ip6 = false;
    found_.src = {load<std::uint32_t>(ip + 12), 0};
    found_.dst = {load<std::uint32_t>(ip + 16), 0};
    found_.protocol = ip[9];
    at_ += (ip[0] & 15U) * 4;
    ethertype_ = ethertype_none;
    return (load_be16(ip + 6) & 0x3FFF) == 0; // ends at a fragment, the first one too
}

bool flow_search::ip6() noexcept
{
    const std::uint8_t *ip = bytes(ip6_len);
    if (ip == nullptr) {
        return false;
    }
    found_.ip6 = true;
    found_.src = load<flow_address>(ip + 8);
    found_.dst = load<flow_address>(ip + 24);
    found_.protocol = ip[6];
    if (const std::uint32_t label = load_be32(ip) & 0xFFFFF; label != 0) {
        found_.label = label; // an outer label counts as long as no inner packet has one
    }
    at_ += ip6_len;
    ethertype_ = ethertype_none;
    return true;
}

bool flow_search::next_header() noexcept
{
    switch (found_.protocol) {
    case proto_ipip:
        return enter(ethertype_ip4);
    case proto_ip6:
        return enter(ethertype_ip6);
    case proto_gre:
        return gre();
    case proto_hop_by_hop:
    case proto_routing:
    case proto_destination:
        return found_.ip6 && option();
    case proto_fragment:
        return found_.ip6 && fragment();
    case proto_tcp:
    case proto_udp:
    case proto_dccp:
    case proto_esp:
    case proto_sctp:
    case proto_udp_lite:
        ports(0);
        return false;
    case proto_ah:
        ports(4);
        return false;
    default:
        return false;
    }
}

/// An IPv6 extension header (RFC 8200 section 4).
bool flow_search::option() noexcept
{
    const std::uint8_t *header = bytes(2);
    if (header == nullptr) {
        return false;
    }
    found_.protocol = header[0];
    at_ += (header[1] + 1U) * 8;
    return true;
}

/// The fragment header (RFC 8200 4.5). No fragment has ports, the first one neither.
bool flow_search::fragment() noexcept
{
    if (const std::uint8_t *header = bytes(8)) {
        found_.protocol = header[0];
    }
    return false;
}

/// GRE (RFC 2784, 2890), or its second version in PPTP (RFC 2637).
bool flow_search::gre() noexcept
{
    constexpr std::uint16_t checksum = 0x8000, routing = 0x4000, key = 0x2000, sequence = 0x1000, version = 7;
    const std::uint8_t *header = bytes(4);
    if (header == nullptr) {
        return false;
    }
    const std::uint16_t flags = load_be16(header), type = load_be16(header + 2);
    if ((flags & routing) != 0 || (flags & version) > 1) {
        return false;
    }
    const unsigned words = ((flags & checksum) != 0) + ((flags & key) != 0) + ((flags & sequence) != 0);
    if ((flags & version) == 0) {
        at_ += 4 + 4 * words;
        return gre_payload(type);
    }
    return type == ethertype_ppp && (flags & key) != 0 && pptp(4 + 4 * words, flags);
}

bool flow_search::gre_payload(std::uint16_t type) noexcept
{
    if (type != ethertype_teb) {
        return enter(type) && type != ethertype_none;
    }
    const std::uint8_t *frame = bytes(eth_len);
    if (frame == nullptr) {
        return false;
    }
    const std::uint16_t inner = load_be16(frame + 12);
    at_ += eth_len;
    return enter(inner) && inner != ethertype_none;
}

bool flow_search::pptp(unsigned header_len, std::uint16_t flags) noexcept
{
    constexpr std::uint16_t acknowledgement = 0x0080, ppp_ip4 = 0x0021, ppp_ip6 = 0x0057;
    at_ += header_len + ((flags & acknowledgement) != 0 ? 4 : 0);
    const std::uint8_t *ppp = bytes(4); // address, control, protocol (RFC 1662)
    if (ppp == nullptr) {
        return false;
    }
    const std::uint16_t protocol = load_be16(ppp + 2);
    at_ += 4;
    return enter(protocol == ppp_ip4 ? ethertype_ip4 : protocol == ppp_ip6 ? ethertype_ip6 : ethertype_ppp);
}

void flow_search::ports(unsigned offset) noexcept
{
    at_ += offset;
    if (const std::uint8_t *header = bytes(4)) {
        found_.sport = load<std::uint16_t>(header);
        found_.dport = load<std::uint16_t>(header + 2);
    }
}

} // namespace

flow_fields find_flow_fields(const rte_mbuf *m, bool ip6, flow_depth depth) noexcept
{
    return flow_search(m, ip6, depth).run();
}

} // namespace halfpoll
