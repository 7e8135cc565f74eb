// SPDX-License-Identifier: BSD-3-Clause
#include "link_use.hpp"

#include "ssh_session.hpp"

#include <algorithm>
#include <set>

namespace halfpoll
{

namespace
{

const link_facts *find_link(const std::vector<link_facts> &links, const std::string &name)
{
    const auto it = std::ranges::find(links, name, &link_facts::name);
    return it == links.end() ? nullptr : &*it;
}

/// Returns the names of a link and of all links above it.
std::set<std::string> with_uppers(const std::vector<link_facts> &links, const link_facts &link)
{
    std::set<std::string> names;
    std::vector<const link_facts *> todo{&link};
    while (!todo.empty()) {
        const link_facts *each = todo.back();
        todo.pop_back();
        if (!names.insert(each->name).second) {
            continue;
        }
        for (const link_facts &other : links) {
            if (other.index == each->master || other.lower == each->index) {
                todo.push_back(&other);
            }
        }
    }
    return names;
}

} // namespace

std::vector<std::string> uses_of_link(const host &on, const std::string &ifname)
{
    std::vector<std::string> uses;
    const std::vector<link_facts> links = on.links();
    const link_facts *link = find_link(links, ifname);
    if (!link) {
        return uses;
    }
    const std::set<std::string> names = with_uppers(links, *link);
    const auto carries = [&](const std::string &what, const std::string &name) {
        const std::string use = "carries " + what + (name == ifname ? "" : " through " + name);
        if (names.contains(name) && std::ranges::find(uses, use) == uses.end()) {
            uses.push_back(use);
        }
    };
    for (const std::string &name : on.default_route_links()) {
        carries("the default route", name);
    }
    for (const ssh_session &session : ssh_sessions(on)) {
        carries("the SSH session of " + session.peer, on.link_towards(session.peer));
        carries("the SSH session of " + session.peer, on.link_of_address(session.local));
    }
    const auto master = std::ranges::find(links, link->master, &link_facts::index);
    if (link->master != 0 && master != links.end()) {
        uses.push_back("is a port of " + master->kind + " " + master->name);
    }
    return uses;
}

bool is_link_here(const host &on, const std::string &ifname)
{
    const std::vector<link_facts> links = on.links();
    const link_facts *link = find_link(links, ifname);
    const std::string index = on.read("/sys/class/net/" + ifname + "/ifindex");
    return link && (index.empty() || index == std::to_string(link->index));
}

} // namespace halfpoll
