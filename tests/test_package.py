"""The package as a whole: what importing it loads. import-linter checks which room may import which."""

import subprocess
import sys

import pytest

import h2q

HEAVY = {"numpy", "scipy", "sklearn", "numba", "pyarrow", "typer", "rich", "torch", "lightning", "matplotlib"}


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_h2q_loads_nothing_heavy() -> None:
    assert not loaded_after("import h2q") & HEAVY


def test_stage_two_and_search_never_load_torch() -> None:
    code = "import h2q; h2q.HouseholderQuantizer, h2q.BinaryIndex, h2q.mean_average_precision"
    assert not loaded_after(code) & {"torch", "lightning", "matplotlib"}


@pytest.mark.parametrize("name", h2q.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(h2q, name)
    assert name == "__version__" or (value.__doc__ or "").strip()
