#!/bin/sh
# Brings a bare machine to where Everloop runs: Python with venv, bubblewrap for sandboxes, and one virtual
# environment with every dependency pinned by hash. Says what it does; changes nothing that is there already.
set -eu

venv=$1
python=${PYTHON:-python3}

say() { printf '%s\n' "$*"; }
stop() { printf 'everloop: %s\n' "$*" >&2; exit 1; }

install_packages() {
    if command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ]; then as_root=""
        elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"
        else stop "please install as root: apt-get install $*"
        fi
        say "installing $*"
        $as_root apt-get update -qq >/dev/null
        DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq "$@" >/dev/null
    else
        stop "please install with this system's package manager: $*"
    fi
}

missing=""
command -v "$python" >/dev/null 2>&1 || missing="$missing python3 python3-venv"
command -v bwrap >/dev/null 2>&1 || missing="$missing bubblewrap"
command -v git >/dev/null 2>&1 || missing="$missing git"
# shellcheck disable=SC2086
[ -z "$missing" ] || install_packages $missing

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || stop "Python 3.11 or newer is needed; $python is $("$python" --version 2>&1). Set PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
# Commands of an agent run with the system's own Python, inside the sandbox.
[ -x /usr/bin/python3 ] || install_packages python3

[ -x "$venv/bin/python" ] || { say "making $venv"; "$python" -m venv "$venv"; }
say "installing the pinned dependencies (a minute on the first run)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    -e ./client -e .
