// SPDX-License-Identifier: BSD-3-Clause
#include "control_server.hpp"
#include "apps/halfpoll/log/log.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

namespace halfpoll
{

namespace
{

using nlohmann::json;

sockaddr_un address_of(const std::string &path)
{
    sockaddr_un addr{};
    addr.sun_family = AF_UNIX;
    if (path.size() >= sizeof addr.sun_path) {
        throw error("control socket " + path + ": the path is longer than " + std::to_string(sizeof addr.sun_path - 1) +
                    " bytes");
    }
    std::memcpy(addr.sun_path, path.data(), path.size());
    return addr;
}

/// Throws `error` unless the socket is stale. Only a refused connection means that no process listens on it; after any
/// other failure the owner is unknown.
void expect_stale(const std::string &path, const sockaddr_un &addr)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        throw_errno(errno, "control socket " + path + ": cannot find out whether a process listens there");
    }
    const int err = connect(fd, reinterpret_cast<const sockaddr *>(&addr), sizeof addr) == 0 ? 0 : errno;
    close(fd);
    if (err == 0 || err == EAGAIN) { // EAGAIN: the queue of a listener is full
        throw error("already running: a process " + std::string(err == 0 ? "answers" : "listens") +
                    " on the control socket " + path +
                    "; stop it with `halfpoll stop`, or choose another path with control = \"...\" in [runtime]");
    }
    if (err != ECONNREFUSED) {
        throw_errno(err, "control socket " + path +
                             ": a socket is there that may be in use; remove it, or choose another path with control "
                             "= \"...\" in [runtime]");
    }
}

std::string directory_of(const std::string &path) { return path.substr(0, std::max<std::size_t>(1, path.rfind('/'))); }

/// Locks the directory while a socket is made or removed, so that two processes do not remove each other's socket.
class directory_lock
{
public:
    explicit directory_lock(const std::string &path)
    {
        mkdir(directory_of(path).c_str(), 0755); // /run is empty after a boot; if mkdir() fails, open() reports why
        fd_ = open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd_ < 0) {
            throw_errno(errno, "control socket " + path + ": cannot open its directory");
        }
        while (flock(fd_, LOCK_EX) != 0) {
            if (const int err = errno; err != EINTR) {
                close(fd_);
                throw_errno(err, "control socket " + path + ": cannot lock its directory");
            }
        }
    }
    ~directory_lock() { close(fd_); }
    directory_lock(const directory_lock &) = delete;
    directory_lock &operator=(const directory_lock &) = delete;

private:
    int fd_;
};

