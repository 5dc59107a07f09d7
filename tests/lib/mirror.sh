#!/usr/bin/env bash
# Prints the mirror this machine uses for a Debian release, as "URI KEYRING" (KEYRING may be
# empty), one line per source. Prints nothing when there is none.
#
# Usage: tests/lib/mirror.sh RELEASE
set -euo pipefail
release=$1

for file in /etc/apt/sources.list.d/*.sources; do
  [ -f "$file" ] || continue
  awk -v release="$release" '
    function finish() { if (found && uri != "") print uri, key; uri = key = ""; found = 0 }
    /^[ \t]*$/ { finish() }
    /^URIs:/ { uri = $2 }
    /^Signed-By:/ { key = $2 }
    /^Suites:/ { for (i = 2; i <= NF; i++) if ($i == release) found = 1 }
    END { finish() }' "$file"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -f "$file" ] || continue
  sed -nE "s/^deb +(\[[^]]*\] +)?([^ ]+) +$release( .*)?\$/\2/p" "$file"
done
