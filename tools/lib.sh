# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts of tools/ share. Source it from a script that has set -eu -o pipefail.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say()
{
    printf '== %s\n' "$*"
}

die()
{
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# packages PURPOSE...: the packages that tools/packages lists for these purposes.
packages()
{
    local purpose
    for purpose in "$@"; do
        sed -n "s/^$purpose: *//p" "$root/tools/packages"
    done | tr ' ' '\n' | sort -u
}

# need_packages PURPOSE...: installs what is missing, and says so. As root.
need_packages()
{
    local missing=() package
    for package in $(packages "$@"); do
        if ! dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
            missing+=("$package")
        fi
    done
    [ ${#missing[@]} = 0 ] && return
    [ "$(id -u)" = 0 ] || die "packages are missing: ${missing[*]}. Run me as root (sudo), or install them."
    say "apt-get install ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update || say "apt-get update failed; trying with the lists that are there"
    apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
}

# configure DIR [MESON OPTION...]: a build directory, new or with its options changed.
configure()
{
    local dir=$1
    shift
    if [ -f "$dir/build.ninja" ]; then
        meson configure "$dir" "$@"
    else
        meson setup "$dir" "$root" "$@" >/dev/null || { cat "$dir/meson-logs/meson-log.txt"; return 1; }
    fi
}

# run_tests DIR [OPTION OF MESON TEST...]: the last line is `N passed, N failed`. Time limits are for what hangs: a slow machine
# is no failure. Nor is a busy one: the suites with a real kernel run beside each other, so where nothing but a measured figure
# was over its limit they are run once more, alone, and told in any case.
run_tests()
{
    local dir=$1 fixed=() logs again
    shift
    # Some kernels place memory where gcc's sanitizer wants its own; where it is allowed, nothing is placed at random.
    ! setarch -R true 2>/dev/null || fixed=(setarch -R)
    rm -f "$dir/meson-logs/testlog.json"
    "${fixed[@]}" meson test -C "$dir" --timeout-multiplier 3 --print-errorlogs "$@" || true
    if ! [ -f "$dir/meson-logs/testlog.json" ]; then
        echo "0 passed, 1 failed"
        return 1
    fi
    mapfile -t again < <("$root/tools/count-tests" --over "$dir/meson-logs/testlog.json")
    logs=("$dir/meson-logs/testlog.json")
    if [ ${#again[@]} -gt 0 ]; then
        mv "${logs[0]}" "$dir/meson-logs/first.json"
        logs=("$dir/meson-logs/first.json" "$dir/meson-logs/testlog.json")
        "${fixed[@]}" meson test -C "$dir" --timeout-multiplier 3 --print-errorlogs --num-processes 1 "${again[@]}" || true
    fi
    "$root/tools/count-tests" "${logs[@]}"
}

# give_back DIR: what root built under sudo belongs to whoever called sudo.
give_back()
{
    [ -z "${SUDO_UID:-}" ] || [ ! -e "$1" ] || chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$1"
}
