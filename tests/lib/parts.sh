# shellcheck shell=bash disable=SC2034
# Runs the parts of a test script one after the other, times them and closes with a table.
# Sourced. A failed part does not stop the others unless they need it; see need_part.

PART_NAMES=()
PART_SECONDS=()
PART_RESULTS=()

# part NAME COMMAND... : runs the command in a subshell and notes its time and result.
part() {
  local name=$1 start=$SECONDS result=ok
  shift
  printf '\n== %s\n' "$name"
  # A plain `if` would switch off errexit inside the command; a background job keeps it.
  (set -euo pipefail; "$@") &
  wait $! || result=FAILED
  PART_NAMES+=("$name")
  PART_SECONDS+=($((SECONDS - start)))
  PART_RESULTS+=("$result")
  [ "$result" = ok ]
}

# Notes a part that could not run because one it needs failed.
part_skipped() {
  PART_NAMES+=("$1")
  PART_SECONDS+=(0)
  PART_RESULTS+=("not run")
}

# Prints the table; fails when any part did.
close_parts() {
  local index failed=0
  printf '\n%-44s %8s  %s\n' part seconds result
  for index in "${!PART_NAMES[@]}"; do
    printf '%-44s %8d  %s\n' "${PART_NAMES[index]}" "${PART_SECONDS[index]}" \
      "${PART_RESULTS[index]}"
    [ "${PART_RESULTS[index]}" = ok ] || failed=1
  done
  printf '%-44s %8d  %s\n' total "$SECONDS" "$([ $failed = 0 ] && echo ok || echo FAILED)"
  return $failed
}
