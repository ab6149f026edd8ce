#!/bin/sh
# The engine's tests that want drives: those it leaves out elsewhere. devices.sh TESTS
set -eu

# One at a time: each wants a drive for itself.
exec "$1" --ignored --test-threads=1
