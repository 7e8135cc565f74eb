// SPDX-License-Identifier: BSD-3-Clause
//
// Programs in shared objects (xdp_program.h).
#include <halfpoll/net_core.hpp>
#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_map.hpp>

#include "netio/base/trusted_file.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <vector>

namespace halfpoll
{
namespace
{

/// Checks that the file is a complete ELF object: the dynamic linker trusts its content, and an incomplete file would
/// end the process.
void check_elf(const std::string &file)
{
    std::ifstream in(file, std::ios::binary | std::ios::ate);
    if (!in) {
        throw_errno(errno, "XDP program " + file + ": cannot be read");
    }
    const auto size = static_cast<std::uint64_t>(std::max<std::streamoff>(in.tellg(), 0));
    ElfW(Ehdr) head{};
    std::vector<ElfW(Phdr)> segments;
    in.seekg(0);
    bool good = in.read(reinterpret_cast<char *>(&head), sizeof head) &&
                std::string_view(reinterpret_cast<const char *>(head.e_ident), SELFMAG) == ELFMAG &&
                head.e_type == ET_DYN && head.e_phentsize == sizeof(ElfW(Phdr));
    if (good) {
        segments.resize(head.e_phnum);
        in.seekg(static_cast<std::streamoff>(head.e_phoff));
        const auto bytes = static_cast<std::streamsize>(segments.size() * sizeof segments[0]);
        good = in.read(reinterpret_cast<char *>(segments.data()), bytes) && head.e_shoff <= size &&
               std::uint64_t{head.e_shnum} * head.e_shentsize <= size - head.e_shoff; // the end of the file
    }
    for (const auto &segment : segments) {
        good = good && segment.p_offset <= size && segment.p_filesz <= size - segment.p_offset;
    }
    if (!good) {
        throw error("XDP program " + file + ": is not a shared object, or not a whole one");
    }
}

/// Checks that no untrusted user could change the file: its code runs with all rights of this process.
void check_trusted(const std::string &file)
{
    if (const std::string wrong = others_may_change(file); !wrong.empty()) {
        throw error("XDP program " + file + ": is not loaded: " + wrong);
    }
}

std::string absolute(const std::string &file)
{
    const std::unique_ptr<char, decltype(&free)> path(realpath(file.c_str(), nullptr), free);
    if (!path) {
        throw_errno(errno, "XDP program " + file + ": cannot be read");
    }
    return path.get();
}

/// Owns an open shared object.
class object
{
public:
    /// Throws `error` that names the file if it is no program for this halfpoll.
    explicit object(const std::string &file)
        : file_(absolute(file)),
          handle_((check_trusted(file_), check_elf(file_), dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL)), close)
    {
        if (!handle_) {
            throw error("XDP program " + file_ + ": cannot be loaded: " + dlerror());
        }
        check();
    }
    const std::string &file() const noexcept { return file_; }
    const halfpoll_xdp_program &program() const noexcept { return *program_; }

private:
    static void close(void *handle)
    {
        if (handle) {
            dlclose(handle);
        }
    }
    [[noreturn]] void refuse(const std::string &why) const { throw error("XDP program " + file_ + ": " + why); }
    /// Size in bytes of the object that the symbol names; 0: unknown.
    static std::size_t size_of(const void *symbol)
    {
        Dl_info info;
        ElfW(Sym) *entry = nullptr;
        const int found = dladdr1(symbol, &info, reinterpret_cast<void **>(&entry), RTLD_DL_SYMENT);
        return found != 0 && entry && ELF64_ST_TYPE(entry->st_info) == STT_OBJECT ? entry->st_size : 0;
    }
    void check()
    {
        const void *symbol = dlsym(handle_.get(), "halfpoll_xdp_program");
        if (!symbol || size_of(symbol) < sizeof program_->abi) {
            refuse("exports no halfpoll_xdp_program (HALFPOLL_XDP_PROGRAM in halfpoll/xdp_program.h makes it)");
        }
        program_ = static_cast<const halfpoll_xdp_program *>(symbol);
        if (program_->abi != HALFPOLL_XDP_ABI || size_of(symbol) < sizeof *program_) {
            refuse("was built for version " + std::to_string(program_->abi) + " of halfpoll/xdp_program.h, not " +
                   std::to_string(HALFPOLL_XDP_ABI) + "; build it again");
        }
        const auto release = [](std::uint32_t version) {
            return std::to_string(version >> 24) + "." + std::to_string(version >> 16 & 0xff);
        };
        if (program_->version >> 16 != RTE_VERSION >> 16) {
            refuse("was built with DPDK " + release(program_->version) + ", halfpoll with " + release(RTE_VERSION) +
                   "; build it again");
        }
        if (!program_->name || !program_->open || !program_->run || !program_->close) {
            refuse("halfpoll_xdp_program lacks a name, open, run or close");
        }
    }

