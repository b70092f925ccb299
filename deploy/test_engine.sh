#!/bin/sh
# Installs the container engine that tests run environments on, where that can be done without asking. Where it
# cannot, those tests are skipped and say what they need.
set -eu

command -v podman >/dev/null 2>&1 && command -v runc >/dev/null 2>&1 && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
printf 'installing podman and runc, for tests of environments in containers\n'
apt-get update -qq >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends podman runc >/dev/null
