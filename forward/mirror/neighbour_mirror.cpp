// SPDX-License-Identifier: BSD-3-Clause
#include "neighbour_mirror.hpp"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{
bool same_mac(const rte_ether_addr &a, const rte_ether_addr &b) { return rte_is_same_ether_addr(&a, &b) != 0; }
} // namespace

neighbour_mirror::~neighbour_mirror()
{
    for (auto &[key, neighbour] : neighbours_) {
        set_known(key.first, neighbour, false);
    }
}

void neighbour_mirror::apply(const neighbour_message &message)
{
    const std::pair key(message.addr, message.ifindex);
    if (!message.valid) {
        forget(key);
        return;
    }
    const auto [known, added] = neighbours_.try_emplace(key);
    known->second.generation = loads_.generation;
    known->second.stale = message.stale;
    const bool changed = added || !same_mac(known->second.mac, message.mac);
    if (changed) {
        set_known(message.addr, known->second, false);
        known->second.mac = message.mac;
    }
    if (message.confirmed) {
        set_known(message.addr, known->second, true);
    }
    if (changed) {
        consequences_.neighbour_changed(message.addr, message.ifindex);
    }
}

/// Adds or removes a neighbour's addresses as known sources, so that the slow path passes its packets to the kernel
/// however many source addresses a flooder invents.
void neighbour_mirror::set_known(const ip_addr &addr, known_neighbour &neighbour, bool known)
{
    if (std::exchange(neighbour.confirmed, known) == known) {
        return;
    }
    const std::span<const std::uint8_t> host(addr.bytes.data(), address_bits(addr.family) / 8);
    const std::span<const std::uint8_t> link(neighbour.mac.addr_bytes);
    for (const auto address : {host, link}) {
        known ? slow_.add_known(address) : slow_.remove_known(address);
    }
}

void neighbour_mirror::forget(const std::pair<ip_addr, int> &key)
{
    const auto [addr, ifindex] = key; // copied: `key` may refer to the element that is erased
    const auto found = neighbours_.find(key);
    if (found != neighbours_.end()) {
        set_known(addr, found->second, false);
        neighbours_.erase(found);
        consequences_.neighbour_changed(addr, ifindex);
    }
}

void neighbour_mirror::sweep(std::uint8_t family)
{
    std::vector<std::pair<ip_addr, int>> gone;
    for (const auto &[key, neighbour] : neighbours_) {
        if (key.first.family == family && neighbour.generation != loads_.generation) {
            gone.push_back(key);
        }
    }
    std::ranges::for_each(gone, [this](const auto &key) { forget(key); });
}

} // namespace halfpoll
