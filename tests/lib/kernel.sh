#!/usr/bin/env bash
# Gets Debian's cloud kernel and a static busybox for guests under QEMU, installing nothing: the
# packages are downloaded and unpacked below build/peers.
#
# Usage: tests/lib/kernel.sh [FOLDER]   prints the folder: vmlinuz, modules/ and busybox.
# Fails, saying why on standard error, where they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${1:-$PWD/build/peers/kernel}
mkdir -p "$(dirname "$target")"
exec 9>"$target.lock"
flock 9  # Tests run side by side.
if [ -f "$target/complete" ]; then
  echo "$target"
  exit 0
fi

give_up() {
  echo "A kernel for guests is not available: $1" >&2
  exit 1
}

command -v apt-get >/dev/null || give_up "no apt-get"

fetch() {
  image=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
  [ -n "$image" ] && (cd "$target/packages" &&
    apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$image" busybox-static >&2)
}

rm -rf "$target"
mkdir -p "$target/packages"
# Lists that are old name packages that are gone.
fetch || { apt-get -qq update >&2 && fetch; } ||
  give_up "the packages linux-image-cloud-amd64 and busybox-static cannot be fetched"
for package in "$target"/packages/*.deb; do
  dpkg -x "$package" "$target/packages"
done
mv "$target"/packages/boot/vmlinuz-* "$target/vmlinuz"
mv "$target"/packages/lib/modules/*/kernel "$target/modules"
mv "$target/packages/bin/busybox" "$target/busybox"
rm -rf "$target/packages"
touch "$target/complete"
echo "$target"
