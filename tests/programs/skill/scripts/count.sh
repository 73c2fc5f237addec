#!/usr/bin/env bash
# Counts its arguments and shows each as a shell would have to write it.
set -eu
mapfile -t lines
printf '%d arguments, %d lines\n' "$#" "${#lines[@]}"
for one in "$@"; do
    printf '[%q]\n' "$one"
done
