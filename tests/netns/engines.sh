#!/bin/bash
# SPDX-License-Identifier: MIT
#
# engines.sh ADIT: which engine the stack "system" takes, what it says when it takes the lesser one, and what comes to the process
# with each. As root. That each engine carries what programs do is the business of flows.sh.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"
enter "$@"
arguments "$@"
need setpriv util-linux

MB=1000000
system=("$adit" exec -v --summary --stack system)

# kilobytes_read SENTENCE LIMIT: octets that came to the process, from the summary of the last command.
kilobytes_read()
{
    at_most "$1: kilobytes" "$(sed -n 's/.* in, \([0-9.]*\) \(k\?\)\(M\?\)\(G\?\)B out.*/\1 \2\3\4/p' $run/out |
        awk '{ k = $2 == "k" ? 1 : $2 == "M" ? 1000 : $2 == "G" ? 1000000 : 0.001; print $1 * k }')" "$2"
}

# What comes to the process: the handshake, and what the client sends before the flow is accepted, which the receive window of a
# socket that nobody reads yet bounds: 64 KiB, and as much again for what the kernel counts otherwise; on a machine that is late
# perhaps once more. A hundredth of the payload is far above it.
in_the_kernel()
{
    local engine=$1 address
    for address in $server4 $server6; do
        status 0 "$engine: 100 MB up to $address are intact" \
            "${system[@]}" --engine "$engine" -- "$talk" upload $address $((100 * MB))
        kilobytes_read "of which come to the process" 1000
        says "and the summary has the rest" '1[0-9][0-9]\.. MB in [0-9]+ packets turned round'
        status 0 "$engine: 100 MB down from $address are intact" \
            "${system[@]}" --engine "$engine" -- "$talk" download $address $((100 * MB))
        kilobytes_read "of which come to the process" 1000
    done
}

in_the_process()
{
    status 0 "nat: 100 MB up" "${system[@]}" --engine nat -- "$talk" upload $server4 $((100 * MB))
    says "all of it comes to the process" '1[0-9][0-9]\.. MB out'
    report "$(grep -c 'turned round' $run/out)" "and nothing is turned round"
}

# what the lesser engine is taken for
fallbacks()
{
    local quiet=(-- true)
    status 0 "the best engine needs no word" "${system[@]}" "${quiet[@]}"
    report "$(grep -c 'cannot be had' $run/out)" "and it is bpf"
    status 0 "a capture gets nat" "${system[@]}" --pcap $run/x.pcap "${quiet[@]}"
    says "and says so" 'cannot be had: a capture needs the payload'
    status 0 "fault injection gets nat" "${system[@]}" --fault delay=1ms "${quiet[@]}"
    says "and says so" 'cannot be had: fault injection needs the payload'
    status 125 "bpf with a capture is refused" "${system[@]}" --engine bpf --pcap $run/x.pcap "${quiet[@]}"
    says "and says why" 'a capture needs the payload'
    status 125 "no such engine" "${system[@]}" --engine ebpf "${quiet[@]}"
    says "is said" 'no such engine'
}

# The kernel's half of mixed begins later than adit_new(): with the same engines, and without it flows go on in userspace.
mixed_too()
{
    local mixed=("$adit" exec -v --summary --stack mixed --kernel-for all)
    "$adit" version --features | grep -qx userspace || return 0
    status 0 "mixed: 1 MB up" "${mixed[@]}" -- "$talk" upload $server4 $MB
    says "by bpf" 'turned round in the kernel'
    status 0 "mixed, a half that cannot start: 1 MB up" \
        "${mixed[@]}" --engine bpf --fault loss=0% -- "$talk" upload $server4 $MB
}

without_privileges()
{
    local user=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    chmod 0755 $run
    status 0 "in a user namespace it is nat" "${user[@]}" "${system[@]}" -- "$talk" upload $server4 $MB
    says "and says why" 'cannot be had: in a user namespace'
    status 125 "where bpf is refused" "${user[@]}" "${system[@]}" --engine bpf -- true
    says "with the reason" 'in a user namespace'
}

topology
in_turn "in_the_kernel bpf" "in_the_kernel bpf-clsact" in_the_process fallbacks mixed_too without_privileges
finish
