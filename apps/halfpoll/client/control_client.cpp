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
    /// EAGAIN means that SO_RCVTIMEO or SO_SNDTIMEO has expired.
    [[noreturn]] void fail(int errnum, const std::string &what) const
    {
        if (errnum == EAGAIN) {
            throw error("control socket " + path_ + ": " + what + " within " + std::to_string(patience_) +
                        " s: the process that listens there is stopped or too busy");
        }
        throw_errno(errnum, "control socket " + path_ + ": " + what);
    }

    std::string path_;
    unsigned patience_;
    int fd_;
};

connection::connection(const std::string &path, unsigned seconds)
    : path_(path), patience_(seconds), fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))
{
    if (fd_ < 0) {
        fail(errno, "cannot make a socket to connect with");
    }
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
    fail(err, "no connection");
}

void connection::send_line(const std::string &line)
{
    for (std::size_t sent = 0; sent < line.size();) {
        const ssize_t n = send(fd_, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
        if (n < 0) {
            fail(errno, "the request was not taken");
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
            fail(errno, "no reply");
        }
        line.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return line;
}

void connection::wait_until_closed()
{
    char byte;
    if (recv(fd_, &byte, 1, 0) < 0 && errno != ECONNRESET) {
        fail(errno, "it did not end");
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
