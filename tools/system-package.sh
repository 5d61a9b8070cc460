#!/bin/sh
# Installs Debian packages where we may: as root, or with sudo that asks for no password.
#
#   tools/system-package.sh NAME...
#
# Exit status 1, with one line that says why, where we may not or apt cannot.
set -eu

log=$(mktemp)
trap 'rm -f "$log"' EXIT

command -v apt-get >/dev/null 2>&1 || { echo "no apt-get here to install $*" >&2; exit 1; }
as_root=
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || {
        echo "not allowed to install $*: neither root nor passwordless sudo" >&2
        exit 1
    }
    as_root="sudo -n"
fi

install() {
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "$@" </dev/null >"$log" 2>&1
}

# The lists may be missing or old; asking for them first would cost time on every other machine.
install "$@" && exit 0
$as_root apt-get update </dev/null >"$log" 2>&1 && install "$@" && exit 0
tail -n 20 "$log" >&2
echo "apt-get could not install $*" >&2
exit 1
