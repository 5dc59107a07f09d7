#!/usr/bin/env bash
# The long tests: all of run.sh, then the second compiler, the thread sanitizer, long random
# runs, and the README's commands on a bare Debian. Takes hours; run before a release.
#
# Usage: tests/full.sh [--no-bare]
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/packages.sh
. tests/lib/parts.sh
. tests/lib/build.sh
. tests/lib/machine.sh
export VARVE_REQUIRE=1

install_packages() {
  need_packages "${BUILD_PACKAGES[@]}" "${TOOL_PACKAGES[@]}" "${TEST_PACKAGES[@]}" \
    "${FULL_PACKAGES[@]}"
}

# build_and_test NAME FOLDER CMAKE_OPTION...
build_and_test() {
  local name=$1 folder=$2
  shift 2
  part "build, $name" configure_and_build "$folder" "$@"
  if last_part_ok; then
    part "tests, $name" run_ctest "$folder"
  else
    part_skipped "tests, $name"
  fi
}

long_tests() {
  local seed
  seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')
  echo "VARVE_LONG=1 VARVE_SEED=$seed"
  VARVE_LONG=1 VARVE_SEED=$seed run_ctest build/sanitize --timeout 14400
}

debug=(-DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1")
clang=(-DCMAKE_CXX_COMPILER=clang++)

part "packages" install_packages
last_part_ok || { close_parts; exit 1; }
if machine_has_all; then
  export VARVE_REQUIRE_MACHINE=1
fi
part "tests/run.sh" tests/run.sh
if [ -f build/qemu10.path ]; then
  VARVE_QEMU10=$(cat build/qemu10.path)
  export VARVE_QEMU10
fi
# All that tests/run.sh runs a share of or not at all, and the sources one by one.
part "build, release" configure_and_build build/release -DCMAKE_BUILD_TYPE=Release \
  -DVARVE_QUICK_BUILD=OFF
part "tests, release" run_ctest build/release -E '^tidy\.'
part "a guest's file system at work, a minute" env VARVE_LONG=1 \
  ctest --test-dir build/release --verbose --no-tests=error -R '^guest\.stress$'
export VARVE_TIDY_ALONE=1
part "tidy, file by file" run_ctest build/release -R '^tidy\.(headers|clang-tidy)$' --timeout 3600
build_and_test "clang, release" build/clang "${clang[@]}" -DCMAKE_BUILD_TYPE=Release
build_and_test "clang, sanitizers" build/clang-sanitize "${clang[@]}" "${debug[@]}" \
  -DVARVE_SANITIZE=address,undefined
build_and_test "thread sanitizer" build/thread "${debug[@]}" -DVARVE_SANITIZE=thread
part "cross build, aarch64" tests/cross.sh
part "mutation check" tests/mutations.sh
part "coverage" tests/coverage.sh
part "long random tests" long_tests
if [ "${1:-}" != --no-bare ]; then
  part "the README's commands on a bare Debian" tests/bare.sh
fi
close_parts
