# SPDX-License-Identifier: BSD-3-Clause
# Sourced by ./demo, tests/run, tests/debian13 and tests/nic/run: the packages of Debian 12 and 13 that they need, and
# functions that install missing packages.

codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")

# Debian 12 has clang 14 to 16, Debian 13 has 17 to 19.
case $codename in
bookworm) clang=16 ;;
*) clang=19 ;;
esac

build_packages=(g++ meson ninja-build pkg-config libdpdk-dev liburing-dev libmnl-dev libxdp-dev libbpf-dev libtbb-dev
    libtomlplusplus-dev libcli11-dev libspdlog-dev nlohmann-json3-dev libgtest-dev libgmock-dev libbenchmark-dev
    libbabeltrace2-dev)
lab_packages=(python3 iproute2 iputils-ping traceroute iperf3 procps util-linux)
test_packages=(python3-scapy frr ethtool strace nftables iptables ipvsadm)
suite_packages=(clang-$clang libclang-rt-$clang-dev llvm-$clang dpdk-doc dpdk-dev make gcc spin)
nic_packages=(kmod)
if [[ $codename == bookworm ]]; then
    suite_packages+=(clang-format-14 debootstrap) # the version that judges the format; makes the chroot of Debian 13
fi

# debian_origin: prints the URI from which this machine gets Debian's packages.
debian_origin()
{
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' |
        awk -v codename="$codename" '$1 == codename { print $2; exit }'
}

# need_packages LOG PACKAGE...: installs, by name, the packages that are missing; apt's output goes to LOG.
need_packages()
{
    local log=$1 missing=() p
    shift
    for p in "$@"; do
        if [[ $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) != installed ]]; then
            missing+=("$p")
        fi
    done
    if [[ ${#missing[@]} == 0 ]]; then
        return 0
    fi
    echo "Installing: ${missing[*]}"
    local apt=(apt-get -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
    export DEBIAN_FRONTEND=noninteractive
    if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "apt-get could not install: ${missing[*]}" >&2
        return 1
    fi
}

# need_qemu FOLDER: installs a QEMU that has the NIC model igb (version 8 or newer), unless there is one. If the release
# has only an older version, QEMU comes from the release's backports, through an apt configuration of its own in FOLDER;
# the machine's apt configuration does not change.
need_qemu()
{
    local folder=$1 origin apt
    if [[ $(qemu-system-x86_64 -device help 2>/dev/null) == *'"igb"'* ]]; then
        return 0
    fi
    if [[ $codename != bookworm ]]; then
        need_packages "$folder/qemu.log" qemu-system-x86
        return
    fi
    echo "Installing: qemu-system-x86"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update >"$folder/qemu.log" 2>&1
    origin=$(debian_origin)
    mkdir -p "$folder/apt/sources" "$folder/apt/lists/partial"
    printf "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $origin %s main\n" \
        "$codename" "$codename-backports" >"$folder/apt/sources/qemu.list"
    apt=(apt-get -q -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 -o Dir::Etc::SourceList=/dev/null
        -o "Dir::Etc::SourceParts=$folder/apt/sources" -o "Dir::State::Lists=$folder/apt/lists")
    if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends -t "$codename-backports" \
        qemu-system-x86; } >>"$folder/qemu.log" 2>&1; then
        tail -n 20 "$folder/qemu.log" >&2
        echo "apt-get could not install qemu-system-x86 from $codename-backports" >&2
        return 1
    fi
}
