// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "forward/policy/policy.hpp"
#include "kernel_state.hpp"

#include <halfpoll/ktime.hpp>

#include <functional>
#include <map>
#include <set>
#include <string>

namespace halfpoll
{

/// Tells once when a reason to leave packets to the kernel appears and when it goes: what the fast path does not take
/// is slower, and an administrator of a firewall may not think of it. Reasons with the same text are one.
class policy_news
{
public:
    enum class event { appeared, gone };

    policy_news(const kernel_state &state, const policy &policies) : state_(state), policies_(policies) {}
    void changed() noexcept { due_ = true; }
    /// Calls `fn` with a line for each reason that has appeared or gone since the last call, at most with `most` for
    /// each of the two and one more that counts the others.
    void tell(const std::function<void(event, const std::string &)> &fn);

    static constexpr unsigned most = 8;
    /// A kind that has not been inspected so long after the first call is news, too.
    static constexpr ktime_t patience = 10 * NSEC_PER_SEC;

private:
    /// What the reasons with one text concern.
    struct scope {
        bool families[2] = {}; ///< IPv4, IPv6
        bool everything = false;
        std::set<std::string> in, out; ///< interfaces
    };
    using scopes = std::map<std::string, scope>;

    scopes in_force(bool patient);
    void widen(scope &to, const policy_reason &reason) const;

    const kernel_state &state_;
    const policy &policies_;
    bool due_ = true;
    ktime_t began_ = 0; ///< first call of tell()
    scopes told_;
};

} // namespace halfpoll