bool may_control(int fd)
{
    ucred peer{};
    socklen_t length = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

std::string line_of(const json &reply) { return reply.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"; }

/// Sends one line to a peer that is not or no longer a client, if the socket takes it at once, and closes the
/// connection.
void refuse(int fd, const char *why)
{
    const std::string line = line_of({{"error", why}});
    (void)!send(fd, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

/// Opens a descriptor that is closed when no other descriptor is left.
int open_reserve() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

} // namespace

control_server::control_server(std::string path, handler serve, control_limits limits)
    : path_(std::move(path)), handler_(std::move(serve)), limits_(limits)
{
    listen_on_path();
    epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    // Edge-triggered, one event for each arrival: accept_at_ is set while clients are left in the queue.
    epoll_event event{EPOLLIN | EPOLLET, {.fd = listen_fd_}};
    if (epoll_fd_ < 0 || epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, listen_fd_, &event) != 0) {
        const int err = errno;
        close(listen_fd_);
        close(epoll_fd_);
        unlink(path_.c_str());
        throw_errno(err, "control socket " + path_ + ": epoll");
    }
    reserve_fd_ = open_reserve();
}

control_server::~control_server()
{
    for (const auto &[fd, c] : clients_) {
        close(fd);
    }
    remove_socket();
    close(listen_fd_);
    close(epoll_fd_);
    close(reserve_fd_);
}

/// Removes the socket, unless another process has replaced it since.
void control_server::remove_socket() noexcept
{
    try {
        const directory_lock lock(path_);
        struct stat st;
        if (lstat(path_.c_str(), &st) == 0 && st.st_dev == device_ && st.st_ino == inode_) {
            unlink(path_.c_str());
        }
    } catch (const std::exception &e) {
        log_line(log_level::warning, "control", "the control socket is left behind: " + std::string(e.what()));
    }
}

void control_server::listen_on_path()
{
    const sockaddr_un addr = address_of(path_);
    const directory_lock lock(path_);
    struct stat st;
    if (lstat(path_.c_str(), &st) == 0) {
        if (!S_ISSOCK(st.st_mode)) {
            throw error("control socket " + path_ + ": a file that is no socket is there; move it, or choose another " +
                        "path with control = \"...\" in [runtime]");
        }
        expect_stale(path_, addr);
        unlink(path_.c_str()); // left behind by a killed process
    }
    listen_fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listen_fd_ < 0 || bind(listen_fd_, reinterpret_cast<const sockaddr *>(&addr), sizeof addr) != 0 ||
        chmod(path_.c_str(), 0600) != 0 || lstat(path_.c_str(), &st) != 0 || listen(listen_fd_, SOMAXCONN) != 0) {
        const int err = errno;
        close(listen_fd_);
        throw_errno(err, "control socket " + path_ + ": cannot listen there");
    }
    device_ = st.st_dev;
    inode_ = st.st_ino;
}

ktime_t control_server::deadline() const noexcept
{
    ktime_t first = accept_at_;
    for (const auto &[fd, c] : clients_) {
        first = std::min(first, c.since + limits_.patience);
    }
    return first;
}

void control_server::process()
{
    std::array<epoll_event, 32> events;
    const int n = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), 0);
    bool arrived = false;
    for (int i = 0; i < n; ++i) {
        const int fd = events[i].data.fd;
        arrived |= fd == listen_fd_;
        if (const auto it = clients_.find(fd); it != clients_.end() && !serve(fd, it->second, events[i].events)) {
            drop(fd);
        }
    }
    const ktime_t now = ktime_get();
    std::vector<int> late;
    for (const auto &[fd, c] : clients_) {
        if (c.since + limits_.patience <= now) {
            late.push_back(fd);
        }
    }
    std::ranges::for_each(late, [this](int fd) { drop(fd); });
    if (arrived || accept_at_ != KTIME_MAX) {
        accept_clients();
    }
}

/// accept() cannot tell: without a free descriptor it fails also if nobody waits.
bool control_server::client_waits() const noexcept
{
    pollfd queue{listen_fd_, POLLIN, 0};
    return poll(&queue, 1, 0) > 0 && (queue.revents & POLLIN);
}

/// Returns false if there is neither a descriptor nor a client to end for one.
bool control_server::accept_client()
{
    const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    const int err = fd < 0 ? errno : 0;
    if (err == EAGAIN || err == EINTR || err == ECONNABORTED) {
        return true;
    }
    if (err != 0) {
        return spare_descriptor(err);
    }
    if (!may_control(fd)) {
        refuse(fd, "only root and the user that runs halfpoll may control it");
        return true;
    }
    client &c = clients_[fd];
    c.since = ktime_get();
    watch(fd, c);
    return true;
}

void control_server::accept_clients()
{
    accept_at_ = KTIME_MAX;
    while (client_waits()) {
        if ((clients_.size() >= limits_.clients && !make_place()) || !accept_client()) {
            // By then a descriptor may be free, or a client's turn may be over.
            accept_at_ = ktime_get() + limits_.turn;
            for (const auto &[fd, c] : clients_) {
                accept_at_ = std::min(accept_at_, c.since + limits_.turn);
            }
            return;
        }
    }
}

