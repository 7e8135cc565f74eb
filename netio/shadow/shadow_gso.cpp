// SPDX-License-Identifier: BSD-3-Clause
#include "shadow_gso.hpp"
#include "frame_fields.hpp"

#include <rte_byteorder.h>

#include <algorithm>
#include <netinet/in.h>

namespace halfpoll
{

namespace
{

bool is_tcp(std::uint8_t type) noexcept { return type == vnet_header::GSO_TCPV4 || type == vnet_header::GSO_TCPV6; }

} // namespace

std::optional<wire_packets> wire_packets::of(const vnet_header &header, std::span<std::uint8_t> frame) noexcept
{
    wire_packets packets(frame);
    const unsigned size = rte_le_to_cpu_16(header.gso_size);
    if (header.gso_type != vnet_header::GSO_NONE) {
        if (!packets.find_headers(header) || size == 0) {
            return std::nullopt;
        }
        const auto payload = static_cast<unsigned>(frame.size()) - packets.headers_;
        if (payload > size) {
            packets.size_ = size;
            packets.count_ = (payload + size - 1) / size;
            return packets;
        }
    }
    // The frame is one packet.
    if ((header.flags & vnet_header::NEEDS_CSUM) != 0 &&
        !complete_checksum(frame, rte_le_to_cpu_16(header.csum_start), rte_le_to_cpu_16(header.csum_offset))) {
        return std::nullopt;
    }
    return packets;
}

/// Finds the IP header of the family that `type` allows, behind any number of VLAN tags. The kernel lets a device do
/// the segmentation behind no other header.
bool wire_packets::find_network(std::uint8_t type) noexcept
{
    const std::optional<link_header> link = link_header_of(frame_);
    if (!link) {
        return false;
    }
    network_ = link->length;
    ip4_ = link->ip4;
    return type == vnet_header::GSO_UDP_L4 || ip4_ == (type == vnet_header::GSO_TCPV4);
}

/// The kernel says where the transport header is. Between it and an IPv6 header may be extension headers.
bool wire_packets::find_headers(const vnet_header &header) noexcept
{
    const std::uint8_t type = header.gso_type & static_cast<std::uint8_t>(~vnet_header::GSO_ECN);
    tcp_ = is_tcp(type);
    transport_ = rte_le_to_cpu_16(header.csum_start);
    const unsigned field = tcp_ ? TCP_CHECKSUM : UDP_CHECKSUM, shortest = tcp_ ? TCP_SHORTEST : UDP_LENGTH;
    if ((!tcp_ && header.gso_type != vnet_header::GSO_UDP_L4) || (header.flags & vnet_header::NEEDS_CSUM) == 0 ||
        rte_le_to_cpu_16(header.csum_offset) != field || !find_network(type) || transport_ + shortest > frame_.size() ||
        transport_ < network_ + (ip4_ ? IP4_SHORTEST : IP6_LENGTH)) {
        return false;
    }
    const std::uint8_t *ip = &frame_[network_], *transport = &frame_[transport_];
    if (ip4_ && ((ip[0] & 0xF) * 4U != transport_ - network_ || ip[9] != (tcp_ ? IPPROTO_TCP : IPPROTO_UDP))) {
        return false;
    }
    headers_ = transport_ + (tcp_ ? (transport[12] >> 4) * 4U : UDP_LENGTH);
    if (headers_ < transport_ + shortest || headers_ > frame_.size()) {
        return false;
    }
    const auto length = static_cast<std::uint16_t>(frame_.size() - transport_);
    partial_ = fold(get16(transport + field) + std::uint32_t{static_cast<std::uint16_t>(~length)});
    id_ = get16(ip + 4);
    if (tcp_) {
        sequence_ = get32(transport + 4);
        tcp_flags_ = transport[13];
    }
    return true;
}

wire_packets::packet wire_packets::next() noexcept
{
    if (size_ == 0) {
        return {.headers = {}, .payload = frame_};
    }
    const std::size_t at = headers_ + std::size_t{size_} * made_;
    const auto payload = frame_.subspan(at, std::min<std::size_t>(size_, frame_.size() - at));
    const auto length = headers_ + static_cast<unsigned>(payload.size());
    if (ip4_) {
        number_ip4(length - network_);
    } else {
        put16(&frame_[network_ + 4], length - network_ - IP6_LENGTH);
    }
    if (tcp_) {
        number_tcp(made_ + 1 == count_);
    } else {
        put16(&frame_[transport_ + 4], length - transport_);
    }
    sum_up(length - transport_, payload);
    ++made_;
    return {.headers = frame_.first(headers_), .payload = payload};
}

void wire_packets::number_ip4(unsigned length) noexcept
{
    std::uint8_t *ip = &frame_[network_];
    put16(ip + 2, length);
    put16(ip + 4, id_ + made_);
    put16(ip + IP4_CHECKSUM, 0);
    put16(ip + IP4_CHECKSUM, static_cast<std::uint16_t>(~sum_of(frame_.subspan(network_, transport_ - network_))));
}

void wire_packets::number_tcp(bool last) noexcept
{
    std::uint8_t *tcp = &frame_[transport_];
    put32(tcp + 4, sequence_ + size_ * made_);
    const unsigned without = (last ? 0 : TCP_FIN | TCP_PSH) | (made_ == 0 ? 0 : TCP_CWR);
    tcp[13] = static_cast<std::uint8_t>(tcp_flags_ & ~without);
}

/// Sets the checksum of a packet whose transport header and payload are `length` bytes long.
void wire_packets::sum_up(unsigned length, std::span<const std::uint8_t> payload) noexcept
{
    std::uint8_t *field = &frame_[transport_ + (tcp_ ? TCP_CHECKSUM : UDP_CHECKSUM)];
    put16(field, 0);
    const auto header = frame_.subspan(transport_, headers_ - transport_);
    const auto sum = static_cast<std::uint16_t>(
        ~fold(std::uint32_t{partial_} + length + sum_of(header) + sum_of(payload))); // headers have an even length
    put16(field, sum == 0 && !tcp_ ? 0xFFFF : sum); // in UDP zero means that there is no checksum
}

bool complete_checksum(std::span<std::uint8_t> frame, unsigned start, unsigned offset) noexcept
{
    if (std::size_t{start} + offset + 2 > frame.size()) {
        return false;
    }
    const auto sum = static_cast<std::uint16_t>(~sum_of(frame.subspan(start)));
    // In UDP zero means that there is no checksum; both values verify.
    put16(&frame[start + offset], sum == 0 ? 0xFFFF : sum);
    return true;
}

} // namespace halfpoll
