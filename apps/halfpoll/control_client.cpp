// SPDX-License-Identifier: BSD-3-Clause
#include "control_client.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace halfpoll
{

namespace
{

/// Owns the connection.
class connection
{
public:
    connection(const std::string &path, unsigned patience);
    ~connection() { close(fd_); }
    connection(const connection &) = delete;
    connection &operator=(const connection &) = delete;

    void send_line(const std::string &line);
    std::string receive_line();
    void wait_until_closed();

private:
    [[noreturn]] void fail(const std::string &what) const
    {
        throw_errno(errno == EAGAIN ? ETIMEDOUT : errno, "control socket " + path_ + ": " + what);
    }

    std::string path_;
    int fd_;
};

connection::connection(const std::string &path, unsigned seconds)
    : path_(path), fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))
{
    sockaddr_un addr{};
    addr.sun_family = AF_UNIX;
    path.copy(addr.sun_path, sizeof addr.sun_path - 1);
    const timeval patience{seconds, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (path.size() < sizeof addr.sun_path && connect(fd_, reinterpret_cast<sockaddr *>(&addr), sizeof addr) == 0) {
        return;
    }
    const int err = path.size() < sizeof addr.sun_path ? errno : ENAMETOOLONG;
    close(fd_);
    if (err == ENOENT || err == ECONNREFUSED) {
        throw error("nobody listens on " + path + "; is `halfpoll run` running, with this control socket?");
    }
    throw_errno(err, "control socket " + path + ": cannot connect");
}

void connection::send_line(const std::string &line)
{
    for (std::size_t sent = 0; sent < line.size();) {
        const ssize_t n = send(fd_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
        if (n < 0) {
            fail("cannot send");
        }
        sent += static_cast<std::size_t>(n);
    }
}

std::string connection::receive_line()
{
    std::string line;
    std::array<char, 64 * 1024> buffer;
    while (line.empty() || line.back() != '\n') {
        const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
        if (n == 0) {
            throw error("control socket " + path_ + ": closed before the reply was complete");
        }
        if (n < 0) {
            fail("no reply");
        }
        line.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return line;
}

void connection::wait_until_closed()
{
    char byte;
    if (recv(fd_, &byte, 1, 0) != 0 && errno != ECONNRESET) {
        fail("still running");
    }
}

nlohmann::json exchange(connection &server, const nlohmann::json &request)
{
    server.send_line(request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    nlohmann::json reply = nlohmann::json::parse(server.receive_line(), nullptr, false);
    if (reply.is_discarded()) {
        throw error("the reply on the control socket is not JSON");
    }
    if (reply.contains("error")) {
        throw error(reply["error"].get<std::string>());
    }
    return reply;
}

} // namespace

nlohmann::json control_request(const std::string &path, const nlohmann::json &request, unsigned patience)
{
    connection server(path, patience);
    return exchange(server, request);
}

void control_stop(const std::string &path)
{
    connection server(path, 10);
    exchange(server, {{"stop", true}});
    server.wait_until_closed();
}

} // namespace halfpoll
