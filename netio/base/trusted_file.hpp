// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// Checks whether a user other than root, the effective user and the owner of the running program could change what a
/// file contains. Such a user owns the file or a folder on its path, or may write to one of them; in a folder with the
/// sticky bit users can replace only files of their own. `path` is absolute and without symbolic links, as of
/// realpath(3). Returns an empty string if no such user could, else one clause and the remedy. Any thread.
std::string others_may_change(const std::string &path);

} // namespace halfpoll
