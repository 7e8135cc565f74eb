// SPDX-License-Identifier: BSD-3-Clause
#include "apps/halfpoll/client/control_client.hpp"
#include "apps/halfpoll/serve/control_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace
{

using namespace halfpoll;
using nlohmann::json;
using testing::HasSubstr;

constexpr ktime_t LONG = 10 * NSEC_PER_SEC; ///< a test that waits so long has failed

/// A simple client that can misbehave.
class raw_client
{
public:
    explicit raw_client(const std::string &path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))
    {
        sockaddr_un addr{};
        addr.sun_family = AF_UNIX;
        path.copy(addr.sun_path, sizeof addr.sun_path - 1);
        connected = connect(fd_, reinterpret_cast<sockaddr *>(&addr), sizeof addr) == 0;
    }
    ~raw_client() { close(fd_); }
    raw_client(const raw_client &) = delete;
    raw_client &operator=(const raw_client &) = delete;

    bool write(const std::string &bytes) const
    {
        return send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
    }
    /// Returns the received bytes without waiting. Sets `closed` if the server closed the connection.
    std::string read()
    {
        std::string got(1 << 20, '\0');
        const ssize_t n = recv(fd_, got.data(), got.size(), MSG_DONTWAIT);
        closed = n == 0 || (n < 0 && errno == ECONNRESET);
        got.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return got;
    }
    void half_close() const { shutdown(fd_, SHUT_WR); }

    bool connected = false;
    bool closed = false;

private:
    int fd_;
};

/// A socket that another program has at the path.
struct bound_socket {
    bound_socket(const std::string &path, int type) : fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0))
    {
        sockaddr_un addr{};
        addr.sun_family = AF_UNIX;
        path.copy(addr.sun_path, sizeof addr.sun_path - 1);
        EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr *>(&addr), sizeof addr), 0);
    }
    ~bound_socket() { close(fd); }
    bound_socket(const bound_socket &) = delete;
    bound_socket &operator=(const bound_socket &) = delete;
    const int fd;
};

/// Limits the file descriptors that the process can still open.
class descriptors_left
{
public:
    explicit descriptors_left(unsigned count)
    {
        getrlimit(RLIMIT_NOFILE, &before_);
        std::vector<int> lowest;
        for (unsigned i = 0; i <= count; ++i) {
            lowest.push_back(dup(STDIN_FILENO));
        }
        const rlimit limit{static_cast<rlim_t>(lowest.back()), before_.rlim_max};
        setrlimit(RLIMIT_NOFILE, &limit);
        std::ranges::for_each(lowest, close);
    }
    ~descriptors_left() { setrlimit(RLIMIT_NOFILE, &before_); }
    descriptors_left(const descriptors_left &) = delete;
    descriptors_left &operator=(const descriptors_left &) = delete;

private:
    rlimit before_{};
};

class Control : public testing::Test
{
protected:
    Control() : path_(testing::TempDir() + "control_test." + std::to_string(getpid())) {}
    ~Control() override { std::filesystem::remove(path_); }

    void start(control_limits limits = {})
    {
        server_ = std::make_unique<control_server>(
            path_, [this](const json &request) { return answer(request); }, limits);
    }
    std::string start_refusal()
    {
        try {
            start();
        } catch (const error &e) {
            return e.what();
        }
        return "started";
    }
    json answer(const json &request)
    {
        ++requests_;
        if (request.contains("throw")) {
            throw error("no such thing");
        }
        if (request.contains("not utf8")) {
            return {{"name", "lan\xff"}};
        }
        if (request.contains("big")) {
            return {{"big", std::string(request["big"].get<std::size_t>(), 'x')}};
        }
        return {{"echo", request}};
    }
    /// Serves until `done()` returns true. Returns false if that takes too long.
    template <typename Done>
    bool serve_until(Done done)
    {
        for (const ktime_t end = ktime_get() + LONG; ktime_get() < end;) {
            if (done()) {
                return true;
            }
            pollfd p{server_->fd(), POLLIN, 0};
            poll(&p, 1, 5);
            server_->process();
        }
        return false;
    }
    /// Serves until the client has a whole line or its connection is closed. Returns the received text.
    std::string line_for(raw_client &client)
    {
        std::string got;
        EXPECT_TRUE(serve_until([&] {
            got += client.read();
            return client.closed || got.ends_with('\n');
        }));
        return got;
    }