/// Ends the client that has been idle longest, if its turn is over. Returns false if no client's turn is.
bool control_server::make_place()
{
    const ktime_t over = ktime_get() - limits_.turn;
    for (;;) {
        const auto oldest = std::ranges::min_element(clients_, {}, [](const auto &c) { return c.second.since; });
        if (oldest == clients_.end() || oldest->second.since > over) {
            return false;
        }
        auto &[fd, c] = *oldest;
        if (!serve(fd, c, EPOLLIN)) { // its request may have arrived since it was last read
            drop(fd);
            return true;
        }
        if (c.since <= over) {
            drop(fd, c.out.empty() ? "the connection was idle, and another client needed its place" : nullptr);
            return true;
        }
    }
}

/// Called after accept() failed for lack of a descriptor or memory: frees the reserve or ends a client. Returns false
/// if neither is possible.
bool control_server::spare_descriptor(int errnum)
{
    if (reserve_fd_ < 0) {
        return make_place();
    }
    log_line(log_level::warning, "control",
             "control socket " + path_ + ": cannot accept a client (" + std::strerror(errnum) +
                 "), so one is served at a time; raise the limit of open files (ulimit -n; systemd: LimitNOFILE=)");
    close(reserve_fd_);
    reserve_fd_ = -1;
    return true;
}

/// Returns false if the connection is finished.
bool control_server::serve(int fd, client &c, std::uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && c.events == EPOLLIN && !receive(fd, c)) {
        return false;
    }
    // One request at a time: this bounds the memory for replies, and lets other clients have their turn.
    if (c.out.empty()) {
        answer_next(c);
    }
    if (!send_reply(fd, c) || (c.finished && c.out.empty() && c.in.find('\n') == std::string::npos)) {
        return false;
    }
    watch(fd, c);
    return true;
}

bool control_server::receive(int fd, client &c)
{
    std::array<char, 16 * 1024> buffer;
    const ssize_t n = recv(fd, buffer.data(), buffer.size(), 0);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    c.finished = n == 0; // a client that has shut down its side still gets its reply
    c.in.append(buffer.data(), static_cast<std::size_t>(n));
    return true;
}

/// Answers the next complete line, if there is one.
void control_server::answer_next(client &c)
{
    const std::size_t end = c.in.find('\n');
    if (std::min(end, c.in.size()) > limits_.request_bytes) {
        c.out = line_of({{"error", "the request is longer than " + std::to_string(limits_.request_bytes) + " bytes"}});
        c.in.clear();
        c.finished = true;
        return;
    }
    if (end == std::string::npos) {
        return;
    }
    const std::string line = c.in.substr(0, end);
    c.in.erase(0, end + 1);
    c.out = line_of(reply_to(line));
    c.since = ktime_get();
}

json control_server::reply_to(const std::string &line)
{
    const json request = json::parse(line, nullptr, false);
    if (!request.is_object()) {
        return {{"error", "the request is not a JSON object on one line"}};
    }
    try {
        return handler_(request);
    } catch (const std::exception &e) {
        return {{"error", e.what()}};
    }
}

bool control_server::send_reply(int fd, client &c)
{
    while (c.sent < c.out.size()) {
        const ssize_t n = send(fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        c.sent += static_cast<std::size_t>(n);
        c.since = ktime_get();
    }
    c.out.clear();
    c.sent = 0;
    return true;
}

void control_server::watch(int fd, client &c)
{
    const bool idle = c.out.empty() && c.in.find('\n') == std::string::npos;
    const std::uint32_t wanted = idle ? EPOLLIN : EPOLLOUT;
    if (c.events != wanted) {
        epoll_event event{wanted, {.fd = fd}};
        epoll_ctl(epoll_fd_, c.events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
        c.events = wanted;
    }
}

/// Closes a connection; `why`, if not null, is sent first.
void control_server::drop(int fd, const char *why)
{
    clients_.erase(fd);
    if (why) {
        refuse(fd, why);
    } else {
        close(fd);
    }
    if (reserve_fd_ < 0) {
        reserve_fd_ = open_reserve();
    }
}

} // namespace halfpoll
