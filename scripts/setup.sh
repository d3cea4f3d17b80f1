#!/usr/bin/env bash
# Installs what the build needs and lacks: a C++20 compiler and libclang for RocksDB. Rust itself it only checks.
# With --without-rocksdb the compiler alone, for `make test-fast`.
# With --monitoring also Prometheus and Alertmanager, for `make monitoring-test`.
# With --chaos also what its faults need: strace, libfaketime, mkfs.ext4, setpriv.
# With --machines also what deploy/ansible/test makes machines with: mmdebstrap, iproute2, ssh.
# With --validator also what the test node of integration/validator needs: protoc, and OpenSSL to link.
set -euo pipefail

rust_wanted=1.95

missing=()
command -v c++ >/dev/null || missing+=(compiler)
packages=(g++ libc6-dev)
if [ "${1:-}" != --without-rocksdb ]; then
  packages+=(libclang-dev)
  "$(dirname "$0")/has-libclang" >/dev/null || missing+=(libclang)
fi
if [ "${1:-}" = --validator ]; then
  packages+=(protobuf-compiler libssl-dev pkg-config)
  command -v protoc >/dev/null || missing+=(protoc)
  if [ "$(uname -s)" != Darwin ]; then
    pkg-config --exists openssl 2>/dev/null || missing+=(openssl)
  fi
fi
if [ "${1:-}" = --monitoring ]; then
  # Elsewhere the test says what it lacks and is skipped.
  if command -v apt-get >/dev/null; then
    packages+=(prometheus prometheus-alertmanager)
    for program in promtool prometheus prometheus-alertmanager; do
      command -v $program >/dev/null || missing+=($program)
    done
  fi
fi

if [ "${1:-}" = --chaos ] && command -v apt-get >/dev/null; then
  # Elsewhere the scenarios say what they lack and are skipped.
  packages+=(strace libfaketime e2fsprogs util-linux)
  for program in strace mkfs.ext4 setpriv; do
    PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || missing+=($program)
  done
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
fi

if [ "${1:-}" = --machines ] && command -v apt-get >/dev/null; then
  # Elsewhere the test says what it lacks and is skipped.
  packages+=(mmdebstrap iproute2 openssh-client curl python3-venv)
  for program in mmdebstrap ip ssh ssh-keygen curl; do
    PATH=$PATH:/usr/sbin:/sbin command -v $program >/dev/null || missing+=($program)
  done
fi

if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  case "$(uname -s)" in
    Darwin)
      if [[ " ${missing[*]} " == *" protoc "* ]]; then
        command -v brew >/dev/null || { echo "setup: install protoc, for instance with Homebrew, then try again" >&2; exit 1; }
        brew install protobuf
      fi
      if [[ " ${missing[*]} " =~ \ (compiler|libclang)\  ]]; then
        xcode-select --install || { echo "setup: install Xcode's command line tools, then try again" >&2; exit 1; }
      fi
      ;;
    *)
      command -v apt-get >/dev/null || {
        echo "setup: install ${missing[*]} with your package manager, then try again" >&2
        exit 1
      }
      sudo=
      [ "$(id -u)" = 0 ] || sudo=sudo
      $sudo apt-get update -qq
      $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
      ;;
  esac
fi

command -v cargo >/dev/null || {
  echo "setup: Rust is missing; install $rust_wanted or newer from https://rustup.rs, then try again" >&2
  exit 1
}
rust_here=$(rustc --version | cut -d' ' -f2)
if [ "$(printf '%s\n%s\n' "$rust_wanted" "$rust_here" | sort -V | head -n1)" != "$rust_wanted" ]; then
  echo "setup: Rust $rust_here is too old; install $rust_wanted or newer (rustup update)" >&2
  exit 1
fi

# Silence for a quarter of an hour looks like a build that hangs. One that RocksDB was compiled for before is quick.
target=${CARGO_TARGET_DIR:-target}
if [ "${1:-}" != --without-rocksdb ] &&
  ! compgen -G "$target/*/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
  echo "setup: next is the build. RocksDB, a C++ library, is compiled once, which takes 10 to 20 minutes on two cores"
  echo "setup: and says meanwhile how far it is; later builds take it as it is, from $target"
fi
