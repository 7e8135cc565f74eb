# SPDX-License-Identifier: BSD-3-Clause
# Bash completion of halfpoll. Names of ports and NAPI instances come from the running program.

# _halfpoll_names WHAT: prints names from the running program; prints none if it does not answer within a second.
_halfpoll_names()
{
    local i control=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == --control ]]; then
            control=(--control "${COMP_WORDS[i + 1]}")
        fi
    done
    timeout 1 "${COMP_WORDS[0]}" names "$1" "${control[@]}" 2>/dev/null </dev/null
}

# Sets `words` to the words before the cursor that are neither options nor values of options: subcommand, what, name…
_halfpoll_positional()
{
    local i
    words=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --control | --dev | --limit | --count | --queue | --config | --ms | --events) ((i++)) ;;
        --watch) [[ ${COMP_WORDS[i + 1]} == [0-9]* ]] && ((i++)) ;;
        -* | =) ;;
        *) words+=("${COMP_WORDS[i]}") ;;
        esac
    done
}

_halfpoll_show()
{
    local tables="fib route neigh nexthop"
    if [[ ${#words[@]} == 1 ]]; then
        echo "status interfaces napi cpu softnet softirqs rps xdp drops punt policy $tables"
    fi
    echo "--json --watch --count --control"
    case " $tables " in *" ${words[1]-} "*) echo "--dev --limit" ;; esac
    if [[ ${words[1]-} == drops ]]; then
        echo "--all"
    fi
}

_halfpoll_set()
{
    case ${words[1]-},${#words[@]} in
    ,*) echo "napi rps runtime punt autoscale log" ;;
    napi,2 | rps,2) _halfpoll_names napi ;;
    rps,*) echo "rps_cpus= rps_flow_cnt=" ;;
    napi,*) echo "napi_defer_hard_irqs= gro_flush_timeout= irq_suspend_timeout= busy_poll=" \
        "threaded=disabled threaded=enabled threaded=busy-poll" ;;
    punt,2) _halfpoll_names punt ;;
    punt,*) echo "rate= burst=" ;;
    runtime,*) echo "netdev_budget= netdev_budget_usecs= netdev_max_backlog=" \
        "rps_sock_flow_entries= flow_limit_cpu_bitmap= flow_limit_table_len= skb_defer_max=" ;;
    autoscale,*) echo "target_us= min_cpus= low_percent= settle_ms=" ;;
    log,*) echo "level=debug level=info level=warning level=error" ;;
    esac
    echo "--control"
}

_halfpoll_cpu()
{
    case ${#words[@]} in
    1) echo "offline online" ;;
    2) _halfpoll_names cpu ;;
    esac
    echo "--control"
}

_halfpoll_xdp()
{
    case ${words[1]-},${#words[@]} in
    ,*) echo "attach detach show map" ;;
    map,2) echo "show update delete" ;;
    attach,2 | detach,2) _halfpoll_names port ;;
    attach,3) _halfpoll_names xdp ;;
    esac
    case ${words[1]-} in
    attach) echo "--queue --config" ;;
    detach) echo "--queue" ;;
    show) echo "--json" ;;
    map)
        case ${words[2]-} in
        show) echo "--json" ;;
        update) echo "--port --qsize --program --flags" ;;
        esac
        ;;
    esac
    echo "--control"
}

_halfpoll()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words choices=
    COMPREPLY=()
    _halfpoll_positional
    case $previous in
    --control) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
    --dev) choices=$(_halfpoll_names dev) ;;
    --limit | --count | --queue | --config | --ms | --events) return ;;
    *)
        case ${words[0]-} in
        "") choices="run check doctor bind unbind show set cpu xdp reload trace stop --help --version" ;;
        run | check) mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
        reload)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            choices="--dry-run --json --control"
            ;;
        doctor)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            choices="--json --root"
            ;;
        bind) choices="$(ls /sys/class/net) --force" ;; # PCI addresses have colons, which separate words here
        unbind) choices="--force" ;;
        show) choices=$(_halfpoll_show) ;;
        set) choices=$(_halfpoll_set) ;;
        cpu) choices=$(_halfpoll_cpu) ;;
        xdp)
            if [[ ${words[1]-} == attach && ${#words[@]} == 3 ]]; then
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
            fi
            choices=$(_halfpoll_xdp)
            ;;
        stop) choices="--control" ;;
        trace)
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            choices="--ms --events --cpu --control"
            ;;
        esac
        ;;
    esac
    if [[ $current == = ]]; then # bash takes = for a word of its own
        return
    fi
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$choices" -- "$current")
    if [[ ${COMPREPLY[*]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -o filenames -F _halfpoll halfpoll
