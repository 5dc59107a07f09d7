#!/usr/bin/env bash
# Everything a change must pass: installs what is missing (as root), builds with sanitizers and for
# release, and runs the tests of both. tests/full.sh is the longer one.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/packages.sh
. tests/lib/parts.sh
. tests/lib/build.sh
. tests/lib/machine.sh

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

# Two builds share the work. The sanitized one runs everything that is no peer's work and measures
# nothing, of the long programs a share; the release one runs crash states and models at full
# length, a sixth of the tools' command lines and a quarter of the interop matrix (of its
# changes a seventh) beside QEMU, and what counts, measures, packages or looks at the text. A
# share is spread over all options, geometries and scenarios.
# tests/full.sh runs all of it whole in both.
# clang compiles sanitized code in two thirds of g++'s time, and so both compilers see every change.
build_sanitized() {
  configure_and_build build/sanitize -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DVARVE_SANITIZE=address,undefined -DVARVE_QUICK_BUILD=ON \
    -DVARVE_BUILD_BENCH=OFF
}

test_sanitized() {
  VARVE_MODEL_OPERATIONS=800 VARVE_EXHAUSTIVE_LENGTH=2 VARVE_SCENARIO_SHARE=4 \
    VARVE_FAULT_RUNS=2 VARVE_ALLOCATION_RUNS=2 VARVE_LIFE_RUNS=2 VARVE_TRANSFER_RUNS=2 \
    VARVE_CRASH_LIBRARY=4 VARVE_CRASH_STATES=1 \
    VARVE_FIELD_SHARE=16 VARVE_CASE_SHARE=3 VARVE_TOOL_SHARE=10 \
    run_ctest build/sanitize \
    -E '^(crash_[2-4]|hostile_corpus|quickstart|interop_.*|(tool|tool_io)_[2-8]|(guest|nbd)[._].*)$'
}

build_release() {
  local programs
  IFS='|' read -ra programs <<<"$LONG_PROGRAMS"
  configure_and_build build/release -DCMAKE_BUILD_TYPE=Release -DVARVE_QUICK_BUILD=ON -- \
    varve_static varve_shared varve_service varve_tool varve_load varve_micro \
    tinyvmm varve_nbdkit varve_fuzz_write_images guest_host c_program c_service_program \
    "${programs[@]/%/_test}"
}

test_release() {
  local whole='hostile|hostile_corpus|package|quickstart'
  VARVE_INTEROP_SHARE=4 VARVE_TOOL_SHARE=6 VARVE_CRASH_RANDOM=24 VARVE_CRASH_LIBRARY=0 \
    VARVE_CRASH_STATES=1012000 \
    run_ctest build/release \
    -R "^(($LONG_PROGRAMS)(_[0-9]+)?|(bench|tidy)\\..*|(capi_|guest|nbd).*|$whole)\$"
}

part "packages" install_packages
last_part_ok || { close_parts; exit 1; }
if machine_has_all; then
  export VARVE_REQUIRE_MACHINE=1
fi
part "QEMU 10 beside the installed one" find_qemu10
if [ -f build/qemu10.path ]; then
  VARVE_QEMU10=$(cat build/qemu10.path)
  export VARVE_QEMU10
fi
part "kernel for guests" tests/lib/kernel.sh
part "build, address and undefined sanitizers" build_sanitized
if last_part_ok; then
  part "tests, address and undefined sanitizers" test_sanitized
else
  part_skipped "tests, address and undefined sanitizers"
fi
part "build, release" build_release
if last_part_ok; then
  part "tests, release" test_release
else
  part_skipped "tests, release"
fi
close_parts