    std::string path_;
    std::unique_ptr<control_server> server_;
    unsigned requests_ = 0;
};

TEST_F(Control, AnswersOneLineForEachRequest)
{
    start();
    raw_client client(path_);
    ASSERT_TRUE(client.write("{\"show\":\"napi\"}\n"));
    EXPECT_EQ(line_for(client), "{\"echo\":{\"show\":\"napi\"}}\n");
    ASSERT_TRUE(client.write("{\"n\":2}\n"));
    EXPECT_EQ(line_for(client), "{\"echo\":{\"n\":2}}\n");
}

TEST_F(Control, PipelinedRequestsAreAllAnswered)
{
    start();
    raw_client client(path_);
    ASSERT_TRUE(client.write("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n"));
    std::string got;
    ASSERT_TRUE(serve_until([&] {
        got += client.read();
        return std::ranges::count(got, '\n') == 3;
    }));
    EXPECT_EQ(got, "{\"echo\":{\"n\":1}}\n{\"echo\":{\"n\":2}}\n{\"echo\":{\"n\":3}}\n");
}

TEST_F(Control, ErrorsOfTheHandlerAreReplies)
{
    start();
    raw_client client(path_);
    ASSERT_TRUE(client.write("{\"throw\":1}\n"));
    EXPECT_EQ(line_for(client), "{\"error\":\"no such thing\"}\n");
}

