#!/bin/sh
# Makes a virtual environment with pip in it, from nothing but a python3 of 3.9 or later.
#
#   tools/venv.sh DIRECTORY
#
# Debian keeps ensurepip in a package of its own, python3-venv, which may be absent.  Then, in this
# order: that package through apt, the system's pip, and pip's wheel from the package index.
# PYTHON names another interpreter.
set -eu

directory=$1
here=$(cd "$(dirname "$0")" && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH

new_enough() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1
}

python=
for candidate in ${PYTHON:-} python3 /usr/bin/python3 /usr/local/bin/python3; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "python3 3.9 or later is needed; set PYTHON to one" >&2; exit 1; }

with_ensurepip() {
    rm -rf "$directory"
    "$python" -m venv "$directory" >"$log" 2>&1 && has_pip
}

without_ensurepip() {
    rm -rf "$directory"
    "$python" -m venv --without-pip "$directory"
}

has_pip() {
    "$directory/bin/python" -m pip --version >/dev/null 2>&1
}

by_package() {
    name=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    "$python" -c 'import sys; sys.exit(not sys.executable.startswith("/usr/bin/"))' &&
        "$here/system-package.sh" "$name" >"$log" 2>&1 && with_ensurepip
}

by_system_pip() {
    without_ensurepip
    packages=$("$directory/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$python" -m pip install -qq --target "$packages" pip >"$log" 2>&1 && has_pip
}

by_index() {
    without_ensurepip
    wheel=$("$directory/bin/python" "$here/pip_wheel.py" "$directory") &&
        "$directory/bin/python" "$wheel/pip" install -qq --no-index "$wheel" && rm -f "$wheel" && has_pip
}

with_ensurepip || by_package || by_system_pip || by_index || {
    cat "$log" >&2
    echo "could not make a virtual environment with pip; install python3-venv" >&2
    rm -rf "$directory"
    exit 1
}
