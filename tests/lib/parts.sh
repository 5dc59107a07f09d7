# shellcheck shell=bash disable=SC2181
# Runs the parts of a test script one after the other, times them and closes with a table.
# Sourced. A failed part does not stop the others; one that needs it asks last_part_ok.

PART_NAMES=()
PART_SECONDS=()
PART_RESULTS=()

# part NAME COMMAND... : runs the command in a subshell and notes its time and result. Succeeds
# always. Call it as a command of its own: behind `if`, `&&` or `||` bash would ignore errexit
# inside the part.
part() {
  local name=$1 start=$SECONDS result=ok
  shift
  printf '\n== %s\n' "$name"
  set +e
  (set -euo pipefail; "$@")
  [ $? -eq 0 ] || result=FAILED
  set -e
  PART_NAMES+=("$name")
  PART_SECONDS+=($((SECONDS - start)))
  PART_RESULTS+=("$result")
}

last_part_ok() {
  [ "${PART_RESULTS[-1]}" = ok ]
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