    std::string file_;
    std::unique_ptr<void, void (*)(void *)> handle_;
    const halfpoll_xdp_program *program_ = nullptr;
};

/// An instance of the program.
class object_program final : public xdp_program
{
public:
    object_program(net_core &core, object from, const std::string &config)
        : xdp_program(from.program().name), core_(core), object_(std::move(from)), run_(object_.program().run)
    {
        const halfpoll_xdp_host host{this, core.cpus(), on_error, ifindex_of, map_of};
        const int ret = object_.program().open(&host, config.c_str(), &state_);
        if (ret != 0) {
            throw error("XDP program " + object_.file() + ": " + (complaint_.empty() ? reason(ret) : complaint_));
        }
    }
    ~object_program() override { object_.program().close(state_); }

    void run(halfpoll_xdp_burst &burst) noexcept override { run_(state_, &burst); }

    std::string show() const override
    {
        const auto show = object_.program().show;
        std::string text(1024, '\0');
        for (unsigned again = 0; show && again < 3; ++again) { // the figures may grow between two calls
            const int length = show(state_, text.data(), text.size());
            if (length >= 0 && static_cast<std::size_t>(length) < text.size()) {
                text.resize(static_cast<std::size_t>(length));
                return text;
            }
            text.resize(length < 0 ? text.size() : static_cast<std::size_t>(length) + 64);
        }
        return {};
    }

private:
    static object_program &of(void *ctx) { return *static_cast<object_program *>(ctx); }
    static void on_error(void *ctx, const char *text) { of(ctx).complaint_ = text; }
    static std::uint32_t ifindex_of(void *ctx, const char *name)
    {
        const net_device *dev = of(ctx).core_.dev_get_by_name(name);
        if (!dev) {
            of(ctx).missing_ = std::string("there is no interface ") + name;
        }
        return dev ? dev->ifindex : 0U;
    }
    static halfpoll_xdp_map *map_of(void *ctx, const char *name)
    {
        std::shared_ptr<xdp_map> map = xdp_map_find(of(ctx).core_, name);
        if (!map) {
            of(ctx).missing_ = std::string("there is no XDP map ") + name;
            return nullptr;
        }
        of(ctx).maps_.push_back(map);
        return map.get();
    }
    /// The reason for a failed open() when the program did not call error().
    std::string reason(int ret) const
    {
        return missing_.empty() ? "does not open: " + std::generic_category().message(std::abs(ret)) : missing_;
    }

    net_core &core_;
    object object_;
    void (*const run_)(void *, halfpoll_xdp_burst *);
    void *state_ = nullptr;
    std::vector<std::shared_ptr<xdp_map>> maps_; ///< maps that the program may use
    std::string complaint_, missing_;
};

} // namespace

std::shared_ptr<xdp_program> xdp_load(net_core &core, const std::string &file, const std::string &config)
{
    return std::make_shared<object_program>(core, object(file), config);
}

} // namespace halfpoll
