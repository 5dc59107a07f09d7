# shellcheck shell=bash disable=SC2034
# Debian packages the scripts need. Sourced; the caller has `set -euo pipefail`.
#
# need_packages NAME... installs what is missing as root; without root it prints the one command
# that would, and stops.

BUILD_PACKAGES=(g++ cmake ninja-build pkg-config zlib1g-dev libzstd-dev liburing-dev
  libpugixml-dev libxxhash-dev)
TOOL_PACKAGES=(libfmt-dev libcli11-dev nlohmann-json3-dev)
TEST_PACKAGES=(libgtest-dev libgmock-dev libbenchmark-dev python3 git qemu-utils qemu-system-x86
  e2fsprogs zsh
  clang lld libclang-rt-dev clang-format clang-tidy valgrind rustc
  dpkg-dev file nbdkit nbdkit-plugin-dev libnbd-bin fio)
FULL_PACKAGES=(debootstrap g++-aarch64-linux-gnu)

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}

need_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "No apt-get here; make sure these are installed: $*" >&2
    return 0
  fi
  local missing=() name
  for name in "$@"; do
    is_installed "$name" || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "Packages are missing. As root, run:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "Installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" >/dev/null
}
