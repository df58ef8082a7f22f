#!/usr/bin/env bash
# Build the wheel, install it with nothing but the core in a clean environment, and use it there as a user would.
# The environment is kept in .build/ and rebuilt when the dependencies change.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
environment=.build/wheel-environment
stamp="$environment/dependencies-$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-16)"

rm -rf .build/dist
.venv/bin/python -m build --wheel --outdir .build/dist . >.build-wheel.log 2>&1 || { cat .build-wheel.log >&2; exit 1; }
rm -f .build-wheel.log
wheel=$(ls .build/dist/*.whl)
if [ ! -e "$stamp" ]; then
    rm -rf "$environment"
    "${PYTHON:-python3}" -m venv "$environment"
    "$environment/bin/pip" install --quiet --constraint constraints.txt "$wheel" pytest
    touch "$stamp"
fi
"$environment/bin/pip" install --quiet --no-deps --force-reinstall "$wheel"

# Outside the checkout and with an empty home folder, so that only the wheel can be imported.
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
cp tests/wheel/check_installed.py "$outside/test_installed.py"
cd "$outside"
env -u H2Q_DATA -u PYTHONPATH HOME="$outside" WHEEL="$root/$wheel" \
    "$root/$environment/bin/python" -m pytest -q -p no:cacheprovider -W error test_installed.py
