"""The losses by plain loops, and batches to compare them on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from h2q.similarity.losses import make_loss

N_CLASSES = 5


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """These matrices are too small for threads, which on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def naive(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    path = Path(__file__).parents[2] / "golden" / "make_losses.py"
    return load_module(path)


@pytest.fixture
def make_batch() -> Callable[..., tuple[Tensor, Tensor, list[set[int]]]]:
    """Draw embeddings in float64, labels, and the labels as sets, as the plain loops take them."""

    def make(n: int = 9, n_bits: int = 8, *, multi_hot: bool = False, seed: int = 0, scale: float = 1.0) -> tuple:
        generator = torch.Generator().manual_seed(seed)
        embeddings = scale * torch.randn(n, n_bits, generator=generator, dtype=torch.float64)
        if multi_hot:
            labels = (torch.rand(n, N_CLASSES, generator=generator) < 0.35).long()
            labels[torch.arange(n), torch.randint(N_CLASSES, (n,), generator=generator)] = 1
            return embeddings, labels, [set(row.nonzero().flatten().tolist()) for row in labels]
        labels = torch.randint(N_CLASSES, (n,), generator=generator)
        return embeddings, labels, [{label} for label in labels.tolist()]

    return make


@pytest.fixture
def build() -> Callable[..., nn.Module]:
    """Make a loss by name for the batches above; ADSH gets a training set and codes of its own."""

    def make(name: str, n_bits: int = 8, *, multi_hot: bool = False, **options: object) -> nn.Module:
        generator = torch.Generator().manual_seed(7)
        if name == "ADSH":
            labels = torch.randint(N_CLASSES, (12,), generator=generator)
            options["labels"] = torch.nn.functional.one_hot(labels, N_CLASSES) if multi_hot else labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            loss = make_loss(name, n_bits=n_bits, n_classes=N_CLASSES, **options).double()
        if name == "ADSH":
            loss.codes = torch.randn(12, n_bits, generator=generator, dtype=torch.float64).sign()
        if name == "DFH":  # its centers follow each batch in training mode
            loss.centers = torch.randn(N_CLASSES, n_bits, generator=generator, dtype=torch.float64).sign()
            loss.eval()
        return loss

    return make
