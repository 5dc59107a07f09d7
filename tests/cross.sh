#!/usr/bin/env bash
# Compiles the libraries for aarch64 and links the C program of tests/capi with them, by
# Debian's cross compiler. What Varve links is fetched through a private apt
# configuration and unpacked below build/cross; nothing on this machine changes.
#
# Usage: tests/cross.sh      needs g++-aarch64-linux-gnu
set -euo pipefail
cd "$(dirname "$0")/.."
machine=arm64
triple=aarch64-linux-gnu
folder=$PWD/build/cross
sysroot=$folder/sysroot
packages=(liburing-dev liburing2 libxxhash-dev libxxhash0 libzstd-dev libzstd1 zlib1g-dev zlib1g
  libpugixml-dev libpugixml1v5)

command -v "$triple-g++" >/dev/null || {
  echo "$triple-g++ is missing: apt-get install g++-$triple" >&2
  exit 1
}

fetch() {
  local release uri keyring private=$folder/apt options=""
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  read -r uri keyring < <(tests/lib/mirror.sh "$release")
  mkdir -p "$private/lists/partial" "$private/cache/archives/partial" "$sysroot"
  [ "${keyring:0:1}" != / ] || options="signed-by=$keyring "
  echo "deb [${options}arch=$machine] $uri $release main" >"$private/sources.list"
  : >"$private/status"
  local apt=(apt-get -qq -o "Dir::Etc::SourceList=$private/sources.list"
    -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$private/lists"
    -o "Dir::State::Status=$private/status" -o "Dir::Cache=$private/cache"
    -o "APT::Architecture=$machine" -o "APT::Architectures=$machine"
    -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none)
  "${apt[@]}" update
  (cd "$private" && "${apt[@]}" download "${packages[@]}")
  for package in "$private"/*.deb; do
    dpkg-deb -x "$package" "$sysroot"
  done
  rm -rf "$private"
}

[ -d "$sysroot/usr/include" ] || fetch
cat >"$folder/toolchain.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER $triple-gcc)
set(CMAKE_CXX_COMPILER $triple-g++)
set(CMAKE_FIND_ROOT_PATH $sysroot $sysroot/usr)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE $triple)
END
export PKG_CONFIG_LIBDIR=$sysroot/usr/lib/$triple/pkgconfig:$sysroot/usr/share/pkgconfig
export PKG_CONFIG_SYSROOT_DIR=$sysroot
launcher=()
if command -v ccache >/dev/null; then
  launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
fi
cmake -S . -B "$folder/build" -G Ninja -Wno-dev -DCMAKE_TOOLCHAIN_FILE="$folder/toolchain.cmake" \
  -DCMAKE_BUILD_TYPE=Release -DVARVE_QUICK_BUILD=ON -DVARVE_BUILD_TOOLS=OFF \
  -DVARVE_BUILD_TESTS=OFF -DVARVE_BUILD_BENCH=OFF -DVARVE_BUILD_SERVICE=ON "${launcher[@]}" \
  >"$folder/configure.log" 2>&1 ||
  {
    cat "$folder/configure.log"
    exit 1
  }
cmake --build "$folder/build" -- --quiet
library=$folder/build/lib
"$triple-gcc" -std=c11 -D_GNU_SOURCE -Iinclude tests/capi/c/*.c -L"$library" -lvarve -pthread \
  -Wl,-rpath-link,"$sysroot/usr/lib/$triple:$sysroot/lib/$triple" -o "$folder/c_program"
file "$library/libvarve.so.0" "$folder/c_program" 2>/dev/null || true
"$triple-readelf" -h "$folder/c_program" | grep -q AArch64
echo "cross: libvarve and a C program for aarch64 in $folder"
