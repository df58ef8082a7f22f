"""A small experiment on real digits, run once."""

from pathlib import Path

import pytest

from h2q.experiments import Plan, RunSummary, parse_plan, run_plan

SMALL = """
name = "Digits, small heads"

[grid]
datasets = ["digits"]
losses = ["DPSH", "CosineEmbedding"]
bits = [16, 24]
seeds = [0, 1]
quantizers = ["real", "sign", "penalty", "itq", "h2q-l2"]

[training]
image_size = 32
epochs = 1
min_steps = 0
hidden = [32]

[penalty]
weights = [0.01, 0.1]
tanh = "both"

[quantization.itq]
n_init = 2

[scoring]
k = 100
"""


@pytest.fixture(scope="session")
def small_plan() -> Plan:
    """The plan of `experiment`."""
    return parse_plan(SMALL)


@pytest.fixture(scope="session")
def experiment(small_plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    """The folder of the small plan, run in this process, and the summary of the run; tests must not change it."""
    folder = tmp_path_factory.mktemp("experiment") / "small"
    return folder, run_plan(small_plan, folder)
