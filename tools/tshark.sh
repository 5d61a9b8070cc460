#!/bin/sh
# Sees to it that tshark is here for the tests of traces: Debian's package tshark.
#
#   tools/tshark.sh
#
# Exit status 0 also where it cannot be had: the tests then say what they could not run.
set -eu

command -v tshark >/dev/null 2>&1 && exit 0
echo "installing tshark" >&2
"$(dirname "$0")/system-package.sh" tshark || echo "no tshark: tests of traces cannot run" >&2
