"""What must hold of the installed wheel, with the core alone: run by scripts/test_wheel.sh in a clean environment."""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import h2q

COMMAND = Path(sys.executable).with_name("h2q")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_core_brings_no_torch() -> None:
    assert importlib.util.find_spec("torch") is None


def test_the_wheel_holds_the_package_alone() -> None:
    names = zipfile.ZipFile(os.environ["WHEEL"]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"h2q", f"h2q-{importlib.metadata.version('h2q')}.dist-info"}
    assert "h2q/py.typed" in names
    assert not [name for name in names if name.endswith((".parquet", ".jpg", ".npy"))]


def test_import_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'scipy', 'sklearn', 'numba', 'pyarrow', 'typer', 'rich', 'torch'}"
    code = f"import sys, h2q; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", h2q.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(h2q, name) is not None


@pytest.mark.parametrize(
    "use",
    [
        lambda: h2q.ImageHasher(8).fit(np.zeros((4, 32, 32, 3), np.uint8), [0, 1, 0, 1]),
        lambda: importlib.import_module("h2q.similarity").train_head,
        lambda: importlib.import_module("h2q.similarity.losses").DPSH,
    ],
)
def test_what_needs_torch_says_what_to_install(use: Callable[[], object]) -> None:
    with pytest.raises(ImportError, match=r'pip install "h2q\[\w+\]"'):
        use()


def test_from_embeddings_to_neighbors(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    embeddings = load_digits().data.astype(np.float32) + 0.01
    quantizer = h2q.HouseholderQuantizer(32, random_state=0).fit(embeddings)
    index = h2q.BinaryIndex(32)
    index.add(quantizer.encode(embeddings))
    neighbors = index.search(quantizer.encode(embeddings[:10]), 5)
    assert neighbors.ids.shape == (10, 5)
    assert (neighbors.distances[:, 0] == 0).all()
    quantizer.save(tmp_path / "quantizer.safetensors")
    loaded = h2q.load_quantizer(tmp_path / "quantizer.safetensors")
    np.testing.assert_array_equal(loaded.encode(embeddings), quantizer.encode(embeddings))


def test_command_line(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    np.save(tmp_path / "x.npy", load_digits().data.astype(np.float32) + 0.01)
    assert run("--version").stdout.strip().endswith(importlib.metadata.version("h2q"))
    fit = run("fit", tmp_path / "x.npy", "-o", tmp_path / "q.safetensors", "--bits", 16, "--json")
    assert fit.returncode == 0, fit.stderr
    json.loads(fit.stdout)
    wrong = run("fit", tmp_path / "missing.npy", "-o", tmp_path / "q2.safetensors")
    assert wrong.returncode != 0
    assert "missing.npy" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_demo_without_images_says_so_and_uses_digits(tmp_path: Path) -> None:
    demo = run("demo", "--output", tmp_path / "demo")
    assert demo.returncode == 0, demo.stderr
    assert "digits" in demo.stdout + demo.stderr


def test_train_without_torch_names_the_extra(tmp_path: Path) -> None:
    train = run("train", "cifar10", "-o", tmp_path / "hasher")
    assert train.returncode == 1
    assert "pip install" in train.stderr
