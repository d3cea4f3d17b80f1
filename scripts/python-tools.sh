#!/usr/bin/env bash
# Has Python packages for tests in the virtual environment of the tools: scripts/python-tools.sh NAME==VERSION ...
set -euo pipefail
venv=${SIGNONCE_TOOLS:-$HOME/.cache/signonce/tools}/venv
have=$("$venv/bin/pip" freeze 2>/dev/null | tr '[:upper:]_' '[:lower:]-' || true)
missing=()
for package in "$@"; do grep -qxF "$package" <<<"$have" || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ ! -x "$venv/bin/pip" ]; then
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv" 2>/dev/null || {
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq && $sudo apt-get install -y -qq python3-venv
    python3 -m venv "$venv"
  }
fi
"$venv/bin/pip" -q install "${missing[@]}"
