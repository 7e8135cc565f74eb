# SPDX-License-Identifier: BSD-3-Clause
# Sourced by ./demo and tests/run: the Debian packages that they need, and a function that installs what is missing.

build_packages=(g++ meson ninja-build pkg-config libdpdk-dev liburing-dev libmnl-dev libxdp-dev libbpf-dev libtbb-dev
    libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libgtest-dev libgmock-dev libbenchmark-dev)
lab_packages=(python3 iproute2 iputils-ping traceroute iperf3 procps util-linux)
test_packages=(python3-scapy clang-16 libclang-rt-16-dev llvm-16 clang-format-14 ethtool dpdk-doc dpdk-dev make strace)

# need_packages LOG PACKAGE...: installs, by name, those packages that are not there yet; apt's output goes to LOG.
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
