#!/usr/bin/env bash
# Everything a change must pass: installs what is missing (as root), builds with sanitizers and for
# release, and runs the tests of both. tests/full.sh is the longer one.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/packages.sh
. tests/lib/parts.sh
. tests/lib/build.sh

# Peers (qemu-img, clang, mke2fs ...) are installed below, so a test that misses one has to fail.
export VARVE_REQUIRE=1
mkdir -p build

install_packages() {
  need_packages "${BUILD_PACKAGES[@]}" "${TOOL_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
}

find_qemu10() {
  if tests/lib/qemu10.sh >build/qemu10.path; then
    echo "QEMU 10 in $(cat build/qemu10.path)"
  else
    rm -f build/qemu10.path
    echo "Going on with $(qemu-img --version | head -n 1)"
  fi
}

# clang compiles sanitized code in two thirds of g++'s time, and so both compilers see every change.
build_sanitized() {
  configure_and_build build/sanitize -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DVARVE_SANITIZE=address,undefined -DVARVE_QUICK_BUILD=ON
}

build_release() {
  configure_and_build build/release -DCMAKE_BUILD_TYPE=Release
}

part "packages" install_packages
last_part_ok || { close_parts; exit 1; }
part "QEMU 10 beside the installed one" find_qemu10
if [ -f build/qemu10.path ]; then
  VARVE_QEMU10=$(cat build/qemu10.path)
  export VARVE_QEMU10
fi
part "build, address and undefined sanitizers" build_sanitized
if last_part_ok; then
  part "tests, address and undefined sanitizers" run_ctest build/sanitize -E '^interop_'
else
  part_skipped "tests, address and undefined sanitizers"
fi
part "build, release" build_release
if last_part_ok; then
  # What ran above with sanitizers and does not count, time or package anything runs once (interop,
  # which is mostly QEMU at work, runs here);
  # tests/full.sh runs it in release builds too. Only the crash tests run again, because they are
  # fast here: many more states, and all that are new go to the library.
  export VARVE_CRASH_RANDOM=24 VARVE_CRASH_LIBRARY=0
  part "tests, release" run_ctest build/release -E '^(fault|tool|tool_io)(_[0-9]+)?$'
else
  part_skipped "tests, release"
fi
close_parts
