// SPDX-License-Identifier: BSD-3-Clause
#include "ssh_session.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <netinet/in.h>
#include <set>
#include <sstream>

namespace halfpoll
{

namespace
{

constexpr unsigned SSH_PORT = 22;
constexpr const char *ESTABLISHED = "01";

/// Converts an address of /proc/net/tcp to text: it is hexadecimal, in 32-bit words of the machine's byte order.
std::string address_text(const std::string &hex)
{
    std::uint32_t words[4] = {};
    const std::size_t count = hex.size() / 8;
    if (count != 1 && count != 4) {
        return {};
    }
    for (std::size_t i = 0; i < count; ++i) {
        words[i] = static_cast<std::uint32_t>(std::stoul(hex.substr(i * 8, 8), nullptr, 16));
    }
    in6_addr v6;
    std::memcpy(&v6, words, sizeof v6);
    const bool mapped = count == 4 && IN6_IS_ADDR_V4MAPPED(&v6);
    const void *v4 = mapped ? &words[3] : &words[0];
    char text[INET6_ADDRSTRLEN] = {};
    const bool is_v4 = count == 1 || mapped;
    return inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? v4 : &v6, text, sizeof text) ? text : "";
}

/// Returns the inodes of the sockets that processes named sshd (or sshd-session) hold.
std::set<std::string> sshd_sockets(const host &on)
{
    std::set<std::string> inodes;
    for (const std::string &pid : on.list("/proc")) {
        const std::string process = "/proc/" + pid;
        if (pid.find_first_not_of("0123456789") != std::string::npos ||
            !on.read(process + "/comm").starts_with("sshd")) {
            continue;
        }
        for (const std::string &fd : on.list(process + "/fd")) {
            const std::string target = on.link_name(process + "/fd/" + fd); // "socket:[12345]"
            if (target.starts_with("socket:[")) {
                inodes.insert(target.substr(8, target.size() - 9));
            }
        }
    }
    return inodes;
}

/// Parses a line of /proc/net/tcp: "sl local:port remote:port state queues timer retransmits uid timeout inode …".
void parse_connection(const std::string &line, const std::set<std::string> &inodes, std::vector<ssh_session> &sessions)
{
    std::istringstream words(line);
    std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    if (!(words >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode) ||
        state != ESTABLISHED || local.find(':') == std::string::npos) {
        return;
    }
    const std::size_t colon = local.find(':');
    const bool ssh_port = std::stoul(local.substr(colon + 1), nullptr, 16) == SSH_PORT;
    if (ssh_port || inodes.contains(inode)) {
        sessions.push_back({address_text(remote.substr(0, remote.find(':'))), address_text(local.substr(0, colon))});
    }
}

} // namespace

std::vector<ssh_session> ssh_sessions(const host &on)
{
    std::vector<ssh_session> sessions;
    std::istringstream own(on.environment("SSH_CONNECTION")); // peer, its port, local address, port
    std::string peer, port, local;
    if (own >> peer >> port >> local) {
        sessions.push_back({peer, local});
    }
    const std::set<std::string> inodes = sshd_sockets(on);
    for (const char *table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
        std::istringstream lines(on.read(table));
        std::string line;
        std::getline(lines, line); // skip the heading
        while (std::getline(lines, line)) {
            parse_connection(line, inodes, sessions);
        }
    }
    std::ranges::sort(sessions, {}, &ssh_session::peer);
    sessions.erase(std::unique(sessions.begin(), sessions.end()), sessions.end());
    return sessions;
}

} // namespace halfpoll
