// SPDX-License-Identifier: BSD-3-Clause
#include "trusted_file.hpp"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

namespace halfpoll
{
namespace
{

bool trusted(uid_t user)
{
    struct stat program;
    return user == 0 || user == geteuid() || (stat("/proc/self/exe", &program) == 0 && user == program.st_uid);
}

std::string octal(mode_t mode)
{
    char text[8];
    std::snprintf(text, sizeof text, "%04o", mode & 07777U);
    return text;
}

std::string wrong_with(const std::string &part)
{
    struct stat st;
    if (lstat(part.c_str(), &st) != 0) {
        return part + " cannot be examined: " + std::generic_category().message(errno);
    }
    if (!trusted(st.st_uid)) {
        return part + " belongs to user " + std::to_string(st.st_uid) + ", who could change it: chown root " + part;
    }
    const bool replaceable = !S_ISDIR(st.st_mode) || (st.st_mode & S_ISVTX) == 0;
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && replaceable) {
        return part + " has mode " + octal(st.st_mode) + ", so others than its owner could change it: chmod go-w " +
               part;
    }
    return "";
}

} // namespace

/// Checks from the root downwards: once a folder has been found trustworthy, no other user can replace what lies below
/// it while the check goes on.
std::string others_may_change(const std::string &path)
{
    std::string wrong = wrong_with("/");
    for (std::size_t end = 0; wrong.empty() && end < path.size();) {
        end = path.find('/', end + 1);
        end = end == std::string::npos ? path.size() : end;
        wrong = wrong_with(path.substr(0, end));
    }
    return wrong;
}

} // namespace halfpoll