TEST_F(Control, GarbageIsRefusedAndHarmsNobody)
{
    start();
    const std::string bad = "{\"error\":\"the request is not a JSON object on one line\"}\n";
    raw_client client(path_);
    const std::vector<std::string> garbage = {"hello\n",
                                              "\n",
                                              "[1]\n",
                                              "{\"a\":\n",
                                              std::string(3, '\0') + "\n",
                                              "\xff\xfe{}\n",
                                              std::string(30'000, '[') + "\n"};
    for (const std::string &line : garbage) {
        ASSERT_TRUE(client.write(line));
        EXPECT_EQ(line_for(client), bad);
    }
    EXPECT_EQ(requests_, 0U);
    ASSERT_TRUE(client.write("{}\n"));
    EXPECT_EQ(line_for(client), "{\"echo\":{}}\n");
}

TEST_F(Control, InvalidUtf8InAReplyIsReplaced)
{
    start();
    raw_client client(path_);
    ASSERT_TRUE(client.write("{\"not utf8\":1}\n"));
    EXPECT_EQ(line_for(client), "{\"name\":\"lan\xef\xbf\xbd\"}\n");
}

TEST_F(Control, ARequestMayComeInPieces)
{
    start();
    raw_client client(path_);
    for (char c : std::string("{\"n\":1}")) {
        ASSERT_TRUE(client.write(std::string(1, c)));
        server_->process();
        EXPECT_EQ(client.read(), "");
    }
    ASSERT_TRUE(client.write("\n"));
    EXPECT_EQ(line_for(client), "{\"echo\":{\"n\":1}}\n");
}

TEST_F(Control, AClientThatClosedItsSideStillGetsItsReply)
{
    start();
    raw_client client(path_);
    ASSERT_TRUE(client.write("{\"n\":1}\n{\"n\":2}\n{\"incomplete"));
    client.half_close();
    std::string got;
    ASSERT_TRUE(serve_until([&] {
        got += client.read();
        return client.closed;
    }));
    EXPECT_EQ(got, "{\"echo\":{\"n\":1}}\n{\"echo\":{\"n\":2}}\n");
    EXPECT_EQ(server_->clients(), 0U);
}

TEST_F(Control, OversizedRequestsEndTheConnection)
{
    control_limits limits;
    limits.request_bytes = 1000;
    start(limits);
    for (const std::string &request : {std::string(1001, ' ') + "\n", std::string(1001, ' ')}) {
        raw_client client(path_);
        ASSERT_TRUE(client.write(request));
        EXPECT_EQ(line_for(client), "{\"error\":\"the request is longer than 1000 bytes\"}\n");
        EXPECT_TRUE(serve_until([&] { return server_->clients() == 0; }));
    }
    EXPECT_EQ(requests_, 0U);
}

TEST_F(Control, LargestRequestIsServed)
{
    start();
    raw_client client(path_);
    const std::string request = "{\"n\":\"" + std::string(control_limits{}.request_bytes - 8, 'y') + "\"}";
    ASSERT_EQ(request.size(), control_limits{}.request_bytes);
    ASSERT_TRUE(client.write(request + "\n"));
    EXPECT_EQ(line_for(client), "{\"echo\":" + request + "}\n");
}

TEST_F(Control, ClientsBeyondTheLimitWaitForAPlace)
{
    control_limits limits;
    limits.clients = 2;
    limits.patience = 2 * NSEC_PER_SEC; // time for the second client's request, even on a busy machine
    start(limits);
    raw_client silent(path_), second(path_), third(path_);
    ASSERT_TRUE(third.write("{\"n\":3}\n"));
    EXPECT_TRUE(serve_until([&] { return server_->clients() == 2; }));
    ASSERT_TRUE(second.write("{\"n\":2}\n"));
    EXPECT_EQ(line_for(second), "{\"echo\":{\"n\":2}}\n");
    EXPECT_EQ(requests_, 1U) << "the third is not served yet";
    EXPECT_EQ(line_for(third), "{\"echo\":{\"n\":3}}\n") << "the silent one lost its place";
}

TEST_F(Control, SilentClientsKeepNobodyOut)
{
    control_limits limits;
    limits.clients = 4;
    limits.patience = 100 * LONG;
    limits.turn = NSEC_PER_MSEC;
    start(limits);
    std::vector<std::unique_ptr<raw_client>> silent;
    for (int i = 0; i < 64; ++i) {
        silent.push_back(std::make_unique<raw_client>(path_));
    }
    raw_client client(path_);
    ASSERT_TRUE(client.write("{\"n\":1}\n"));
    EXPECT_EQ(line_for(client), "{\"echo\":{\"n\":1}}\n");
    EXPECT_EQ(line_for(*silent.front()),
              "{\"error\":\"the connection was idle, and another client needed its place\"}\n");
}

TEST_F(Control, ClientsThatDoNotReadKeepNobodyOut)
{
    control_limits limits;
    limits.clients = 2;
    limits.patience = 100 * LONG;
    limits.turn = NSEC_PER_MSEC;
    start(limits);
    raw_client deaf(path_), deaf_too(path_), client(path_);
    ASSERT_TRUE(deaf.write("{\"big\":8000000}\n"));
    ASSERT_TRUE(deaf_too.write("{\"big\":8000000}\n"));
    ASSERT_TRUE(serve_until([&] { return requests_ == 2; }));
    ASSERT_TRUE(client.write("{\"n\":1}\n"));
    EXPECT_EQ(line_for(client), "{\"echo\":{\"n\":1}}\n");
}

TEST_F(Control, AClientWhoseTurnIsNotOverKeepsItsPlace)
{
    control_limits limits;
    limits.clients = 1;
    limits.turn = 100 * LONG;
    limits.patience = 100 * LONG;
    start(limits);
    raw_client first(path_), second(path_);
    ASSERT_TRUE(serve_until([&] { return server_->clients() == 1; }));
    EXPECT_LT(server_->deadline(), KTIME_MAX);
    ASSERT_TRUE(first.write("{\"n\":1}\n"));
    EXPECT_EQ(line_for(first), "{\"echo\":{\"n\":1}}\n");
}

TEST_F(Control, WithoutAFreeDescriptorOneClientIsServedAtATime)
{
    control_limits limits;
    limits.patience = 100 * LONG;
    limits.turn = NSEC_PER_MSEC;
    start(limits);
    raw_client silent(path_), second(path_), third(path_);
    const descriptors_left none(0);
    ASSERT_TRUE(second.write("{\"n\":2}\n"));
    ASSERT_TRUE(third.write("{\"n\":3}\n"));
    server_->process();
    EXPECT_EQ(server_->clients(), 1U);
    pollfd p{server_->fd(), POLLIN, 0};
    EXPECT_EQ(poll(&p, 1, 0), 0) << "the control thread would spin";
    EXPECT_LE(server_->deadline(), ktime_get() + limits.turn);
    // Behind the reply may stand why the client lost its place.
    EXPECT_TRUE(line_for(second).starts_with("{\"echo\":{\"n\":2}}\n"));
    EXPECT_EQ(line_for(third), "{\"echo\":{\"n\":3}}\n");
}

TEST_F(Control, AnIdleClientKeepsItsPlaceIfNobodyWaits)
{
    for (const bool descriptor : {true, false}) {
        control_limits limits;
        limits.clients = 1;
        limits.patience = 100 * LONG;
        limits.turn = NSEC_PER_MSEC;
        server_.reset();
        start(limits);
        raw_client client(path_);
        ASSERT_TRUE(client.write("{\"n\":1}\n"));
        std::optional<descriptors_left> none;
        if (!descriptor) {
            none.emplace(0);
        }
        EXPECT_EQ(line_for(client), "{\"echo\":{\"n\":1}}\n");
        for (int i = 0; i < 3; ++i) {
            usleep(2000); // its turn is over
            server_->process();
        }
        EXPECT_EQ(server_->clients(), 1U);
        EXPECT_EQ(client.read(), "");
        EXPECT_FALSE(client.closed);
    }
}

TEST_F(Control, SilentClientsAreDropped)
{
    control_limits limits;
    limits.patience = 200 * NSEC_PER_MSEC;
    start(limits);
    raw_client silent(path_), dripping(path_);
    ASSERT_TRUE(serve_until([&] { return server_->clients() == 2; }));
    EXPECT_LE(server_->deadline(), ktime_get() + limits.patience);
    EXPECT_TRUE(serve_until([&] {
        dripping.write("x"); // single bytes are not a request
        return server_->clients() == 0;
    }));
    EXPECT_EQ(server_->deadline(), KTIME_MAX);
}

TEST_F(Control, AClientThatDoesNotReadIsDroppedAndBlocksNobody)
{
    control_limits limits;
    limits.patience = 200 * NSEC_PER_MSEC;
    start(limits);
    raw_client slow(path_);
    ASSERT_TRUE(slow.write("{\"big\":8000000}\n"));
    ASSERT_TRUE(serve_until([&] { return requests_ == 1; }));
    raw_client good(path_);
    ASSERT_TRUE(good.write("{\"n\":1}\n"));
    EXPECT_EQ(line_for(good), "{\"echo\":{\"n\":1}}\n");
    EXPECT_TRUE(serve_until([&] { return server_->clients() == 0; }));
}

TEST_F(Control, LargeRepliesArriveWhole)
{
    start();
    raw_client client(path_);
    ASSERT_TRUE(client.write("{\"big\":8000000}\n"));
    EXPECT_EQ(line_for(client).size(), 8'000'000 + std::strlen("{\"big\":\"\"}\n"));
}

TEST_F(Control, DisconnectInTheMiddleOfAReplyIsHarmless)
{
    start();
    {
        raw_client client(path_);
        ASSERT_TRUE(client.write("{\"big\":8000000}\n"));
        ASSERT_TRUE(serve_until([&] { return requests_ == 1; }));
        EXPECT_NE(client.read(), "");
    }
    EXPECT_TRUE(serve_until([&] { return server_->clients() == 0; }));
    raw_client next(path_);
    ASSERT_TRUE(next.write("{}\n"));
    EXPECT_EQ(line_for(next), "{\"echo\":{}}\n");
}

TEST_F(Control, SocketIsForTheOwnerOnlyAndGoesWithTheServer)
{
    start();
    struct stat st;
    ASSERT_EQ(stat(path_.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777, 0600U);
    server_.reset();
    EXPECT_NE(stat(path_.c_str(), &st), 0);
}

TEST_F(Control, ALiveSocketIsNotTakenOver)
{
    start();
    try {
        control_server second(path_, [](const json &) { return json(); });
        FAIL();
    } catch (const error &e) {
        EXPECT_THAT(e.what(), HasSubstr("already running"));
    }
    EXPECT_TRUE(raw_client(path_).connected) << "the first still listens";
}

TEST_F(Control, ALiveSocketStaysIfItCannotBeAsked)
{
    start();
    const descriptors_left one(1); // one descriptor, for the lock file
    EXPECT_THROW(control_server(path_, [](const json &) { return json(); }), error);
    EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(Control, ABusySocketIsNotTakenOver)
{
    const bound_socket busy(path_, SOCK_STREAM);
    ASSERT_EQ(listen(busy.fd, 0), 0);
    const raw_client in_the_queue(path_);
    EXPECT_THAT(start_refusal(), HasSubstr("already running"));
    EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(Control, ASocketOfAnotherTypeIsLeftAlone)
{
    const bound_socket other(path_, SOCK_DGRAM);
    EXPECT_THAT(start_refusal(), HasSubstr("may be in use"));
    EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(Control, ASocketThatTookItsPathIsNotRemovedAtTheEnd)
{
    start();
    std::filesystem::remove(path_);
    const bound_socket successor(path_, SOCK_STREAM);
    server_.reset();
    EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(Control, AStaleSocketIsReplaced)
{
    bound_socket(path_, SOCK_STREAM); // closed at once, as after SIGKILL: the file stays
    ASSERT_TRUE(std::filesystem::exists(path_));
    start();
    EXPECT_TRUE(raw_client(path_).connected);
}

TEST_F(Control, AnotherFileIsLeftAlone)
{
    std::ofstream(path_) << "precious";
    EXPECT_THROW(start(), error);
    EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(Control, TheProgramsClientTalksToIt)
{
    start();
    std::atomic<bool> done{false};
    json reply;
    std::string refusal;
    std::thread client([&] {
        reply = control_request(path_, {{"n", 1}});
        try {
            control_request(path_, {{"throw", 1}});
        } catch (const error &e) {
            refusal = e.what();
        }
        done = true;
    });
    EXPECT_TRUE(serve_until([&] { return done.load(); }));
    client.join();
    EXPECT_EQ(reply, json({{"echo", {{"n", 1}}}}));
    EXPECT_EQ(refusal, "no such thing");
}

TEST_F(Control, TheProgramsClientNamesTheRemedyWhenNobodyListens)
{
    try {
        control_request(path_, {{"n", 1}});
        FAIL();
    } catch (const error &e) {
        EXPECT_THAT(e.what(), HasSubstr("is `halfpoll run` running"));
    }
}

TEST_F(Control, TheProgramsClientSaysWhatItWaitedForInVain)
{
    const bound_socket silent(path_, SOCK_STREAM);
    ASSERT_EQ(listen(silent.fd, 0), 0);
    const auto refusal = [this] {
        try {
            control_request(path_, {{"n", 1}}, 1);
        } catch (const error &e) {
            return std::string(e.what());
        }
        return std::string();
    };
    EXPECT_THAT(refusal(), HasSubstr("no reply within 1 s"));
    // The first connection still fills the queue.
    EXPECT_THAT(refusal(), HasSubstr("no connection within 1 s"));
}

TEST_F(Control, TheProgramsClientWaitsForTheEnd)
{
    start();
    std::atomic<bool> done{false};
    std::thread client([&] {
        control_stop(path_);
        done = true;
    });
    EXPECT_TRUE(serve_until([&] { return requests_ == 1; }));
    server_->process();
    EXPECT_FALSE(done.load()) << "replied, but not gone";
    server_.reset();
    client.join();
    EXPECT_TRUE(done.load());
}

} // namespace
