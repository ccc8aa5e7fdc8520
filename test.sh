#!/usr/bin/env bash
# Builds Forebay and runs every test. Needs Rust; installs what else the tests use (strace, and where there is
# node the language server that editors use).
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v strace >/dev/null; then
  # Faults of the disk are injected at the system call, where a kill alone shows nothing.
  as_root=""; [ "$(id -u)" = 0 ] || as_root="sudo"
  if command -v apt-get >/dev/null; then
    $as_root apt-get install -y -qq strace >/dev/null || { $as_root apt-get update -qq && $as_root apt-get install -y -qq strace >/dev/null; }
  elif command -v dnf >/dev/null; then $as_root dnf install -y -q strace
  elif command -v apk >/dev/null; then $as_root apk add -q strace
  else echo "test.sh: install strace, then run this again" >&2; exit 2
  fi
fi

# The lock file of what is installed tells whether it is the one of the repository.
if command -v npm >/dev/null && ! cmp -s tests/editor/package-lock.json tests/editor/node_modules/.forebay-lock.json; then
  (cd tests/editor && npm ci --silent --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/.forebay-lock.json)
fi

# Generated inputs differ in each run. With the seed that is printed a run generates the same ones again.
export PROPTEST_RNG_SEED="${PROPTEST_RNG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"
echo "PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED"

if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run "$@"
else
  exec cargo test "$@"
fi
