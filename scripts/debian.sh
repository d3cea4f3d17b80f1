# A minimal Debian in a folder, for scripts/fresh-machine and deploy/ansible/test/machines.sh, which read this file.
# Needs root and mmdebstrap. Mounts belong into a mount namespace of the caller, with which they end.
#
# shellcheck shell=bash

# debian_tree DIRECTORY RELEASE PACKAGES: PACKAGES is a list with commas; what is there already is removed.
debian_tree() {
  rm -rf --one-file-system "$1" && mkdir -p "$(dirname "$1")"
  mmdebstrap --quiet --variant=minbase --include="$3" "$2" "$1"
}

# debian_user DIRECTORY NAME: somebody who may become root without a password, as on a rented machine. Needs sudo in the tree.
debian_user() {
  chroot "$1" useradd --create-home --shell /bin/bash "$2"
  echo "$2 ALL=(ALL) NOPASSWD: ALL" >"$1/etc/sudoers.d/$2"
}

# debian_devices DIRECTORY: a /dev with what every program expects, and none of this machine's disks.
debian_devices() {
  mount -t tmpfs -o mode=755 tmpfs "$1/dev"
  local device
  for device in null zero full random urandom tty; do
    touch "$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
  done
  mkdir "$1/dev/pts" "$1/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$1/dev/pts"
  mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
  ln -s pts/ptmx "$1/dev/ptmx"
  ln -s /proc/self/fd "$1/dev/fd"
}
