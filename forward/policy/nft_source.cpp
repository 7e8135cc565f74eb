// SPDX-License-Identifier: BSD-3-Clause
#include "nft_source.hpp"

#include "policy.hpp"

#include <halfpoll/error.hpp>

#include <algorithm>
#include <initializer_list>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <utility>

namespace halfpoll
{

namespace
{

constexpr ktime_t turn_time = 20 * NSEC_PER_MSEC;    // after which process() returns to the control loop
constexpr ktime_t patience = 30 * NSEC_PER_MSEC;     // for which a change may stay without an inspection
constexpr ktime_t retry_delay = 100 * NSEC_PER_MSEC; // after a failure

// What no message reports: a hook that goes with its device or moves with its new name, tables that go with the process
// that owns them, and the end of a transaction that sets a table dormant and is given up.
constexpr ktime_t second_look = 10 * NSEC_PER_SEC;

/// False if a message cannot concern tables, chains and rules.
bool matters(int type)
{
    switch (type) {
    case NFT_MSG_NEWSET:
    case NFT_MSG_DELSET:
    case NFT_MSG_NEWSETELEM:
    case NFT_MSG_DELSETELEM:
    case NFT_MSG_NEWOBJ:
    case NFT_MSG_DELOBJ:
    case NFT_MSG_NEWFLOWTABLE:
    case NFT_MSG_DELFLOWTABLE:
        return false;
    default:
        return true;
    }
}

} // namespace

nft_source::nft_source(policy &policies, const epoll_set &events, const std::string &netns, unsigned receive_buffer)
    : policies_(policies), events_(events), netns_(netns), receive_buffer_(receive_buffer), timer_(events)
{
    process();
}

void nft_source::process()
{
    try {
        if (timer_.take_expiry()) {
            waiting_ = false;
            due_ = true;
        }
        if (!socket_ && !waiting_) {
            open();
        }
        if (socket_) {
            receive_until(ktime_get() + turn_time);
            doubt_if_late();
        }
    } catch (const error &e) {
        give_up(e.what());
    }
}

bool nft_source::settled() const { return !running_ && !due_ && (!socket_ || !socket_->readable()); }

/// Subscribes before the first inspection, so that no change falls between the two.
void nft_source::open()
{
    if (!netlink_socket::supported(NETLINK_NETFILTER)) {
        policies_.replace(policy_kind::nft, {});
        waiting_ = true; // for ever
        due_ = false;
        return;
    }
    socket_.emplace(netns_, NETLINK_NETFILTER, std::initializer_list<int>{NFNLGRP_NFTABLES}, receive_buffer_);
    events_.watch(socket_->fd());
}

/// Reads the messages that wait, those of a dump included: the kernel makes each part of it when the one before is
/// read. Begins an inspection when no message waits, so that a transaction of many messages costs one.
void nft_source::receive_until(ktime_t end)
{
    do {
        const auto got = socket_->receive([this](const nlmsghdr &message) { take(message); });
        if (got == netlink_socket::received::overrun) {
            throw error("messages were lost");
        }
        if (got == netlink_socket::received::nothing && !begin_if_due()) {
            return;
        }
    } while (ktime_get() < end);
    begin_if_due(); // messages came without a pause: begins all the same
}

/// Returns false if there is nothing to begin.
bool nft_source::begin_if_due()
{
    if (running_ || !due_ || waiting_) {
        return false;
    }
    due_ = false;
    being_covered_ = std::exchange(changed_, 0);
    ++inspections_;
    running_.emplace(*socket_);
    return true;
}

void nft_source::take(const nlmsghdr &message)
{
    if (!running_ || !socket_->is_reply(message)) {
        take_notification(message);
        return;
    }
    switch (running_->take(message)) {
    case nft_inspection::state::going_on:
        break;
    case nft_inspection::state::done:
        finish();
        break;
    case nft_inspection::state::absent:
        running_.reset();
        publish({});
        timer_.disarm(); // each question has the kernel look for the module; the first table sends a message
        break;
    }
}

/// A change that is reported while an inspection is under way needs another one: the inspection may have seen the state
/// before it.
void nft_source::take_notification(const nlmsghdr &message)
{
    if ((message.nlmsg_type >> 8) != NFNL_SUBSYS_NFTABLES) {
        return;
    }
    const int type = message.nlmsg_type & 0xff;
    bool changed = matters(type);
    if (type == NFT_MSG_NEWGEN) { // after the messages of its changes
        const auto ahead = static_cast<std::int32_t>(nft_generation(message) - generation_);
        changed = ahead > 1;
        generation_ += static_cast<std::uint32_t>(std::max(ahead, 0));
    }
    if (changed) {
        due_ = true;
        changed_ = changed_ == 0 ? ktime_get() : changed_;
    }
}

void nft_source::finish()
{
    const bool consistent = running_->consistent();
    if (consistent) {
        generation_ = running_->generation();
    } else {
        due_ = true;
        changed_ = being_covered_ != 0 ? being_covered_ : changed_;
    }
    being_covered_ = 0;
    // A doubt ends only with an inspection that nothing has overtaken.
    if (consistent && !(due_ && doubted_)) {
        publish(running_->reasons());
    } else if (doubted_) {
        wait(retry_delay);
    }
    running_.reset();
}

void nft_source::publish(std::vector<policy_reason> reasons)
{
    timer_.arm_rounded(second_look);
    doubted_ = false;
    policies_.replace(policy_kind::nft, std::move(reasons));
}

/// Does not wait for the end of a long inspection, or of changes without a pause.
void nft_source::doubt_if_late()
{
    const ktime_t oldest = being_covered_ != 0 ? being_covered_ : changed_;
    if (!doubted_ && oldest != 0 && ktime_get() - oldest > patience) {
        doubted_ = true;
        policies_.doubt(policy_kind::nft, "a change is not inspected yet");
    }
}

/// Begins anew with another socket after a while: what an old one holds, or has lost, does not matter then.
void nft_source::give_up(const std::string &why)
{
    running_.reset();
    socket_.reset();
    due_ = doubted_ = true;
    changed_ = being_covered_ = 0;
    wait(retry_delay);
    policies_.doubt(policy_kind::nft, why);
}

void nft_source::wait(ktime_t delay)
{
    waiting_ = true;
    timer_.arm(delay);
}

} // namespace halfpoll
