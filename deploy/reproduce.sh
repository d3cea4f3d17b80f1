#!/usr/bin/env bash
# Builds the committed release twice, in two places and with Cargo's home in two places, and compares the programs byte
# for byte. Takes two full builds and 4 GB: `deploy/reproduce.sh [DIR]`; the programs stay in DIR, without one nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=${1:-}
work=$(mktemp -d -p "${TMPDIR:-/tmp}")
trap 'rm -rf "$work"' EXIT
out=${kept:-$work/programs}
mkdir -p "$out"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
mkdir -p "$work/cargo" "$cargo_home/registry"
ln -s "$cargo_home/registry" "$work/cargo/registry"

build() { # place, Cargo's home
  git clone -q . "$work/$1/source"
  CARGO_HOME=$2 CARGO_TARGET_DIR=$work/$1/target "$work/$1/source/deploy/build.sh"
  cp "$work/$1/target/release/signonce" "$out/signonce-$1"
  rm -rf "${work:?}/$1"
  (cd "$out" && sha256sum "signonce-$1")
}

# Where two programs differ, by section.
differences() {
  local one=$1 other=$2 section
  readelf -SW "$one" | grep -oP '^ +\[ *\d+\] \K\S+' | while read -r section; do
    for program in "$one" "$other"; do
      objcopy -O binary --only-section="$section" --set-section-flags "$section=alloc" "$program" "$program.section" 2>/dev/null || : >"$program.section"
    done
    cmp -s "$one.section" "$other.section" || echo "$section: $(cmp -l "$one.section" "$other.section" 2>/dev/null | wc -l) bytes differ"
  done
  rm -f "$one.section" "$other.section"
}

build one "$cargo_home"
build another-place "$work/cargo"
if ! cmp "$out/signonce-one" "$out/signonce-another-place"; then
  differences "$out/signonce-one" "$out/signonce-another-place"
  exit 1
fi
echo "the same program twice, from $(git rev-parse --short HEAD)"
