// SPDX-License-Identifier: BSD-3-Clause
#include "host.hpp"

#include <halfpoll/error.hpp>
#include <halfpoll/netns.hpp>

#include <algorithm>
#include <bpf/bpf.h>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <liburing.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace halfpoll
{

namespace fs = std::filesystem;

std::string host::read(const std::string &file) const
{
    std::ifstream in(path(file));
    std::string text{std::istreambuf_iterator<char>(in), {}};
    if (text.ends_with('\n')) {
        text.pop_back();
    }
    return text;
}

bool host::exists(const std::string &file) const
{
    std::error_code none;
    return fs::exists(path(file), none);
}

std::string host::link_name(const std::string &file) const
{
    std::error_code none;
    return fs::read_symlink(path(file), none).filename();
}

std::string host::resolve(const std::string &file) const
{
    std::error_code none;
    return fs::canonical(path(file), none);
}

std::vector<std::string> host::list(const std::string &directory) const
{
    std::vector<std::string> names;
    std::error_code none;
    for (fs::directory_iterator entry(path(directory), none), end; !none && entry != end; entry.increment(none)) {
        names.push_back(entry->path().filename());
    }
    std::ranges::sort(names);
    return names;
}

std::string host::sysctl(const std::string &netns, const std::string &name) const
{
    try {
        const netns_scope scope(netns);
        return read("/proc/sys/" + name);
    } catch (const error &) {
        return {}; // no such namespace, or no permission to enter it
    }
}

int host::open_error(const std::string &file) const
{
    const int fd = open(path(file).c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

int host::write_access(const std::string &file) const
{
    return faccessat(AT_FDCWD, file.c_str(), W_OK, AT_EACCESS) == 0 ? 0 : errno;
}

int host::write_error(const std::string &file, const std::string &text)
{
    const int fd = open(path(file).c_str(), O_WRONLY | O_CLOEXEC | O_TRUNC);
    if (fd < 0) {
        return errno;
    }
    const int result = ::write(fd, text.data(), text.size()) < 0 ? errno : 0;
    close(fd);
    return result;
}

void host::store(const std::string &file, const std::string &text)
{
    const fs::path to = path(file);
    const fs::path part = to.string() + ".new";
    std::error_code failed;
    fs::create_directories(to.parent_path(), failed);
    if (!failed && std::ofstream(part) << text << std::flush) {
        fs::rename(part, to, failed);
    } else if (!failed) {
        failed = {errno, std::generic_category()};
    }
    if (failed) {
        throw_errno(failed.value(), "cannot write " + to.string());
    }
}

void host::remove(const std::string &file) noexcept
{
    std::error_code none;
    fs::remove(path(file), none);
}

bool host::capable(unsigned capability) const
{
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    return syscall(SYS_capget, &header, data) == 0 && (data[capability / 32].effective >> (capability % 32) & 1);
}

namespace
{

std::uint64_t limit_of(__rlimit_resource_t resource, rlim_t rlimit::*kind)
{
    rlimit limit{};
    return getrlimit(resource, &limit) != 0 || limit.*kind == RLIM_INFINITY ? UINT64_MAX : limit.*kind;
}

} // namespace

std::uint64_t host::memlock_limit() const { return limit_of(RLIMIT_MEMLOCK, &rlimit::rlim_cur); }
std::uint64_t host::file_limit() const { return limit_of(RLIMIT_NOFILE, &rlimit::rlim_max); }
std::uint64_t host::address_limit() const { return limit_of(RLIMIT_AS, &rlimit::rlim_cur); }

std::string host::environment(const char *name) const
{
    const char *value = std::getenv(name);
    return value ? value : "";
}

std::string host::program() const
{
    std::error_code none;
    return fs::read_symlink("/proc/self/exe", none);
}

int host::tun_error() const
{
    const int fd = open(path("/dev/net/tun").c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    unsigned features = 0;
    const int result = ioctl(fd, TUNGETFEATURES, &features) < 0 ? errno : 0;
    close(fd);
    return result;
}

int host::vhost_error() const
{
    const int fd = open(path("/dev/vhost-net").c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

int host::io_uring_error() const
{
    io_uring ring;
    const int result = io_uring_queue_init(2, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (result == 0) {
        io_uring_queue_exit(&ring);
    }
    return -result;
}

int host::socket_error(int family, int type, int protocol) const
{
    const int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

int host::xsk_map_error() const
{
    const int fd = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "halfpoll_probe", sizeof(int), sizeof(int), 1, nullptr);
    if (fd < 0) {
        return -fd;
    }
    close(fd);
    return 0;
}

int host::fifo_error(int priority) const
{
    int result = 0;
    std::thread([&result, priority] { // in a thread of its own, so the calling thread keeps its policy
        sched_param param{};
        param.sched_priority = priority;
        result = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
    })
        .join();
    return result;
}

bool host::load_module(const std::string &name)
{
    if (!root_.empty()) {
        return false; // `root_` describes another machine
    }
    std::string modprobe = "modprobe", quiet = "-q", module = name;
    char *const arguments[] = {modprobe.data(), quiet.data(), module.data(), nullptr};
    pid_t pid = 0;
    int status = -1;
    if (posix_spawnp(&pid, "modprobe", nullptr, nullptr, arguments, environ) != 0) {
        return false;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

} // namespace halfpoll
