// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/events/timer_fd.hpp"
#include "forward/netlink/netlink.hpp"
#include "policy.hpp"
#include "policy_source.hpp"

#include <halfpoll/ktime.hpp>

#include <linux/netlink.h>
#include <memory>
#include <string>

namespace halfpoll
{

/// A source that inspects its part of the kernel by netlink requests, one after the other, and then follows
/// notifications. After lost messages or an error its reasons are a doubt until another inspection is complete.
class netlink_source : public policy_source
{
public:
    void process() final;
    bool settled() const final;

protected:
    netlink_source(policy &policies, policy_kind kind, const epoll_set &events);

    /// Opens the socket. Null: the kernel lacks the part. Throws `error`.
    virtual std::unique_ptr<netlink_socket> open() = 0;
    /// An inspection begins. `anew`: what was known before may be wrong.
    virtual void begin(bool anew) = 0;
    /// Sends the next request of the inspection. Returns false if none is left.
    virtual bool send_request(netlink_socket &socket) = 0;
    /// True if this error as the answer to the last request means that there is nothing to be known.
    virtual bool harmless(int errnum) const = 0;
    /// An entry of the answer to the last request.
    virtual void take_reply(const nlmsghdr &message) = 0;
    /// A notification, which may come during an inspection, too.
    virtual void take_notification(const nlmsghdr &message) = 0;
    /// All answers of the inspection were read.
    virtual void complete() = 0;
    /// The present reasons. Called after complete() or changed().
    virtual std::vector<policy_reason> reasons() const = 0;

    /// The reasons have changed.
    void changed() noexcept { changed_ = true; }
    /// Another inspection is needed; if one is under way, after that one.
    void inspect_again() noexcept { stale_ = true; }
    /// The present inspection, if any, may have missed an entry: complete() will not be called for it, and another one
    /// follows.
    void disturb() noexcept { disturbed_ = stale_ = true; }
    bool inspecting() const noexcept { return inspecting_; }

private:
    void start();
    void lose(const std::string &why);
    void read();
    bool begin_if_due();
    bool stalled();
    void take(const nlmsghdr &message);
    void request_next();
    void publish();

    policy &policies_;
    const policy_kind kind_;
    const epoll_set &events_;
    timer_fd timer_;
    std::unique_ptr<netlink_socket> socket_; ///< null: the kernel lacks the part, or it could not be opened yet
    ktime_t due_ = 0;         ///< earliest start of the next inspection, or of another attempt to open the socket
    ktime_t began_ = 0;       ///< start of the present inspection
    ktime_t heard_ = 0;       ///< time of the last request or answer of it
    bool absent_ = false;     ///< the kernel lacks the part
    bool inspecting_ = false; ///< a request was not answered yet
    bool stale_ = false;      ///< another inspection is needed
    bool anew_ = true;        ///< it is to begin anew
    bool disturbed_ = false;  ///< the present inspection is not complete
    bool known_ = false;      ///< an inspection was complete, and nothing was lost since then
    bool changed_ = false;    ///< reasons() have not been published yet
};

} // namespace halfpoll
