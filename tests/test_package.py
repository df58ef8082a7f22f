"""The package as a whole: what importing it loads, and that rooms depend in one direction alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import h2q

SOURCE = Path(h2q.__file__).parent
HEAVY = {"numpy", "scipy", "sklearn", "numba", "pyarrow", "typer", "rich", "torch", "lightning", "matplotlib"}
# What each room must not import: no room imports a later one, and stages two and three know no PyTorch.
FORBIDDEN = {
    "similarity": {"h2q.quantization", "h2q.retrieval", "h2q.experiments", "h2q.cli", "h2q.hasher"},
    "quantization": {
        "torch",
        "lightning",
        "h2q.similarity",
        "h2q.retrieval",
        "h2q.experiments",
        "h2q.cli",
        "h2q.hasher",
    },
    "retrieval": {"torch", "lightning", "h2q.similarity", "h2q.experiments", "h2q.cli", "h2q.hasher"},
    "datasets": {"h2q.similarity", "h2q.quantization", "h2q.retrieval", "h2q.experiments", "h2q.cli", "h2q.hasher"},
}


def imported_modules(file: Path) -> set[str]:
    package = ("h2q", *file.relative_to(SOURCE).parts[:-1])
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            modules.add(".".join(part for part in (base, node.module) if part))
    return modules


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_room_imports_a_later_one(room: str) -> None:
    files = list((SOURCE / room).rglob("*.py"))
    assert files
    wrong = [
        f"{file.relative_to(SOURCE)} imports {module}"
        for file in files
        for module in imported_modules(file)
        for forbidden in FORBIDDEN[room]
        if module == forbidden or module.startswith(f"{forbidden}.")
    ]
    assert not wrong


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
