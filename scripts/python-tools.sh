#!/usr/bin/env bash
# Has Python packages for tests in the virtual environment of the tools: scripts/python-tools.sh SET ..., each a lock
# scripts/python/SET.txt. Nothing is installed that has not the hash there, and nothing is built from source.
set -euo pipefail
cd "$(dirname "$0")/python"
venv=${SIGNONCE_TOOLS:-$HOME/.cache/signonce/tools}/venv
missing=()
for set in "$@"; do
  [ -f "$set.txt" ] || { echo "python-tools: there is no scripts/python/$set.txt: write $set.in there and run scripts/python/lock" >&2; exit 1; }
  cmp -s "$set.txt" "$venv/$set.lock" || missing+=("$set")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ ! -x "$venv/bin/pip" ]; then
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv" 2>/dev/null || {
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq && $sudo apt-get install -y -qq python3-venv
    python3 -m venv "$venv"
  }
fi
for set in "${missing[@]}"; do
  "$venv/bin/pip" -q install --require-hashes --only-binary :all: -r "$set.txt"
  cp "$set.txt" "$venv/$set.lock"
done
