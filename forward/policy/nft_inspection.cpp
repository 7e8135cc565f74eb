// SPDX-License-Identifier: BSD-3-Clause
#include "nft_inspection.hpp"

#include "forward/netlink/netlink.hpp"

#include <halfpoll/error.hpp>

#include <libmnl/libmnl.h>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

namespace halfpoll
{

namespace
{

constexpr std::size_t request_size = 1024; // a header, and names of a table and a chain (NFT_NAME_MAXLEN: 256 each)

/// The positive errno in NLMSG_ERROR or NLMSG_DONE, 0 if there is none.
int errno_of(const nlmsghdr &message)
{
    return mnl_nlmsg_get_payload_len(&message) < sizeof(int)
               ? 0
               : -*static_cast<const int *>(mnl_nlmsg_get_payload(&message));
}

void expect(const nlmsghdr &message, int type)
{
    if (message.nlmsg_type != ((NFNL_SUBSYS_NFTABLES << 8) | type)) {
        throw error("nf_tables answers with a message of type " + std::to_string(message.nlmsg_type));
    }
}

[[noreturn]] void refuse(int errnum)
{
    throw_errno(errnum, errnum == EPERM ? "nf_tables cannot be inspected without CAP_NET_ADMIN" : "nf_tables");
}

} // namespace

std::uint32_t nft_generation(const nlmsghdr &message)
{
    const nlattr *id = nullptr;
    const auto find = [](const nlattr *attr, void *data) -> int {
        if (mnl_attr_get_type(attr) == NFTA_GEN_ID && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0) {
            *static_cast<const nlattr **>(data) = attr;
        }
        return MNL_CB_OK;
    };
    mnl_attr_parse(&message, sizeof(nfgenmsg), find, &id);
    return id == nullptr ? 0 : ntohl(mnl_attr_get_u32(id));
}

nft_inspection::nft_inspection(netlink_socket &socket) : socket_(socket) { request(step::before, NFT_MSG_GETGEN); }

/// Dumps what `next` needs, or asks for the generation. `chain`: dumps only its rules.
void nft_inspection::request(step next, int type, const nft_chain *chain)
{
    step_ = next;
    alignas(nlmsghdr) std::array<char, request_size> space{};
    nlmsghdr *message = mnl_nlmsg_put_header(space.data());
    message->nlmsg_type = static_cast<std::uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type);
    message->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | (type == NFT_MSG_GETGEN ? 0 : NLM_F_DUMP));
    auto *header = static_cast<nfgenmsg *>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
    header->nfgen_family = chain != nullptr ? chain->family : AF_UNSPEC;
    header->version = NFNETLINK_V0;
    if (chain != nullptr && (!mnl_attr_put_strz_check(message, space.size(), NFTA_RULE_TABLE, chain->table.c_str()) ||
                             !mnl_attr_put_strz_check(message, space.size(), NFTA_RULE_CHAIN, chain->name.c_str()))) {
        throw error("nf_tables: a name is too long");
    }
    socket_.request(*message);
}

nft_inspection::state nft_inspection::take(const nlmsghdr &reply)
{
    interrupted_ |= (reply.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (reply.nlmsg_type == NLMSG_ERROR || reply.nlmsg_type == NLMSG_DONE) {
        const int errnum = errno_of(reply);
        if (errnum == EINVAL && step_ == step::before) {
            return state::absent;
        }
        return errnum != 0 ? refuse(errnum), state::going_on : take_end();
    }
    switch (step_) {
    case step::before:
        expect(reply, NFT_MSG_NEWGEN);
        before_ = nft_generation(reply);
        request(step::tables, NFT_MSG_GETTABLE);
        break;
    case step::tables:
        expect(reply, NFT_MSG_NEWTABLE);
        ruleset_.add_table(reply);
        break;
    case step::chains:
        expect(reply, NFT_MSG_NEWCHAIN);
        ruleset_.add_chain(reply);
        break;
    case step::rules:
        expect(reply, NFT_MSG_NEWRULE);
        ruleset_.chains()[asked_ - 1].has_rules = true;
        break;
    case step::after:
        expect(reply, NFT_MSG_NEWGEN);
        after_ = nft_generation(reply);
        return state::done;
    }
    return state::going_on;
}

/// Goes on after the end of a dump.
nft_inspection::state nft_inspection::take_end()
{
    if (step_ == step::tables) {
        request(step::chains, NFT_MSG_GETCHAIN);
    } else if (!request_rules()) {
        request(step::after, NFT_MSG_GETGEN);
    }
    return state::going_on;
}

/// Asks for the rules of the next chain that would cost nothing without any. The number of rules that the kernel states
/// with the chain does not suffice: a transaction under way has changed it already, and may be given up, which
/// nothing reports (`nft --check`).
bool nft_inspection::request_rules()
{
    std::vector<nft_chain> &chains = ruleset_.chains();
    while (asked_ < chains.size()) {
        const nft_chain &chain = chains[asked_++];
        if (chain.accepts && !chain.has_rules) {
            request(step::rules, NFT_MSG_GETRULE, &chain);
            return true;
        }
    }
    return false;
}

} // namespace halfpoll
