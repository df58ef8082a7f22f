"""The package as a whole: what importing it loads. import-linter checks which room may import which."""

import ast
import dataclasses
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import h2q

MUTABLE = set()  # dataclasses that change
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


def test_no_module_needs_what_windows_lacks() -> None:
    for path in Path(h2q.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
        assert not names & {"fcntl", "pwd", "grp", "resource", "termios"}, path


@pytest.mark.parametrize("room", ["comparison", "datasets", "evaluation", "files", "hamming", "quantization", "report"])
def test_dataclasses_are_frozen(room: str) -> None:
    package = importlib.import_module(f"h2q.{room}")
    modules = [
        importlib.import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)
    ]
    classes = {value for module in modules for value in vars(module).values() if dataclasses.is_dataclass(value)}
    assert {kind.__name__ for kind in classes if not kind.__dataclass_params__.frozen} <= MUTABLE
