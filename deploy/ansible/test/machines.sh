# Machines for deploy/ansible/test/run, which reads this file: Debian with systemd as process 1, sshd and a root of its
# own, on a network of their own. They are namespaces of this machine's kernel, so no image is booted and no privileged
# daemon asked. Everything here runs inside the namespaces that `run` has made: nothing outside them is changed but
# empty control groups, which are removed, and all ends with them.
#
# shellcheck shell=bash disable=SC2154 # `run` says what $work and $base are

. scripts/debian.sh

packages=systemd,systemd-sysv,dbus,python3,python3-apt,nftables,openssh-server,iproute2,sudo,libstdc++6,adduser
network=10.77.0

# Makes the tree that all machines have in common: base_tree DIRECTORY RELEASE
base_tree() {
  local tree=$1 release=$2
  [ -e "$tree/made" ] && [ "$(cat "$tree/made")" = "$release $packages" ] && return
  debian_tree "$tree" "$release" "$packages" || return
  # Not a first start, at which systemd would enable every unit that it finds, the firewall too.
  tr -d - </proc/sys/kernel/random/uuid >"$tree/etc/machine-id"
  local unit
  for unit in console-getty.service getty.target proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount; do
    ln -sf /dev/null "$tree/etc/systemd/system/$unit"
  done
  debian_user "$tree" ops
  echo "$release $packages" >"$tree/made"
}

# The network: this side is .1 and is where the playbooks run.
lan() {
  mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns
  ip link set lo up
  ip link add name lan type bridge && ip address add "$network.1/24" dev lan && ip link set lan up
  mount -t cgroup2 cgroup2 "$work/cgroup"
  cgroups=$work/cgroup/$groups
  mkdir "$cgroups"
}

# Makes a machine, switched off: machine NUMBER
machine() {
  local n name=signer-$1.example at=$work/machine-$1
  mkdir -p "$at"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=$base,upperdir=$at/upper,workdir=$at/work" "$at/root"
  echo "$name" >"$at/root/etc/hostname"
  { echo 127.0.0.1 localhost; for n in 1 2 3 4 5; do echo "$network.1$n signer-$n.example"; done; } >"$at/root/etc/hosts"
  install -d -m 700 -o 1000 -g 1000 "$at/root/home/ops/.ssh"
  install -m 600 -o 1000 -g 1000 "$work/ssh.pub" "$at/root/home/ops/.ssh/authorized_keys"
  ip netns add "m$1"
  ip link add "m$1" type veth peer name eth0 netns "m$1"
  ip link set "m$1" master lan up
  ip -n "m$1" link set lo up
  ip -n "m$1" address add "$network.1$1/24" dev eth0
  ip -n "m$1" link set eth0 up
  ip -n "m$1" route add default via "$network.1"
}

# Switches one on, and waits until it can be logged in to: power_on NUMBER
power_on() {
  mkdir -p "$cgroups/m$1"
  (
    echo $BASHPID >"$cgroups/m$1/cgroup.procs"
    exec nsenter --net="/run/netns/m$1" unshare --mount --propagation private --uts --ipc --pid --cgroup --fork --kill-child \
      bash -c "$(declare -f debian_devices process_one); process_one $work/machine-$1/root signer-$1.example"
  ) >"$work/machine-$1/console" 2>&1 &
  echo $! >"$work/machine-$1/pid"
  disown
  for _ in {1..120}; do
    if on "$1" true 2>/dev/null; then return; fi
    [ -e "/proc/$(cat "$work/machine-$1/pid")" ] || break
    sleep 0.5
  done
  echo "machine $1 does not start:" >&2
  tail -20 "$work/machine-$1/console" >&2
  return 1
}

# Takes its power away: power_off NUMBER
power_off() {
  local pid
  pid=$(cat "$work/machine-$1/pid")
  kill -9 "$pid" 2>/dev/null || true
  while [ -e "/proc/$pid" ] || grep -q 'populated 1' "$cgroups/m$1/cgroup.events"; do sleep 0.1; done
  ssh -F none -o ControlPath="$work/on-%h" -O exit "ops@$network.1$1" 2>/dev/null || true
}

# As an operator, as root: on NUMBER COMMAND...
on() {
  local number=$1
  shift
  ssh -F none -i "$work/ssh" -o UserKnownHostsFile="$work/known" -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR \
    -o BatchMode=yes -o ConnectTimeout=5 -o ControlMaster=auto -o ControlPath="$work/on-%h" -o ControlPersist=60 \
    "ops@$network.1$number" sudo "$(printf '%q ' "$@")"
}

machines_gone() {
  local n
  for n in 1 2 3 4 5; do [ ! -e "$work/machine-$n/pid" ] || power_off $n; done
}

# What a machine's first process does: mounts, then becomes systemd. Kernel settings and devices are not its own, so it
# cannot change them.
process_one() {
  local root=$1
  hostname "$2"
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  local fixed
  for fixed in sys sysrq-trigger; do
    [ -e "$root/proc/$fixed" ] || continue
    mount --bind "$root/proc/$fixed" "$root/proc/$fixed"
    mount -o remount,bind,ro "$root/proc/$fixed"
  done
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  debian_devices "$root"
  cd "$root" || exit 1
  mkdir -p mnt
  pivot_root . mnt
  exec chroot . /bin/sh -c 'umount -l /mnt && mount --make-rshared / && exec /usr/bin/env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-sys_boot,-wake_alarm,-syslog \
    /lib/systemd/systemd --log-target=console --show-status=false </dev/null'
}
