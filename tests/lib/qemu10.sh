#!/usr/bin/env bash
# Gets QEMU 10's qemu-img from Debian's backports beside the installed one, replacing nothing: the
# package is downloaded through a private apt configuration and unpacked below build/peers.
#
# Usage: tests/lib/qemu10.sh [FOLDER]   prints the folder of the programs on standard output.
# Fails, saying why on standard error, where it cannot be had; the installed QEMU then serves alone.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${1:-$PWD/build/peers/qemu-10}
programs=$target/usr/bin

give_up() {
  echo "QEMU 10 is not available: $1" >&2
  exit 1
}

runs() {
  [ -x "$programs/qemu-img" ] && ! ldd "$programs/qemu-img" | grep -q 'not found' &&
    "$programs/qemu-img" --version 2>/dev/null | grep -q 'version 1[0-9]\.'
}

if runs; then
  echo "$programs"
  exit 0
fi
command -v apt-get >/dev/null || give_up "no apt-get"
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$release" ] || give_up "the distribution has no code name"

read -r uri keyring < <(tests/lib/mirror.sh "$release") ||
  give_up "no source for $release is configured"

private=$(dirname "$target")/apt
mkdir -p "$private/lists/partial" "$private/cache/archives/partial" "$target"
options=""
[ "${keyring:0:1}" != / ] || options="[signed-by=$keyring] "
echo "deb $options$uri $release-backports main" >"$private/sources.list"
private_apt=(apt-get -qq
  -o "Dir::Etc::SourceList=$private/sources.list" -o Dir::Etc::SourceParts=-
  -o "Dir::State::Lists=$private/lists" -o "Dir::Cache=$private/cache"
  -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none)

"${private_apt[@]}" update >&2 || give_up "the backports of $release cannot be fetched"
(cd "$private" && rm -f qemu-utils_*.deb &&
  "${private_apt[@]}" download -t "$release-backports" qemu-utils >&2) ||
  give_up "the package qemu-utils cannot be fetched"
dpkg -x "$private"/qemu-utils_*.deb "$target"
rm -rf "$private"
runs || give_up "it does not run here: $(ldd "$programs/qemu-img" | grep 'not found' || true)"
echo "$programs"
