#!/bin/bash
# SPDX-License-Identifier: MIT
# bench_options.sh ADIT: what `adit bench` cannot mean is refused, by name and with status 2, before anything is measured.
set -u
adit=$1 failed=0
refused() { # word that the complaint has, arguments
    local word=$1 said status
    shift
    said=$(timeout 5 "$adit" bench "$@" 2>&1)
    status=$?
    [ $status -eq 2 ] && [[ $said == *"$word"* ]] && return
    echo "adit bench $*: status $status: $said"
    failed=1
}
refused --seconds --seconds 0
refused --seconds --seconds 61
refused --seconds --seconds 1s
refused --mtu --mtu 1279
refused --mtu --mtu 65536
refused --stack --stack ""
refused --stack --stack tun
refused --stack --stack kernel
refused --stack --stack "userspace system"
refused --rounds --rounds 3
refused --json=1 --json=1
refused operands something
said=$("$adit" bench --help) || failed=1
for word in --stack --mtu --seconds --json; do
    [[ $said == *"$word"* ]] || { echo "--help does not name $word"; failed=1; }
done
exit $failed
