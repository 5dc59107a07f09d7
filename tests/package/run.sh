#!/usr/bin/env bash
# Builds a tiny project against a finished build in every way users have: Debian packages unpacked
# to a scratch folder, through find_package and through pkg-config, in C++ and in C; and with Varve
# as a sub-folder.
#
# The sub-folder's library is not compiled again: reuse.sh hands out the finished build's objects
# where the commands are the same, and the test fails where it cannot.
#
# Usage: run.sh BUILD_FOLDER CXX BUILD_TYPE QUICK_BUILD [COMPILER_LAUNCHER]
set -euo pipefail

build=$1
compiler=$2
source_folder=$(cd "$(dirname "$0")/../.." && pwd)
here=$source_folder/tests/package
consumer=$here/consumer
scratch=$build/package-test
options=(-G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE="$3")

rm -rf "$scratch"
mkdir -p "$scratch"
trap 'tail -n 20 "$scratch"/*.log >&2' ERR

fail() {
  echo "$1" >&2
  exit 1
}

expect_output() {
  local answer
  answer=$("$@")
  [[ $answer == *" no_space" ]] || fail "unexpected answer of $*: $answer"
}

# expect_files PACKAGE PATTERN... : the package has a file for each of the patterns.
expect_files() {
  local package=$1 pattern
  shift
  dpkg-deb --contents "$package" >"$scratch/contents"
  for pattern in "$@"; do
    grep -Eq " \./usr/$pattern( ->|\$)" "$scratch/contents" || fail "$package has no $pattern"
  done
}

echo "-- packages"
(cd "$build" && cpack -G DEB -B "$scratch/debian" >"$scratch/cpack.log" 2>&1)
runtime=$(echo "$scratch"/debian/libvarve0_*.deb)
development=$(echo "$scratch"/debian/libvarve-dev_*.deb)
tools=$(echo "$scratch"/debian/varve-tools_*.deb)
expect_files "$runtime" 'lib/libvarve\.so\.0' 'lib/libvarve\.so\.0\.[0-9.]+'
expect_files "$development" 'lib/libvarve\.so' 'lib/libvarve\.a' 'include/varve/image\.h' \
  'include/varve/varve\.h' 'include/varve/c/queue\.h' 'lib/pkgconfig/varve\.pc' \
  'lib/cmake/Varve/VarveConfig\.cmake' 'lib/libvarve-service\.a' \
  'lib/libvarve-service\.so' 'lib/pkgconfig/varve-service\.pc'
service=$(echo "$scratch"/debian/libvarve-service0_*.deb)
expect_files "$service" 'lib/libvarve-service\.so\.0' 'lib/libvarve-service\.so\.0\.[0-9.]+'
expect_files "$tools" 'bin/varve' 'share/man/man1/varve-convert\.1' \
  'share/bash-completion/completions/varve' 'share/zsh/vendor-completions/_varve'
expect_files "$(echo "$scratch"/debian/nbdkit-plugin-varve_*.deb)" \
  'lib/nbdkit/plugins/nbdkit-varve-plugin\.so'
[ "$(dpkg-deb -c "$runtime" | grep -vc '/$')" -eq 2 ] || fail "$runtime has more than the library"
dpkg-deb -f "$runtime" Depends | grep -q liburing2 || fail "$runtime does not name liburing2"
dpkg-deb -f "$development" Depends | grep -q 'libvarve0 (= ' || fail "$development has no libvarve0"
dpkg-deb -f "$service" Depends | grep -q 'libvarve0 (= ' || fail "$service does not name libvarve0"
dpkg-deb -f "$tools" Depends | grep -q libc6 || fail "$tools does not name libc6"
# Unpacked somewhere: nothing in them may remember another place.
for package in "$runtime" "$service" "$development" "$tools"; do
  dpkg-deb -x "$package" "$scratch/unpacked"
done
prefix=$scratch/unpacked/usr
"$prefix/bin/varve" --version >/dev/null

echo "-- find_package"
cmake -S "$consumer" -B "$scratch/found" "${options[@]}" -DCMAKE_PREFIX_PATH="$prefix" \
  >"$scratch/found.log" 2>&1
cmake --build "$scratch/found" >>"$scratch/found.log" 2>&1
for program in with_static with_shared with_service in_c_with_static in_c_with_shared \
  service_in_c; do
  expect_output "$scratch/found/$program"
done

echo "-- pkg-config"
pc_folder=$(dirname "$(find "$prefix" -name varve.pc)")
export PKG_CONFIG_PATH=$pc_folder
library_folder=$(pkg-config --variable=libdir varve)
read -ra shared < <(pkg-config --cflags --libs varve)
"$compiler" -std=c++20 "$consumer/main.cc" "${shared[@]}" -o "$scratch/with_shared"
LD_LIBRARY_PATH=$library_folder expect_output "$scratch/with_shared"
cc -std=c11 "$consumer/main.c" "${shared[@]}" -o "$scratch/in_c"
LD_LIBRARY_PATH=$library_folder expect_output "$scratch/in_c"
read -ra service_flags < <(pkg-config --cflags --libs varve-service)
cc -std=c11 "$consumer/service.c" "${service_flags[@]}" -o "$scratch/service_in_c"
LD_LIBRARY_PATH=$library_folder expect_output "$scratch/service_in_c"
read -ra static < <(pkg-config --cflags --libs --static varve)
"$compiler" -std=c++20 "$consumer/main.cc" "${static[@]/-lvarve/-l:libvarve.a}" \
  -o "$scratch/with_static"
expect_output "$scratch/with_static"

echo "-- add_subdirectory"
python3 "$here/commands.py" "$build" "$scratch/reuse" "${5:-}"
export VARVE_REUSE=$scratch/reuse VARVE_REUSE_BUILD=$build
cmake -S "$consumer" -B "$scratch/added" "${options[@]}" -DVARVE_FOLDER="$source_folder" \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$here/reuse.sh" -DVARVE_QUICK_BUILD="$4" >"$scratch/added.log" 2>&1
cmake --build "$scratch/added" --target with_static with_service in_c_with_static \
  >>"$scratch/added.log" 2>&1
for program in with_static with_service in_c_with_static; do
  expect_output "$scratch/added/$program"
done
[ "$(wc -l <"$VARVE_REUSE/reused")" -gt 15 ] || fail "the finished build's objects did not serve"
cmake --install "$scratch/added" --prefix "$scratch/added-prefix" >>"$scratch/added.log" 2>&1
[ ! -d "$scratch/added-prefix/include" ] ||
  fail "a program that adds Varve as a folder must not install its headers"
echo "package: five Debian packages; found, linked and run in eleven ways"
