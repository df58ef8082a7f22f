#!/usr/bin/env bash
# Get what the tests of the page need: Debian's chromium with its driver, and from npm axe-core and onnxruntime-web.
#
#   bash scripts/browser.sh
#
# What is there is left alone. As root everything must be had, or this fails; otherwise the tests that need what is missing
# are skipped, and this says so.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(axe-core@4.12.1 onnxruntime-web@1.30.0)
wanted=()
command -v chromium >/dev/null && command -v chromedriver >/dev/null || wanted+=(chromium chromium-driver)
command -v npm >/dev/null || wanted+=(npm)

get_debian() {
    [ ${#wanted[@]} -eq 0 ] && return
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    echo "installing ${wanted[*]} ..."
    apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null; }
}

get_npm() {
    [ "$(cat .build/npm/complete 2>/dev/null)" = "${packages[*]}" ] && return
    mkdir -p .build/npm
    npm install --prefix .build/npm --no-save --no-audit --no-fund --ignore-scripts --silent "${packages[@]}" &&
        echo "${packages[*]}" >.build/npm/complete
}

if ! get_debian || ! get_npm; then
    {
        echo "=================================================================================="
        echo "The tests of the page in a browser will be SKIPPED. They need: ${wanted[*]} ${packages[*]}"
        echo "=================================================================================="
    } >&2
    [ "$(id -u)" -ne 0 ]
fi
