// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>
#include <halfpoll/ktime.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <sys/types.h>

namespace halfpoll
{

/// What a client may cost.
struct control_limits {
    std::size_t request_bytes = 64 * 1024;
    unsigned clients = 16;
    ktime_t patience = 5 * NSEC_PER_SEC; ///< without a complete request, or without taking any of the reply
    ktime_t turn = 200 * NSEC_PER_MSEC;  ///< the same, while another client waits for the place
};

/// Answers requests on a Unix stream socket (mode 0600): one JSON object a line, one JSON line back. Only root and the
/// user of this process are served. Nothing here blocks, and a client that sends garbage, too much or too slowly loses
/// its connection. Clients beyond the limit, and those for whom there is no file descriptor, wait in the listener's
/// queue until a place is free. Control thread only.
class control_server
{
public:
    /// Turns a request into a reply; an `error` it throws becomes {"error": …}.
    using handler = std::function<nlohmann::json(const nlohmann::json &request)>;

    /// Replaces a socket that nobody listens on; throws `error` if somebody does, or if that cannot be found out.
    control_server(std::string path, handler serve, control_limits limits = {});
    ~control_server();
    control_server(const control_server &) = delete;
    control_server &operator=(const control_server &) = delete;

    /// Readable when there is something to process().
    int fd() const noexcept { return epoll_fd_; }
    /// When process() is to be called at the latest (CLOCK_MONOTONIC); KTIME_MAX: no client waits.
    ktime_t deadline() const noexcept;
    void process();
    std::size_t clients() const noexcept { return clients_.size(); }

private:
    struct client {
        std::string in, out;
        std::size_t sent = 0;     ///< of `out`
        ktime_t since = 0;        ///< when it last completed a request or took a part of a reply
        bool finished = false;    ///< no more is read
        std::uint32_t events = 0; ///< waited for
    };

    void listen_on_path();
    void remove_socket() noexcept;
    bool make_place();
    bool spare_descriptor(int errnum);
    void accept_clients();
    bool serve(int fd, client &c, std::uint32_t events);
    bool receive(int fd, client &c);
    bool send_reply(int fd, client &c);
    void answer_next(client &c);
    nlohmann::json reply_to(const std::string &line);
    void watch(int fd, client &c);
    void drop(int fd, const char *why = nullptr);

    std::string path_;
    handler handler_;
    control_limits limits_;
    int listen_fd_ = -1;
    int epoll_fd_ = -1;
    int reserve_fd_ = -1;           ///< -1: a client has it
    ktime_t accept_at_ = KTIME_MAX; ///< when to look at the listener's queue again; KTIME_MAX: it is empty
    dev_t device_ = 0;              ///< of the socket's file, with its
    ino_t inode_ = 0;
    std::map<int, client> clients_; ///< by fd
};

} // namespace halfpoll
