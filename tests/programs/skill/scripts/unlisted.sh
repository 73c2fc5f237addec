#!/bin/sh
# No word of `allowed-tools` names this one.
echo 'it ran'
