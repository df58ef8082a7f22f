#!/usr/bin/env bash
# Run the tests that need torchvision (pytest -m torchvision) in an environment of their own.
#
#   bash scripts/torchvision_environment.sh [pytest options]
#
# torchvision loads beside one version of torch only, and that pair takes 5.5 GB, so it is kept apart and outside the
# checkout: in $H2Q_TORCHVISION_ENV, by default ~/.cache/h2q/torchvision-env. It is built once (about 90 s); an incomplete
# one is rebuilt.
set -euo pipefail
cd "$(dirname "$0")/.."
environment=${H2Q_TORCHVISION_ENV:-$HOME/.cache/h2q/torchvision-env}
python=$environment/bin/python
log=$environment.log

requirements() {
    echo torch==2.14.1
    echo torchvision==0.29.1
    echo timm==1.0.31
    "${PYTHON:-.venv/bin/python}" - <<'END'
import tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
wanted = project["dependencies"] + extras["images"] + extras["learn"] + ["pytest", "hypothesis"]
print("\n".join(line for line in wanted if not line.startswith(("h2q", "torch"))))
END
}

make_environment() {
    if [ -e "$environment" ] && [ ! -e "$environment/pyvenv.cfg" ] && [ -n "$(ls -A "$environment")" ]; then
        echo "$environment exists and is not a virtual environment; name another with H2Q_TORCHVISION_ENV" >"$log"
        return 1
    fi
    rm -rf "$environment"
    "${PYTHON:-.venv/bin/python}" -m venv "$environment" >"$log" 2>&1 &&
        grep -v '^torch==' constraints.txt >"$environment/constraints.txt" &&
        requirements >"$environment/requirements.txt" &&
        "$python" -m pip install --constraint "$environment/constraints.txt" \
            --requirement "$environment/requirements.txt" >>"$log" 2>&1 &&
        "$python" -c 'import torchvision' >>"$log" 2>&1 &&
        requirements | sha256sum >"$environment/complete"
}

mkdir -p "$(dirname "$environment")"
exec 9>"$environment.lock"
if command -v flock >/dev/null; then flock 9; fi
if [ "$(cat "$environment/complete" 2>/dev/null)" != "$(requirements | sha256sum)" ]; then
    echo "making the environment for torchvision in $environment (5.5 GB, once) ..."
    if ! make_environment; then
        {
            echo "=================================================================================="
            echo "SKIPPED: the tests of the backbones of torchvision and timm did NOT run:"
            echo "the environment for torchvision could not be made in $environment"
            tail -n 5 "$log"
            echo "=================================================================================="
        } >&2
        exit 0
    fi
fi
exec 9>&-

mapfile -t files < <(grep -rl --include='test_*.py' 'mark.torchvision' tests)
PYTHONPATH=src "$python" -m pytest -p no:cacheprovider -m torchvision "${files[@]}" "$@"
