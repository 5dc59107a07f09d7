#!/usr/bin/env bash
# See Varve work in a minute: installs what is missing (as root), builds a release and plays one
# story on a real disk: snapshot, a bad upgrade, revert, every byte back.
#
# Usage: tools/quickstart.sh [--size MEBIBYTES] [--tool PROGRAM]
#   --size  how much of this machine's files the disk is filled with (default 256)
#   --tool  use this varve; nothing is installed or built
set -euo pipefail
cd "$(dirname "$0")/.."

size=256
tool=
while [ $# -gt 0 ]; do
  case $1 in
    --size) size=${2:?} && shift 2 ;;
    --tool) tool=$(realpath "${2:?}") && shift 2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" && exit 2 ;;
  esac
done
export PATH=$PATH:/usr/sbin:/sbin

stop() {
  echo "quickstart: $*" >&2
  exit 1
}

if [ -z "$tool" ]; then
  . tests/lib/packages.sh
  . tests/lib/build.sh
  need_packages "${BUILD_PACKAGES[@]}" "${TOOL_PACKAGES[@]}" e2fsprogs
  echo "Building Varve (build/release) ..."
  mkdir -p build
  configure_and_build build/release -DCMAKE_BUILD_TYPE=Release -DVARVE_BUILD_TESTS=OFF \
    -DVARVE_BUILD_BENCH=OFF
  tool=$PWD/build/release/bin/varve
fi

[ -x "$tool" ] || stop "there is no program $tool"

folder=$(mktemp -d "${TMPDIR:-/var/tmp}/varve-quickstart.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder"

say() { printf '\n%s\n' "$*"; }

# Shows a command as one would type it, runs it, and tells how long it took.
show() {
  printf '  $ %s%s\n' "$*" "${INPUT:+ < $INPUT}"
  local start=${EPOCHREALTIME//[.,]/} status=0
  if [ "$1" = varve ]; then
    "$tool" "${@:2}" <"${INPUT:-/dev/null}" >output 2>&1 || status=$?
  else
    "$@" >output 2>&1 || status=$?
  fi
  local micros=$((${EPOCHREALTIME//[.,]/} - start))
  sed 's/^/    /' output | head -n "${LINES_SHOWN:-12}"
  printf '    (%d.%03d s)\n' $((micros / 1000000)) $((micros / 1000 % 1000))
  return $status
}

# Copies real files of this machine, at most $size MiB, into files/.
gather_files() {
  local limit=$((size * 1024)) used=0 file kilobytes
  mkdir files
  while read -r kilobytes file; do
    used=$((used + kilobytes))
    [ "$used" -le "$limit" ] || break
    printf '%s\0' "$file"
  done < <(find /etc /usr/share/doc /usr/share/common-licenses /usr/bin /usr/lib -xdev -type f \
    -readable -size -8192k -printf '%k %p\n' 2>/dev/null | LC_ALL=C sort -k2) >list || true
  tar --null --no-recursion --ignore-failed-read -cf - -T list 2>/dev/null | tar -xf - -C files
}

make_disk() {
  gather_files
  truncate -s $((size + size / 4 + 32))M disk.raw
  mke2fs -q -t ext4 -F -d files disk.raw
  rm -rf files list
}

# Rewrites the file system the way an upgrade would: files go, files come, files change.
upgrade() {
  local number
  for number in 1 2 3 4; do
    head -c $((size * 32768)) /dev/urandom >"new-$number"
  done
  {
    echo "rm /etc/passwd"
    for number in 1 2 3 4; do
      echo "write new-$number /upgrade-$number.bin"
    done
  } >commands
  debugfs -w -f commands upgraded.raw >/dev/null 2>&1
}

# Writes what the upgrade changed into the image as a guest would: only those mebibytes.
list_changes() {
  local chunk total
  total=$(($(stat -c %s disk.raw) >> 20))
  for ((chunk = 0; chunk < total; ++chunk)); do
    if ! cmp -s -n 1048576 -i $((chunk << 20)) disk.raw upgraded.raw; then
      dd if=upgraded.raw of="chunk-$chunk" bs=1M skip="$chunk" count=1 status=none
      echo "write -q -s chunk-$chunk ${chunk}M 1M"
    fi
  done >writes
}

say "A disk: ext4, filled with about $size MiB of this machine's own files."
make_disk
sha256sum <disk.raw >before.sum
printf '    disk.raw: %s bytes, sha256 %.16s...\n' "$(stat -c %s disk.raw)" "$(cat before.sum)"

say "1. Make it a qcow2 image, and take a snapshot."
show varve convert -f raw -O qcow2 disk.raw disk.qcow2 || stop "convert failed"
show varve snapshot -c before-upgrade disk.qcow2 || stop "snapshot failed"

say "2. An upgrade goes wrong: /etc/passwd is gone, four large files have appeared."
cp --sparse=always disk.raw upgraded.raw
upgrade
list_changes
echo "    $(wc -l <writes) MiB of the disk are written anew; the file writes has the commands."
INPUT=writes LINES_SHOWN=0 show varve io disk.qcow2 || stop "writing the disk failed"
show varve snapshot -l disk.qcow2 || stop "list failed"
if show varve compare -f raw -F qcow2 disk.raw disk.qcow2; then
  stop "the disk should have changed"
fi

say "3. Go back."
show varve snapshot -a before-upgrade disk.qcow2 || stop "apply failed"

say "4. Is every byte back?"
show varve compare -f raw -F qcow2 disk.raw disk.qcow2 || stop "the disk differs"
show varve convert -f qcow2 -O raw disk.qcow2 after.raw || stop "reading the disk failed"
sha256sum <after.raw >after.sum
printf '    after.raw: sha256 %.16s...\n' "$(cat after.sum)"
cmp -s before.sum after.sum || stop "the checksums differ"
show varve check disk.qcow2 || stop "check found damage"
if command -v qemu-img >/dev/null; then
  show qemu-img check disk.qcow2 || stop "qemu-img found damage"
fi

say "Every byte is back. Next: README.md, or $tool --help"
