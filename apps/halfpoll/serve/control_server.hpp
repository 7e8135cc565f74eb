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

/// Limits on the resources that clients use.
struct control_limits {
    std::size_t request_bytes = 64 * 1024;
    unsigned clients = 16;
    ktime_t patience = 5 * NSEC_PER_SEC; ///< for a client that neither completes a request nor takes any of a reply
    ktime_t turn = 200 * NSEC_PER_MSEC;  ///< the same, while another client waits for its place
};

/// Answers requests on a Unix stream socket (mode 0600). A request is one JSON object on a line; the reply is one line
/// of JSON. Only root and the user of this process are served. Nothing here blocks, and a client that sends garbage,
/// too much or too slowly loses its connection. Clients above the limit, and clients for which there is no file
/// descriptor, wait in the listener's queue until there is a place. Control thread only.
class control_server
{
public:
    /// Turns a request into a reply. If it throws `error`, the reply is {"error": …}.
    using handler = std::function<nlohmann::json(const nlohmann::json &request)>;

    /// Replaces a stale socket. Throws `error` if a process listens on it, or if that cannot be determined.
    control_server(std::string path, handler serve, control_limits limits = {});
    ~control_server();
    control_server(const control_server &) = delete;
    control_server &operator=(const control_server &) = delete;

    /// Readable when process() has something to do.
    int fd() const noexcept { return epoll_fd_; }
    /// Returns the latest time for the next process() (CLOCK_MONOTONIC); KTIME_MAX: no client waits.
    ktime_t deadline() const noexcept;
    void process();
    std::size_t clients() const noexcept { return clients_.size(); }

private:
    struct client {
        std::string in, out;
        std::size_t sent = 0;     ///< bytes of `out`
        ktime_t since = 0;        ///< when it last completed a request or took part of a reply
        bool finished = false;    ///< nothing more is read from it
        std::uint32_t events = 0; ///< epoll events that are waited for
    };

    void listen_on_path();
    void remove_socket() noexcept;
    bool client_waits() const noexcept;
    bool accept_client();
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
    int reserve_fd_ = -1;           ///< -1: closed, so that a client could be accepted
    ktime_t accept_at_ = KTIME_MAX; ///< when to try the listener's queue again; KTIME_MAX: the queue is empty
    dev_t device_ = 0;              ///< with inode_: identity of the socket's file
    ino_t inode_ = 0;
    std::map<int, client> clients_; ///< by fd
};

} // namespace halfpoll
