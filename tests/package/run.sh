#!/usr/bin/env bash
# Installs a finished build into a scratch prefix and builds a tiny program against it: through
# find_package, through pkg-config, and with Varve as a sub-folder.
#
# Usage: run.sh BUILD_FOLDER CXX [COMPILER_LAUNCHER]
set -euo pipefail

build=$1
compiler=$2
source_folder=$(cd "$(dirname "$0")/../.." && pwd)
consumer=$source_folder/tests/package/consumer
scratch=$build/package-test
prefix=$scratch/prefix
options=(-G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_CXX_COMPILER_LAUNCHER="${3:-}")

rm -rf "$scratch"
mkdir -p "$scratch"
trap 'tail -n 20 "$scratch"/*.log >&2' ERR

expect_output() {
  local answer
  answer=$("$@")
  [[ $answer == *" no_space" ]] || {
    echo "unexpected answer of $*: $answer" >&2
    exit 1
  }
}

echo "-- install"
cmake --install "$build" --prefix "$scratch/first" >"$scratch/install.log" 2>&1
# Moved on purpose: nothing installed may remember where it was first.
mv "$scratch/first" "$prefix"

echo "-- find_package"
cmake -S "$consumer" -B "$scratch/found" "${options[@]}" -DCMAKE_PREFIX_PATH="$prefix" \
  >"$scratch/found.log" 2>&1
cmake --build "$scratch/found" >>"$scratch/found.log" 2>&1
expect_output "$scratch/found/with_static"
expect_output "$scratch/found/with_shared"
expect_output "$scratch/found/with_service"

echo "-- pkg-config"
pc_folder=$(dirname "$(find "$prefix" -name varve.pc)")
export PKG_CONFIG_PATH=$pc_folder
library_folder=$(pkg-config --variable=libdir varve)
read -ra shared < <(pkg-config --cflags --libs varve)
"$compiler" -std=c++20 "$consumer/main.cc" "${shared[@]}" -o "$scratch/with_shared"
LD_LIBRARY_PATH=$library_folder expect_output "$scratch/with_shared"
read -ra static < <(pkg-config --cflags --libs --static varve)
"$compiler" -std=c++20 "$consumer/main.cc" "${static[@]/-lvarve/-l:libvarve.a}" \
  -o "$scratch/with_static"
expect_output "$scratch/with_static"

echo "-- add_subdirectory"
cmake -S "$consumer" -B "$scratch/added" "${options[@]}" -DVARVE_FOLDER="$source_folder" \
  >"$scratch/added.log" 2>&1
cmake --build "$scratch/added" --target with_static with_service >>"$scratch/added.log" 2>&1
expect_output "$scratch/added/with_static"
expect_output "$scratch/added/with_service"
cmake --install "$scratch/added" --prefix "$scratch/added-prefix" >>"$scratch/added.log" 2>&1
if [ -d "$scratch/added-prefix/include" ]; then
  echo "a program that adds Varve as a folder must not install its headers" >&2
  exit 1
fi
echo "package: found, linked and run in four ways"
