#!/bin/sh
# Makes a workspace that builds `polkadot` with --remote-signer. See README.md and docs/operate/polkadot.md.
#
#   apply.sh DIR
#
# DIR must not exist. It gets crates/ (the sources that crates.io publishes, five of them patched), a workspace that
# uses them instead of the registry's, and the Cargo.lock that was published with polkadot. Every crate is fetched by
# cargo, which checks it against the registry's index; a patch that does not fit exactly stops the script.
set -eu

patched='sc-keystore-43.0.0
sc-consensus-grandpa-0.45.0
polkadot-node-core-approval-voting-36.0.0
polkadot-service-42.0.0
polkadot-cli-42.0.0'
binary=polkadot-41.0.0

here=$(cd "$(dirname "$0")" && pwd)
keystore=$(cd "$here/../keystore" && pwd)

if [ $# -ne 1 ] || [ -e "$1" ]; then
    echo "usage: apply.sh DIR, where DIR does not exist yet" >&2
    exit 2
fi
mkdir -p "$1/crates"
dir=$(cd "$1" && pwd)
# Outside of any workspace, so that cargo asks the registry and nothing else.
cd "$dir"

# The crate's directory name without the version.
name_of() { echo "${1%-*}"; }

# Copies a crate out of cargo's registry, where `cargo info` puts it if it is not there yet.
fetch() {
    name=$(name_of "$1")
    cargo info --quiet --registry crates-io "$name@${1##*-}" > /dev/null
    for source in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1"; do
        if [ -f "$source/Cargo.toml" ]; then
            cp -R "$source" "crates/$name"
            rm -f "crates/$name/.cargo-ok"
            return
        fi
    done
    echo "apply.sh: cargo did not unpack $1" >&2
    exit 1
}

fetch "$binary"
for crate in $patched; do
    fetch "$crate"
    patch --directory="crates/$(name_of "$crate")" --strip=1 --fuzz=0 --no-backup-if-mismatch --quiet \
        < "$here/$crate.patch"
    echo "patched $crate"
done

{
    printf '# Made by apply.sh of Signonce.\n[workspace]\nresolver = "2"\nmembers = ["crates/*"]\n\n[patch.crates-io]\n'
    for crate in $patched; do
        printf '%s = { path = "crates/%s" }\n' "$(name_of "$crate")" "$(name_of "$crate")"
    done
    printf 'signonce-keystore = { path = "%s" }\n' "$keystore"
    # As in the workspace of polkadot-sdk: the runtime needs unwinding, releases are built with `production`.
    cat <<'PROFILES'

[profile.release]
opt-level = 3
panic = "unwind"

[profile.production]
inherits = "release"
codegen-units = 1
lto = true
PROFILES
} > Cargo.toml
cp "crates/$(name_of "$binary")/Cargo.lock" Cargo.lock

# Adds to the published lock what the patched crates need besides, and moves nothing else.
cargo update --quiet --workspace
echo "made $dir; build it with: cd $dir && cargo build --locked --profile production -p polkadot"
