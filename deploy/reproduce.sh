#!/usr/bin/env bash
# Builds the release twice, in two places, and compares the two programs byte for byte. Takes two full builds.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
for place in one another-place; do
  git clone -q . "$work/$place/source"
  CARGO_TARGET_DIR="$work/$place/target" "$work/$place/source/deploy/build.sh"
  sha256sum "$work/$place/target/release/signonce"
done
cmp "$work/one/target/release/signonce" "$work/another-place/target/release/signonce"
echo "the same program twice"
