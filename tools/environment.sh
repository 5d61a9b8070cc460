#!/bin/sh
# Makes .venv, with kcpstack from this checkout and what the named extras of setup.cfg ask for.
#
#   tools/environment.sh [EXTRA...]
#
# Quick where nothing has changed: each extra leaves a stamp, a sum over what it was made from.
set -eu

cd "$(dirname "$0")/.."
environment=.venv
python=$environment/bin/python
unset VIRTUAL_ENV PYTHONHOME PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1

# What is compiled, by what setup.py says.
kernels() {
    find kcpstack -name '*.pxd' | sed 's/pxd$/py/'
    find kcpstack -name '*.pxd' -o -name '*.pyx' -o -name '*.[ch]'
}

# The checkout's place counts as well: a copied environment would still import from the old one.
sum=$( { pwd; echo "${KCPSTACK_PURE:-}"; cat setup.cfg pyproject.toml setup.py tools/environment.sh tools/venv.sh; kernels | sort | tr '\n' '\0' | xargs -0 cat; } 2>/dev/null | cksum)

usable() {
    "$python" -c 'import pip, sys; sys.exit(sys.prefix == sys.base_prefix)' >/dev/null 2>&1 &&
        [ "$(cat $environment/place 2>/dev/null)" = "$(pwd)" ]
}

if ! usable; then
    echo "making $environment" >&2
    tools/venv.sh $environment
    # A pip older than 21.3 cannot install a checkout like this one as editable.
    "$python" -m pip install -qq --upgrade pip </dev/null
    pwd >$environment/place
fi

for extra in "${@:-}"; do
    stamp=$environment/installed${extra:+-$extra}
    [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] && continue
    echo "installing kcpstack${extra:+ and what \"$extra\" needs} into $environment" >&2
    "$python" -m pip install -qq --editable ".${extra:+[$extra]}" </dev/null
    echo "$sum" >"$stamp"
done
