#!/usr/bin/env bash
# Builds the program as it is released: locked versions, and neither the place nor the time of the build in it.
set -euo pipefail
cd "$(dirname "$0")/.."
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/signonce/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
here=$(pwd)
# The flags of .cargo/config.toml come first; RUSTFLAGS would replace them.
flags="-Ctarget-cpu=x86-64-v2"
[ "$(uname -m)" = x86_64 ] || flags=
export CARGO_ENCODED_RUSTFLAGS
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' $flags "--remap-path-prefix=$here=/source" "--remap-path-prefix=$cargo_home=/cargo" "--remap-path-prefix=$CARGO_TARGET_DIR=/target")
CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
export CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target ${CFLAGS:-}"
export CXXFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$CARGO_TARGET_DIR=/target ${CXXFLAGS:-}"
cargo build --release --locked --workspace
