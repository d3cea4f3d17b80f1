#!/bin/bash
# Builds the runtime as WebAssembly and puts it, compressed, where the sources take it from (blob/). About two minutes.
#
# Uses the installed toolchain's wasm32v1-none target (`rustup target add wasm32v1-none`). Without it the target's
# standard library is built from source, which takes the nightly toolchain and the library's source of the same
# version: Debian's rust-src from `sid`, fetched into the user's cache directory.
# Needs zstd. CARGO_TARGET_DIR is respected; give it a directory of its own, or the node's crates are built anew.
set -euo pipefail

runtime=$(dirname "$(readlink -f "$0")")
crate=signonce-validator-runtime
target=wasm32v1-none
blob=$runtime/blob/runtime.compressed.wasm
# By these bytes the SDK knows a compressed blob.
magic='\x52\xbc\x53\x76\x46\xdb\x8e\x05'

cache=${XDG_CACHE_HOME:-$HOME/.cache}/signonce-wasm
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export RUSTFLAGS="-C link-arg=--export-table -C link-arg=--import-memory -C link-arg=--export=__heap_base --cfg substrate_runtime"
build=(rustc --package "$crate" --lib --no-default-features --profile wasm --target "$target" --crate-type cdylib --locked)

fetch_library_source() {
    [ -d "$cache/root" ] && return
    mkdir -p "$cache"/{lists/partial,parts,archives/partial}
    local mirror options
    mirror=$(awk '/^URIs:/{print $2; exit} /^deb /{print $2; exit}' /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null)
    echo "deb $mirror sid main" >"$cache/sources.list"
    # A source list of our own, so that the machine's stays as it is. A mirror may be older than its lists' expiry.
    options=(-oDir::Etc::SourceList="$cache/sources.list" -oDir::Etc::SourceParts="$cache/parts"
        -oDir::State::Lists="$cache/lists" -oDir::Cache="$cache" -oAPT::Sandbox::User=root
        -oAcquire::Check-Valid-Until=false)
    apt-get "${options[@]}" update -q
    (cd "$cache" && apt-get "${options[@]}" download rust-src && dpkg -x rust-src_*.deb root.new && mv root.new root)
}

cd "$runtime/.."
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    cargo "${build[@]}"
else
    fetch_library_source
    library=("$cache"/root/usr/src/rustc-*/library)
    RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=${library[0]} \
        cargo +nightly "${build[@]}" -Zbuild-std=core,alloc
fi

mkdir -p "$(dirname "$blob")"
{ printf "$magic" && zstd --quiet -19 --stdout "$CARGO_TARGET_DIR/$target/wasm/${crate//-/_}.wasm"; } >"$blob.new"
mv "$blob.new" "$blob"
ls -l "$blob"
