"""Two real processes (gloo) must give the gradients of one process with the joint batch, proxies included."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = """
import sys
import numpy as np, torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from h2q.similarity.distributed import gather, process_count, process_rank
from h2q.similarity.heads import HashHead
from h2q.similarity.losses import make_loss

name, folder, world = sys.argv[1], sys.argv[2], int(sys.argv[4])
torch.set_num_threads(1)
if world > 1:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=int(sys.argv[3]), world_size=world
    )
torch.manual_seed(0)

class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = HashHead(12, 8, hidden=(16,), dropout=0.0, input_dropout=0.0, input_noise=0.0)
        self.loss = make_loss(name, n_bits=8, n_classes=4)

    def forward(self, features, labels):
        return self.loss(gather(self.head(features)), gather(labels))

step = Step()
generator = torch.Generator().manual_seed(1)
features, labels = torch.randn(24, 12, generator=generator), torch.arange(24) % 4
share = slice(process_rank() * 24 // world, (process_rank() + 1) * 24 // world)
model = DistributedDataParallel(step) if world > 1 else step
value = model(features[share], labels[share])
value.backward()
gradients = {key: p.grad.numpy() for key, p in step.named_parameters()}
if process_rank() == 0:
    np.savez(f"{folder}/{world}.npz", value=value.item(), **gradients)
if world > 1:
    torch.distributed.destroy_process_group()
"""


def _run(folder: Path, loss: str, world: int) -> dict[str, np.ndarray]:
    script = folder / "worker.py"
    script.write_text(WORKER)
    workers = [
        subprocess.Popen(
            [sys.executable, script, loss, folder, str(rank), str(world)],
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in range(world)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()
    with np.load(folder / f"{world}.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("loss", ["DPSH", "HyP2"])
def test_two_processes_give_the_gradient_of_the_joint_batch(loss: str, tmp_path: Path) -> None:
    one, two = _run(tmp_path, loss, 1), _run(tmp_path, loss, 2)
    assert one.keys() == two.keys()
    assert ("loss.proxies" in one) == (loss == "HyP2")
    for key, expected in one.items():
        np.testing.assert_allclose(two[key], expected, rtol=1e-4, atol=1e-7, err_msg=key)
        assert np.abs(expected).max() > 0, key
