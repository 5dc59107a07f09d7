#!/usr/bin/env bash
# The mutation check: breaks each rule of docs/INVARIANTS.md on purpose, one at a time, and shows
# that the tests find it. One build serves all rules: VARVE_BREAK_RULE says which one is broken.
# Most go to the crash explorer; what no power cut can show, to the test that owns the rule: O11
# lies below the simulated disks, H4 is about a read that is late. Of H3, a table claimed and
# linked in two goes costs no more space than a cut may, and growth beside growth takes an order of
# requests that no disk keeps by itself. O12 wants an image with a bitmap, which has an exploration
# of its own.
#
# Usage: tests/mutations.sh [RULE...]
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/build.sh

folder=build/mutations
mkdir -p build
configure_and_build "$folder" -DCMAKE_BUILD_TYPE=Release -DVARVE_QUICK_BUILD=ON \
  -DVARVE_MUTATIONS=ON -DVARVE_BUILD_BENCH=OFF -- crash_test io_test meta_test

explorer='crash_test *CrashSequences*'
declare -A finders=(
  [O1]=$explorer [O2]=$explorer [O3]=$explorer [O4]=$explorer [O5]=$explorer [O6]=$explorer
  [O7]=$explorer [O8]=$explorer [O9]=$explorer [O10]=$explorer
  [O11]='io_test *NeighboursInOneBlockDoNotLoseEachOther*' [O12]='crash_test *BitmapInUse*'
  [H1]=$explorer [H2]=$explorer [H3-slot]='meta_test *InOneGo*'
  [H3-growth]='meta_test *OfFileAndCountsKeepApartInEveryOrder*'
  [H4]='meta_test *ARequestThatMayHaveSeenItHoldsItBack*'
  [H5]=$explorer
)
rules=("$@")
if [ $# -eq 0 ]; then
  rules=(none O1 O2 O3 O4 O5 O6 O7 O8 O9 O10 O11 O12 H1 H2 H3-slot H3-growth H4 H5)
fi

# run_broken RULE PROGRAM FILTER: its exit code; the log stands in $folder/RULE.log.
run_broken() {
  VARVE_BREAK_RULE=$1 VARVE_CRASH_ONE_IN=5 VARVE_CRASH_STATES=${VARVE_CRASH_STATES:-300000} \
    GTEST_FAIL_FAST=1 timeout 600 "$folder/bin/$2" --gtest_brief=1 "--gtest_filter=$3" \
    >"$folder/$1.log" 2>&1
}

# The first words of what went wrong, without a test's own file and line, moment and choice.
reason_in() {
  {
    sed -n '/^Expected: false$/{n;s/.*lost:[ 0-9]*: //;s/^[A-Z][A-Za-z, ]*: //;p}' "$1"
    grep -h -o -E '(corruption|check|mismatch|sector [0-9]+ holds|bitmap|the disk):? .*' "$1"
  } | head -n 1 | cut -c 1-100
}

failed=0
for rule in "${rules[@]}"; do
  read -r program filter <<<"${finders[$rule]:-$explorer}"
  code=0
  run_broken "$rule" "$program" "$filter" || code=$?
  log=$folder/$rule.log
  states=$(sed -n -E 's/^explored: ([0-9]+) distinct.*/\1/p' "$log")
  order=$(sed -n -E 's/^order: .*: (O[0-9]+|H[0-9]+): .*/\1/p' "$log" | head -n 1)
  test=$(sed -n -E 's/^\[  FAILED  \] ([^ ,]+).*/\1/p' "$log" | head -n 1)
  case $code in
    0) verdict='NOT FOUND' ;;
    124) verdict='timed out' ;;
    *) verdict="found by ${test:-an assertion of the library}" ;;
  esac
  if { [ "$rule" = none ] && [ $code -ne 0 ]; } ||
    { [ "$rule" != none ] && { [ $code -eq 0 ] || [ $code -eq 124 ]; }; }; then
    failed=1
  fi
  [ "$rule" = none ] && [ $code -eq 0 ] && verdict='nothing broken, nothing found'
  printf '%-9s %s%s%s\n' "$rule" "$verdict" "${states:+, after $states states}" \
    "${order:+; the order watch says $order}"
  printf '          %s\n' "$(reason_in "$log")"
done
exit $failed
