#!/usr/bin/env bash
# Looks for more: builds the fuzzers with sanitizers and runs each from its corpus, then adds to the
# corpus what new ground a few small inputs cover. Whatever fails is kept in build/fuzz/failures.
#
#   fuzz/run.sh [--seconds N] [--renew] [TARGET...]
#
# Each target for N seconds, 60 without. --renew chooses the files of the corpus anew.
set -euo pipefail
cd "$(dirname "$0")/.."

FILES_MAX=60
BYTES_MAX=768
FAILURES_MAX=5
seconds=60
renew=0
while [[ "${1:-}" == --* ]]; do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --renew) renew=1; shift ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
done
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  targets=(open check repair operations reference settings stored_settings)
fi
# Most of the time would go into memory that is set aside, filled and given back to the system.
export ASAN_OPTIONS=quarantine_size_mb=4:malloc_context_size=4:max_malloc_fill_size=0
ASAN_OPTIONS+=:allocator_release_to_os_interval_ms=-1

cmake -S . -B build/fuzz -G Ninja -Wno-dev -DCMAKE_CXX_COMPILER=clang++ -DVARVE_FUZZ=ON \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DVARVE_QUICK_BUILD=ON \
  -DVARVE_SANITIZE=address,undefined -DVARVE_BUILD_TESTS=ON -DVARVE_BUILD_BENCH=OFF \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)" >build/fuzz.configure.log
cmake --build build/fuzz --target "${targets[@]/#/fuzz_}" -- --quiet

# Bytes and pieces of memory far beyond what any input may take; the fuzzers have ceilings of their
# own for what the library takes. Leaks are found by replaying. Names of new functions and the
# entropic schedule cost more than they find.
limits=(-timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len="$BYTES_MAX"
  -detect_leaks=0 -entropic=0 -reload=0 -print_funcs=0 -print_final_stats=1)

# After a failure it goes on with other inputs. True when there was none.
look_for_more() {
  local target=$1 end=$((SECONDS + seconds)) failures=0
  : >"build/fuzz/$target.log"
  while [ $SECONDS -lt $end ] && [ $failures -lt $FAILURES_MAX ]; do
    "build/fuzz/bin/fuzz_$target" "${limits[@]}" -max_total_time=$((end - SECONDS)) \
      -artifact_prefix="build/fuzz/failures/$target-" "build/fuzz/found/$target" \
      "fuzz/corpus/$target" >"build/fuzz/$target.once.log" 2>&1 || failures=$((failures + 1))
    cat "build/fuzz/$target.once.log" >>"build/fuzz/$target.log"
  done
  [ $failures -eq 0 ]
}

# What is in the corpus stays, or with --renew what has a name of its own. Of everything else those
# join it that cover most of the code, in this order, as long as there is room.
add_to_corpus() {
  local target=$1 corpus=fuzz/corpus/$1 fresh=build/fuzz/found/$1.new file room
  rm -rf "$fresh"
  cp -r "$corpus" "$fresh"
  if [ $renew = 1 ]; then
    find "$corpus" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
  fi
  room=$((FILES_MAX - $(find "$corpus" -type f | wc -l)))
  if [ $room -gt 0 ]; then
    rm -rf "$fresh.chosen"
    cp -r "$corpus" "$fresh.chosen"
    "build/fuzz/bin/fuzz_$target" "${limits[@]}" -set_cover_merge=1 -use_counters=0 \
      "$fresh.chosen" "$fresh" "build/fuzz/found/$target" >"build/fuzz/$target.merge.log" 2>&1
    # They were written one after the other.
    for file in $(find "$fresh.chosen" -type f -printf '%T@ %f\n' | sort -n | cut -d' ' -f2); do
      if [ $room -gt 0 ] && [ ! -e "$corpus/$file" ]; then
        cp "$fresh.chosen/$file" "$corpus"
        room=$((room - 1))
      fi
    done
  fi
}

mkdir -p build/fuzz/failures
failed=0
for target in "${targets[@]}"; do
  mkdir -p "build/fuzz/found/$target" "fuzz/corpus/$target"
  begin=$SECONDS
  if ! look_for_more "$target"; then
    failed=1
    echo "$target FAILED:"
    grep -aE '^fuzz: |ERROR|SUMMARY|Test unit written' "build/fuzz/$target.log" ||
      tail -n 20 "build/fuzz/$target.log"
  fi
  took=$((SECONDS - begin))
  add_to_corpus "$target"
  awk -v target="$target" -v took=$took -v files="$(find "fuzz/corpus/$target" -type f | wc -l)" '
    /stat::number_of_executed_units/ { runs += $2 }
    /stat::peak_rss_mb/ { memory = $2 > memory ? $2 : memory }
    / cov: / { for (i = 1; i < NF; ++i) if ($i == "cov:") edges = $(i + 1) }
    END { printf "%-16s %9d runs in %4d s, %6d edges, %4d MiB, %2d files in the corpus\n",
                 target, runs, took, edges, memory, files }' "build/fuzz/$target.log"
done
exit $failed
