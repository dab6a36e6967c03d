#!/usr/bin/env bash
# The servers that tests start for themselves on free loopback ports: installs what is missing, as root on Debian or Ubuntu.
# Called by `make test`. Their own services stay off: the tests run the programs, with data directories of their own.
set -euo pipefail

declare -A program=([redis-server]=redis-server [haproxy]=haproxy [prometheus]=prometheus [default-jre-headless]=java
  [faketime]=faketime)
missing=()
for package in "${!program[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${program[$package]}" >/dev/null || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "expected ${missing[*]} for the tests that use them, found none: install with 'apt-get install ${missing[*]}'" >&2
  exit 0 # the other tests run; those that need a program say which
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy" # invoke-rc.d: start nothing
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install --yes --quiet --no-install-recommends "${missing[@]}")
"${install[@]}" || { apt-get update --quiet && "${install[@]}"; }
