#!/usr/bin/env bash
# What the shells offer at a place in a command line: every case names words that must be there and
# words that must not.
#
# Usage: completion_test.sh VARVE bash|zsh
set -euo pipefail
folder=$(cd "$(dirname "$0")/../../tools/completion" && pwd)
PATH=$(dirname "$1"):$PATH
shell=$2
failures=0

if ! command -v "$shell" >/dev/null; then
  echo "there is no $shell here"
  [ -z "${VARVE_REQUIRE:-}" ]
  exit
fi

# offered_by_bash WORD...: what is offered for the last word.
offered_by_bash() {
  (
    # shellcheck source=/dev/null
    . "$folder/varve.bash"
    COMP_WORDS=("$@")
    # Read by the completion.
    # shellcheck disable=SC2034
    COMP_CWORD=$(($# - 1))
    _varve
    printf '%s\n' "${COMPREPLY[@]}"
  )
}

# The completion system itself needs a terminal: here it says what it was given.
offered_by_zsh() {
  zsh -f -c '
    _describe() { print -l -- "${(@)${(@P)2}%%:*}" }
    compadd() { print -l -- "$@" }
    _files() { print files }
    script=$1; shift
    words=("$@"); CURRENT=$#
    set --
    source $script
  ' zsh "$folder/_varve" "$@"
}

# expect "WANTED..." "UNWANTED..." WORD...
expect() {
  local wanted=$1 unwanted=$2 offered word
  shift 2
  offered=$("offered_by_$shell" "$@")
  for word in $wanted; do
    if ! grep -qxe "$word" <<<"$offered"; then
      echo "'$*' does not offer $word but:" $offered
      failures=$((failures + 1))
    fi
  done
  for word in $unwanted; do
    if grep -qxe "$word" <<<"$offered"; then
      echo "'$*' offers $word"
      failures=$((failures + 1))
    fi
  done
}

expect "audit convert create snapshot inspect" "-f" varve ""
expect "--compress --target-is-zero -O" "--flush-interval" varve convert -
expect "--flush-interval --order" "--compress" varve bench -
expect "raw qcow2" "json" varve convert -O ""
expect "none unsafe" "raw" varve convert -t ""
expect "human json" "raw" varve info --output ""
expect "falloc full" "raw" varve resize --preallocation ""
expect "create diff export import read-state rename apply delete" "convert" varve snapshot ""
expect "--name --full --state" "--compress" varve snapshot create -
expect "--list --apply" "--name" varve snapshot -
expect "io_uring threads" "" varve bench -i ""
expect "create apply delete list status" "rename" varve ctl disk.ctl ""
expect "" "create" varve ctl ""
expect "" "create" varve ctl disk.ctl apply ""
expect "--json" "--name" varve ctl -
expect "--json --force-share --no-budget" "--name" varve audit -
exit "$((failures != 0))"
