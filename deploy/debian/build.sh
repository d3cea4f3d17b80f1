#!/usr/bin/env bash
# Makes the Debian package: deploy/debian/build.sh BINARY OUTPUT-DIRECTORY. Needs dpkg-deb; runs nothing of systemd.
set -euo pipefail
binary=$(readlink -f "$1")
out=$(readlink -f "$2")
cd "$(dirname "$0")"
# For Debian 0.2.0-dev would be later than 0.2.0; 0.2.0~dev is earlier.
version=$("$binary" --version | awk '{print $2}' | tr - '~')
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

install -Dm755 "$binary" "$root/usr/bin/signonce"
install -Dm644 ../systemd/signonce.service "$root/lib/systemd/system/signonce.service"
install -Dm644 ../systemd/signonce-privval.service "$root/lib/systemd/system/signonce-privval.service"
install -Dm644 ../systemd/signonce.sysusers "$root/usr/lib/sysusers.d/signonce.conf"
install -Dm644 ../../LICENSE "$root/usr/share/doc/signonce/copyright"
install -Dm644 example.toml "$root/usr/share/doc/signonce/examples/signonce.toml"
for page in ../../docs/*.md ../../docs/*/*.md; do
  install -Dm644 "$page" "$root/usr/share/doc/signonce/${page#../../docs/}"
done
"$binary" man --out "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*
mkdir -p "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" "$root/usr/share/fish/vendor_completions.d"
"$binary" completions bash >"$root/usr/share/bash-completion/completions/signonce"
"$binary" completions zsh >"$root/usr/share/zsh/vendor-completions/_signonce"
"$binary" completions fish >"$root/usr/share/fish/vendor_completions.d/signonce.fish"

mkdir -p "$root/DEBIAN"
install -m755 postinst prerm postrm "$root/DEBIAN/"
# What the files hold, not the blocks that a busy file system has given them so far.
size=$(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f1)
cat >"$root/DEBIAN/control" <<X
Package: signonce
Version: $version
Architecture: $architecture
Maintainer: The Signonce authors <security@signonce.invalid>
Section: net
Priority: optional
Installed-Size: $size
Depends: libc6 (>= 2.36), libstdc++6, libgcc-s1, adduser
Description: remote signer for blockchain validators that signs every duty once
 Validators keep no session keys: they ask a cluster of signers, which agree on
 every signature in a replicated log before it leaves them. This package is one
 signer of such a cluster. It starts nothing by itself: a node is configured and
 initialised first (signonce-init(1)).
X
# The same package from the same files.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group --build "$root" "$out/signonce_${version}_$architecture.deb" >/dev/null
echo "$out/signonce_${version}_$architecture.deb"
