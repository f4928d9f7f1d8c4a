# DPDK's testpmd between the router's two ports. POSIX sh; sourced by the scripts that name a driver.

. "${0%/*}/common.sh"

# testpmd DRIVER PARAMETER PACKAGE: the poll mode driver net_DRIVER, its parameter for the interface, where Debian has it.
testpmd() {
    need dpdk-testpmd dpdk
    need_complete_frames
    set -- "$@" "$(find /usr/lib /usr/local/lib -name "librte_net_$1.so*" 2>/dev/null | head -n 1)"
    [ -n "$4" ] || cannot "DPDK's driver net_$1 is not installed (apt-get install $3)"
    tell_neighbours
    # One thread forwards, as fast as it can look, and the other waits. Both stay on the processors that this script has, which
    # may be a single one.
    cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
    # Without huge pages and without files of its own, so that nothing stays behind. With a period for statistics it runs
    # until it is told to stop, and wants no terminal.
    exec dpdk-testpmd --lcores="0@($cpus),1@($cpus)" --no-huge --no-shconf --no-pci --no-telemetry -m 256 --log-level=error \
        --vdev="net_$1_1,$2=$NSROUTER_PORT_1" --vdev="net_$1_2,$2=$NSROUTER_PORT_2" -- \
        --forward-mode=mac --eth-peer="0,$NSROUTER_PEER_MAC_1" --eth-peer="1,$NSROUTER_PEER_MAC_2" \
        --nb-cores=1 --total-num-mbufs=16384 --stats-period=86400
}
