// SPDX-License-Identifier: BSD-3-Clause
#include "backlog_rig.hpp"

#include <halfpoll/xdp.hpp>
#include <halfpoll/xdp_map.hpp>

#include <rte_version.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <unistd.h>

namespace halfpoll::test
{
namespace
{

namespace fs = std::filesystem;

class xdp_loading : public backlog_rig
{
protected:
    void SetUp() override
    {
        backlog_rig::SetUp();
        start(exclusive(), 1);
        char name[] = "/tmp/halfpoll-xdp-XXXXXX";
        ASSERT_NE(mkdtemp(name), nullptr);
        dir_ = name;
    }
    void TearDown() override
    {
        fs::remove_all(dir_);
        backlog_rig::TearDown();
    }
    static std::string object() { return fs::read_symlink("/proc/self/exe").parent_path() / "xdp_object.so"; }
    static std::string contents(const std::string &file)
    {
        std::ifstream in(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    /// Writes a new file and returns its path.
    std::string file(const std::string &bytes)
    {
        const std::string path = dir_ + "/" + std::to_string(files_++) + ".so";
        std::ofstream(path, std::ios::binary) << bytes;
        return path;
    }
    /// The shared object that defines `symbol`.
    static std::string file_of(const void *symbol)
    {
        Dl_info info{};
        EXPECT_NE(dladdr(symbol, &info), 0);
        return fs::canonical(info.dli_fname);
    }
    /// A copy of the object in which `to` replaces `from`.
    std::string patched(const std::string &from, const std::string &to)
    {
        std::string bytes = contents(object());
        std::size_t found = 0;
        for (std::size_t at = 0; (at = bytes.find(from, at)) != std::string::npos; at += from.size(), ++found) {
            bytes.replace(at, from.size(), to);
        }
        EXPECT_GT(found, 0U);
        return file(bytes);
    }
    static std::string header(std::uint32_t abi, std::uint32_t version)
    {
        std::string bytes(8, '\0');
        std::memcpy(bytes.data(), &abi, 4);
        std::memcpy(bytes.data() + 4, &version, 4);
        return bytes;
    }
    /// The reason why it is refused, without the name of the file.
    std::string refusal(const std::string &path, const std::string &config = "")
    {
        try {
            xdp_load(*core, path, config);
        } catch (const error &e) {
            const std::string text = e.what(), prefix = "XDP program " + path + ": ";
            return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
        }
        return "loaded";
    }

    std::string dir_;
    unsigned files_ = 0;
};

TEST_F(xdp_loading, runs_the_program_of_a_shared_object)
{
    const std::string closed = dir_ + "/closed";
    std::shared_ptr<xdp_program> drop = xdp_load(*core, object(), "drop");
    EXPECT_EQ(drop->name(), "object");
    EXPECT_EQ(drop->show(), "figure0 0\n");
    xdp_attach(*core, *eth, drop);
    drop.reset();
    wires.front()->receive(packet(pool, 1));
    ASSERT_TRUE(eventually([&] { return xdp_counters_of(*eth, 0).drop == 1; }));
    xdp_attach(*core, *eth, xdp_load(*core, object(), "closed " + closed)); // loads the object a second time
    wires.front()->receive(packet(pool, 2));
    ASSERT_TRUE(eventually([&] { return count() == 1; }));
    EXPECT_FALSE(fs::exists(closed));
    xdp_detach(*core, *eth);
    EXPECT_TRUE(fs::exists(closed));
}

TEST_F(xdp_loading, shows_any_number_of_figures)
{
    const std::string text = xdp_load(*core, object(), "figures 1000")->show();
    EXPECT_TRUE(text.starts_with("figure0 0\nfigure1 1\n"));
    EXPECT_TRUE(text.ends_with("figure999 999\n"));
}

TEST_F(xdp_loading, says_why_an_object_is_none)
{
    EXPECT_EQ(refusal("/nowhere/filter.so"), "cannot be read: No such file or directory");
    EXPECT_EQ(refusal(dir_), "is not a shared object, or not a whole one");
    for (const std::string &text : {std::string(), std::string("drop everything\n"),
                                    std::string("\x7f"
                                                "ELF"),
                                    std::string(4096, '\xff')}) {
        EXPECT_EQ(refusal(file(text)), "is not a shared object, or not a whole one");
    }
    EXPECT_EQ(refusal(fs::read_symlink("/proc/self/exe").parent_path() / "test_xdp_load").substr(0, 16),
              "cannot be loaded");
    EXPECT_EQ(refusal(file_of(reinterpret_cast<const void *>(&rte_version))),
              "exports no halfpoll_xdp_program (HALFPOLL_XDP_PROGRAM in halfpoll/xdp_program.h makes it)");
    const std::string own = header(HALFPOLL_XDP_ABI, RTE_VERSION);
    EXPECT_EQ(refusal(patched(own, header(7, RTE_VERSION))),
              "was built for version 7 of halfpoll/xdp_program.h, not 1; build it again");
    EXPECT_EQ(refusal(patched(own, header(HALFPOLL_XDP_ABI, 21U << 24 | 5U << 16))).substr(0, 25),
              "was built with DPDK 21.5,");
}

/// A user who can change the file could run any code in this process.
TEST_F(xdp_loading, refuses_objects_that_others_could_change)
{
    const auto mode = [](const std::string &path, unsigned bits) { fs::permissions(path, fs::perms(bits)); };
    const std::string folder = dir_ + "/objects", path = folder + "/object.so";
    fs::create_directory(folder);
    mode(folder, 0755);
    fs::copy_file(object(), path);
    mode(path, 0644);
    EXPECT_EQ(refusal(path, "drop"), "loaded");
    for (const unsigned bits : {0664U, 0646U}) {
        mode(path, bits);
        EXPECT_EQ(refusal(path, "drop"), "is not loaded: " + path + " has mode 0" + (bits == 0664U ? "664" : "646") +
                                             ", so others than its owner could change it: chmod go-w " + path);
    }
    mode(path, 0644);
    mode(folder, 0777);
    EXPECT_EQ(refusal(path, "drop"), "is not loaded: " + folder +
                                         " has mode 0777, so others than its owner could change it: chmod go-w " +
                                         folder);
    mode(folder, 01777);
    EXPECT_EQ(refusal(path, "drop"), "loaded") << "sticky, as /tmp";
    mode(folder, 0755);
    if (geteuid() != 0) {
        GTEST_SKIP() << "only root can give a file away";
    }
    for (const std::string &given : {path, folder}) {
        ASSERT_EQ(chown(given.c_str(), 65534, 0), 0);
        EXPECT_EQ(refusal(path, "drop"),
                  "is not loaded: " + given + " belongs to user 65534, who could change it: chown root " + given);
        ASSERT_EQ(chown(given.c_str(), 0, 0), 0);
    }
    fs::create_symlink(path, dir_ + "/link.so");
    EXPECT_NE(xdp_load(*core, dir_ + "/link.so", "drop"), nullptr);
}

/// A copy that was interrupted at some point.
TEST_F(xdp_loading, refuses_objects_that_are_not_whole)
{
    const std::string bytes = contents(object());
    for (std::size_t eighth = 0; eighth < 8; ++eighth) {
        EXPECT_NE(refusal(file(bytes.substr(0, bytes.size() * eighth / 8))), "loaded") << eighth;
    }
}

TEST_F(xdp_loading, says_why_a_program_does_not_open)
{
    EXPECT_EQ(refusal(object(), "fail"), "line 1: found \"fail\", expected anything else");
    EXPECT_EQ(refusal(object(), "silent"), "does not open: Cannot allocate memory");
    EXPECT_EQ(refusal(object(), "ifindex wan"), "there is no interface wan");
    EXPECT_EQ(refusal(object(), "ifindex eth0"), "loaded");
    EXPECT_EQ(refusal(object(), "map cpus"), "there is no XDP map cpus");
}

TEST_F(xdp_loading, keeps_the_maps_of_a_program)
{
    std::weak_ptr<xdp_map> watched = xdp_map_create(*core, "ports", xdp_map_type::devmap);
    {
        const std::shared_ptr<xdp_program> program = xdp_load(*core, object(), "map ports");
        xdp_map_destroy(*core, *watched.lock());
        EXPECT_FALSE(watched.expired());
    }
    EXPECT_TRUE(watched.expired());
}

} // namespace
} // namespace halfpoll::test
