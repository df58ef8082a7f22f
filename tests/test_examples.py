"""The examples run, and show what they say they show."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


Load = Callable[[Path], ModuleType]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_example_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_file_of_ones_own(load_module: Load, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((20, 48))
    np.save(tmp_path / "x.npy", (centers[rng.integers(0, 20, 800)] + rng.standard_normal((800, 48))).astype(np.float32))
    recalls = load_module(EXAMPLES / "compress_embeddings.py").main(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert recalls["HouseholderQuantizer, re-ranked"] > 0.8


def test_the_growing_index_forgets(load_module: Load, tmp_path: Path) -> None:
    neighbors = load_module(EXAMPLES / "growing_index.py").main(tmp_path / "index")
    assert not np.isin(neighbors.ids, [5000, 5001]).any()
    assert all(item in neighbors.ids[item - 5000] for item in (5002, 5003, 5004))


def test_the_objective_does_what_it_is_for(load_module: Load) -> None:
    values = load_module(EXAMPLES / "own_objective.py").main()
    assert values["learned"] < 0.7 * values["random rotation"]
