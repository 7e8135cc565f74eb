// SPDX-License-Identifier: BSD-3-Clause
#include "policy_news.hpp"

#include <algorithm>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace halfpoll
{

namespace
{

std::string list(const std::set<std::string> &names)
{
    std::string text;
    for (const std::string &name : names) {
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

std::string families(const bool (&which)[2])
{
    return which[0] && which[1] ? "IPv4 and IPv6" : which[0] ? "IPv4" : "IPv6";
}

/// Hands over at most policy_news::most of the lines, and says how many there are more.
template <typename F>
void tell_some(const std::vector<std::string> &lines, const std::string &others, const F &fn)
{
    const std::size_t shown = std::min<std::size_t>(lines.size(), policy_news::most);
    std::for_each_n(lines.begin(), shown, fn);
    if (lines.size() > shown) {
        fn(std::to_string(lines.size() - shown) + others);
    }
}

} // namespace

/// Adds a reason to what is known of its text.
void policy_news::widen(scope &to, const policy_reason &reason) const
{
    to.families[0] |= reason.family != AF_INET6;
    to.families[1] |= reason.family != AF_INET;
    if (reason.ifindex == 0 && reason.device.empty()) {
        to.everything = true;
        return;
    }
    const auto link = state_.links.find(reason.ifindex);
    const std::string number = "interface " + std::to_string(reason.ifindex);
    (reason.side == policy_side::in ? to.in : to.out)
        .insert(reason.ifindex == 0          ? reason.device
                : link == state_.links.end() ? number
                                             : link->second.what.name);
}

/// The reasons that are obeyed, by text. `patient`: without those that only say that nothing is known yet.
policy_news::scopes policy_news::in_force(bool patient)
{
    scopes found;
    policies_.visit([&](policy_kind kind, const policy_reason &reason) {
        const bool early = reason.text.ends_with(policy_not_inspected);
        due_ |= early && patient; // looked at again when patience has ended
        if (policies_.obeys(kind) && !(early && patient)) {
            widen(found[reason.text], reason);
        }
    });
    return found;
}

void policy_news::tell(const std::function<void(event, const std::string &)> &fn)
{
    if (!std::exchange(due_, false)) {
        return;
    }
    const ktime_t now = ktime_get();
    began_ = began_ == 0 ? now : began_;
    const scopes before = std::exchange(told_, in_force(now - began_ < patience));
    std::vector<std::string> appeared, gone;
    for (const auto &[text, what] : told_) {
        if (!before.contains(text)) {
            const std::string in = what.everything || what.in.empty() ? "" : " what comes in on " + list(what.in);
            const std::string out = what.everything || what.out.empty() ? "" : " what leaves by " + list(what.out);
            appeared.push_back(families(what.families) + ": the kernel alone forwards" + in +
                               (in.empty() || out.empty() ? "" : " and") + out + ": " + text);
        }
    }
    for (const auto &[text, what] : before) {
        if (!told_.contains(text)) {
            gone.push_back(families(what.families) + ": no longer left to the kernel because of " + text);
        }
    }
    tell_some(appeared, " more reasons to leave packets to the kernel (halfpoll show policy)",
              [&](const std::string &line) { fn(event::appeared, line); });
    tell_some(gone, " more reasons are gone (halfpoll show policy)",
              [&](const std::string &line) { fn(event::gone, line); });
}

} // namespace halfpoll
