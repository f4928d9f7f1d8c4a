# What the scripts beside this one share. POSIX sh; sourced, not run.

# cannot REASON: this machine is not for it. `nsrouter bench` leaves the mode out and gives the reason.
cannot() {
    echo "$*" >&2
    exit 3
}

# need PROGRAM PACKAGE: of Debian, where the program is not there.
need() {
    command -v "$1" >/dev/null || cannot "$1 is not installed (apt-get install $2)"
}

# The forwarder answers no ARP and no neighbour solicitation: the hosts are told where the router is.
tell_neighbours() {
    need ip iproute2
    for n in 1 2; do
        eval "netns=\$NSROUTER_PEER_NETNS_$n peer=\$NSROUTER_PEER_$n mac=\$NSROUTER_PORT_MAC_$n"
        eval "ip4=\$NSROUTER_PORT_IP4_$n ip6=\$NSROUTER_PORT_IP6_$n"
        for address in "$ip4" "$ip6"; do
            ip -n "$netns" neigh replace "$address" lladdr "$mac" dev "$peer" nud permanent
        done
    done
}

# The forwarder knows no pending checksums and no frames larger than the MTU.
need_complete_frames() {
    if [ "$NSROUTER_HOST_OFFLOADS" = on ]; then
        echo "this forwarder needs complete frames: write the mode as cmd:$0:no-offload" >&2
        exit 1
    fi
}
