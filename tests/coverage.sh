#!/usr/bin/env bash
# Line and branch coverage of lib/ by the tests: builds with clang's counters, runs the tests (a
# share of the long ones), and prints a table by floor, and every branch of lib/meta and lib/image
# that no test takes and tests/coverage/unreached.txt does not explain. Fails on any.
#
# Usage: tests/coverage.sh [--list]   --list prints the unexplained ones as unreached.txt has them
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/packages.sh
. tests/lib/build.sh
. tests/lib/machine.sh

need_packages "${BUILD_PACKAGES[@]}" "${TOOL_PACKAGES[@]}" "${TEST_PACKAGES[@]}" llvm
export VARVE_REQUIRE=1
if machine_has_all; then
  export VARVE_REQUIRE_MACHINE=1
fi
mkdir -p build
if tests/lib/qemu10.sh >build/qemu10.path; then
  VARVE_QEMU10=$(cat build/qemu10.path)
  export VARVE_QEMU10
fi

folder=build/coverage
counters=-fprofile-instr-generate
configure_and_build $folder -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1 $counters -fcoverage-mapping" -DVARVE_QUICK_BUILD=ON \
  -DCMAKE_EXE_LINKER_FLAGS=$counters -DCMAKE_SHARED_LINKER_FLAGS=$counters -DVARVE_BUILD_BENCH=OFF

profiles=$PWD/$folder/profiles
rm -rf "$profiles"
mkdir -p "$profiles"
# One file per program, which its runs add to.
export LLVM_PROFILE_FILE=$profiles/%m.profraw
VARVE_MODEL_OPERATIONS=1500 VARVE_EXHAUSTIVE_LENGTH=2 VARVE_SCENARIO_SHARE=2 VARVE_FAULT_RUNS=6 \
  VARVE_ALLOCATION_RUNS=6 VARVE_LIFE_RUNS=0 VARVE_TRANSFER_RUNS=3 VARVE_CRASH_STATES=30000 \
  VARVE_CRASH_ONE_IN=5 VARVE_CRASH_RANDOM=8 VARVE_CRASH_LIBRARY=4 VARVE_CASE_SHARE=2 \
  VARVE_TOOL_SHARE=3 VARVE_INTEROP_SHARE=6 \
  run_ctest $folder -E '^((tidy|bench)\.|package|quickstart|hostile|guest|capi_(abi|valgrind|rust))'

llvm-profdata merge -sparse "$profiles"/*.profraw -o $folder/all.profdata
objects=()
for program in "$folder"/bin/*_test "$folder"/bin/varve "$folder"/bin/c_program; do
  objects+=(-object "$program")
done
llvm-cov export -format=text -instr-profile $folder/all.profdata "${objects[@]}" \
  -ignore-filename-regex='(/tests/|/tools/|/fuzz/|/usr/)' >$folder/export.json 2>$folder/export.log
python3 tests/coverage/report.py $folder/export.json . "$@"
