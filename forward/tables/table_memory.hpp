// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <halfpoll/error.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/mman.h>

namespace halfpoll
{

/// Zeroed memory of a lookup table: reserved at once, backed by huge pages where the system grants them, and allocated
/// by the system only when it is touched.
class table_memory
{
public:
    table_memory(std::size_t bytes, const std::string &what) : bytes_(bytes + huge_page)
    {
        base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base_ == MAP_FAILED) {
            throw_errno(errno, what + ": cannot reserve " + std::to_string(bytes >> 20) + " MiB");
        }
        // Fails where the kernel has no transparent huge pages: the table is then only slower.
        (void)madvise(base_, bytes_, MADV_HUGEPAGE);
    }
    ~table_memory() { munmap(base_, bytes_); }
    table_memory(const table_memory &) = delete;
    table_memory &operator=(const table_memory &) = delete;

    /// Aligned to a huge page.
    void *data() const noexcept
    {
        const auto address = reinterpret_cast<std::uintptr_t>(base_);
        return reinterpret_cast<void *>((address + huge_page - 1) & ~(huge_page - 1));
    }

private:
    static constexpr std::uintptr_t huge_page = 2U << 20;
    void *base_;
    std::size_t bytes_;
};

} // namespace halfpoll
