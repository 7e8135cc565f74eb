// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace halfpoll
{

/// Who else could change what a file contains: somebody who is neither root, nor the effective user, nor the owner of
/// the running program, because the file or a folder on its path is his or he may write to it (in a folder with the
/// sticky bit nobody replaces what is not his). Empty: nobody. Else one clause and the remedy. `path` is absolute and
/// without symbolic links, as of realpath(3).
std::string others_may_change(const std::string &path);

} // namespace halfpoll
