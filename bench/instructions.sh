#!/usr/bin/env bash
# Counts the instructions one 4 KiB request on an allocated cluster costs, the kernel excluded: two
# runs of different length under callgrind, the difference divided by the difference in requests.
# First Varve's own code, then the whole process: the loop that submits, liburing and libc too.
#
# Usage: bench/instructions.sh [--build FOLDER] [--count N] [--limit N] [--profile FILE]
#   --limit N       fails where a read costs more in Varve's own code
#   --profile FILE  keeps callgrind's profile of the reads, for callgrind_annotate
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release
count=20000
limit=0
profile=""
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2 ;;
    --count) count=$2 ;;
    --limit) limit=$2 ;;
    --profile) profile=$2 ;;
    *) echo "instructions.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
command -v valgrind >/dev/null || { echo "instructions.sh: valgrind is missing" >&2; exit 2; }

folder=$(mktemp -d "$build/instructions-XXXXXX")
trap 'rm -rf "$folder"' EXIT
image=$folder/disk.qcow2
"$build/bin/varve" create -q -f qcow2 "$image" 64M
"$build/bin/varve_load" fill "$image" >/dev/null

# count_instructions REQUESTS OPTION...: sets own and whole.
count_instructions() {
  local requests=$1
  shift
  valgrind --tool=callgrind --callgrind-out-file="$folder/profile" \
    "$build/bin/varve_load" requests "$image" count="$requests" step=24580096 "$@" \
    >"$folder/out" 2>&1 || { cat "$folder/out" >&2; exit 1; }
  whole=$(sed -n 's/^.*Collected : \([0-9]*\).*$/\1/p' "$folder/out")
  own=$(callgrind_annotate --threshold=100 --auto=no "$folder/profile" 2>"$folder/annotate" |
    awk '/varve::/ && !/varve::bench::/ { gsub(",", "", $1); sum += $1 } END { print sum + 0 }')
}

for kind in read write; do
  flags=(write=0)
  [ "$kind" = read ] || flags=(write=1)
  for depth in 1 32; do
    few=$((count / 10))
    count_instructions $few depth=$depth "${flags[@]}"
    own_few=$own whole_few=$whole
    count_instructions "$count" depth=$depth "${flags[@]}"
    each=$(((own - own_few) / (count - few)))
    echo "4 KiB $kind, depth $depth: $each instructions," \
      "$(((whole - whole_few) / (count - few))) with loop and libraries"
    if [ "$kind" = read ]; then
      [ -z "$profile" ] || [ $depth != 32 ] || cp "$folder/profile" "$profile"
      if [ "$limit" != 0 ] && [ "$each" -gt "$limit" ]; then
        echo "instructions.sh: more than $limit" >&2
        exit 1
      fi
    fi
  done
done
