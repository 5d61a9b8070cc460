#!/bin/sh
# Sees to it that Go's kcptun is here for the interop tests: Debian's package kcptun.
#
#   tools/go-peer.sh
#
# Exit status 0 also where it cannot be had: the tests then say what they could not run.
set -eu

command -v kcptun-client >/dev/null 2>&1 && command -v kcptun-server >/dev/null 2>&1 && exit 0
echo "installing Go's kcptun" >&2
"$(dirname "$0")/system-package.sh" kcptun || echo "no Go kcptun: tests against it cannot run" >&2
