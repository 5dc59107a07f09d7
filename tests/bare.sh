#!/usr/bin/env bash
# Do the README's two commands work on a fresh Debian 12 from a clean clone? Makes a minimal Debian
# in a scratch folder, clones the committed state into it and runs both there. Needs root.
#
# Usage: tests/bare.sh [COMMAND...]   default: tools/quickstart.sh and tests/run.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/packages.sh

[ "$(id -u)" -eq 0 ] || { echo "bare.sh needs root: debootstrap and chroot do" >&2; exit 1; }
need_packages debootstrap git
export PATH=$PATH:/usr/sbin:/sbin
[ $# -gt 0 ] || set -- tools/quickstart.sh tests/run.sh

release=bookworm
read -r mirror _ < <(tests/lib/mirror.sh "$release") ||
  { echo "no source for $release is configured here" >&2; exit 1; }

scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/varve-bare.XXXXXX")
leave() {
  umount -q "$scratch/root/proc" "$scratch/root/dev" 2>/dev/null || true
  # Never walk into something still mounted.
  mountpoint -q "$scratch/root/dev" || rm -rf --one-file-system "$scratch"
}
trap leave EXIT

echo "-- debootstrap $release"
debootstrap --variant=minbase "$release" "$scratch/root" "$mirror" >"$scratch/debootstrap.log" ||
  { tail -n 20 "$scratch/debootstrap.log"; exit 1; }

# The network and the sources of this machine; nothing else of it.
cp -L /etc/resolv.conf /etc/hosts "$scratch/root/etc/"
echo "deb $mirror $release main" >"$scratch/root/etc/apt/sources.list"
mount -t proc proc "$scratch/root/proc"
mount --bind /dev "$scratch/root/dev"
git clone -q --no-hardlinks . "$scratch/root/varve"

for command in "$@"; do
  echo "-- $command"
  start=$SECONDS
  chroot "$scratch/root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LANG=C \
    "/varve/$command"
  echo "-- $command: $((SECONDS - start)) s"
done
