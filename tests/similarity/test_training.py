"""The training loop: what it learns, keeps, resumes and refuses."""

import copy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from h2q.errors import FileFormatError
from h2q.similarity.checkpoints import CheckpointFiles, read_checkpoint
from h2q.similarity.frozen import train_head
from h2q.similarity.penalties import WeightedPenalty
from h2q.similarity.presets import HEAD, TrainingSettings
from h2q.similarity.runs import Hardware, RunOptions
from h2q.similarity.training import LossDivergedError, make_optimizer
from h2q.similarity.validation import Validation, cosine_mean_average_precision

SMALL = replace(HEAD, hidden=(16,), epochs=4, batch_size=30, min_steps=0)
Labeled = tuple[NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="module")
def digits() -> tuple[Labeled, Labeled]:
    """Real images small enough to be their own features: 600 to train on, 300 held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images, labels = data.data.astype(np.float32) + 0.01, data.target.astype(np.int64)
    return (images[:600], labels[:600]), (images[600:900], labels[600:900])


def _weights(head: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in head.state_dict().items()}


def _assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def test_a_trained_head_ranks_better_than_its_features(digits: tuple[Labeled, Labeled]) -> None:
    (features, labels), held_out = digits
    settings = replace(SMALL, hidden=(64,), epochs=30)
    trained = train_head(features, labels, loss="CosineEmbedding", n_bits=16, validation=held_out, settings=settings)
    raw = cosine_mean_average_precision(held_out[0], None, held_out[1], None)
    assert trained.history.validation_map is not None
    assert trained.history.validation_map > raw + 0.05
    embeddings = trained.embed(held_out[0])
    assert embeddings.dtype == np.float32
    again = cosine_mean_average_precision(embeddings, None, held_out[1], None)
    assert again == pytest.approx(trained.history.validation_map, abs=1e-6)
    assert [record["epoch"] for record in trained.history.epochs] == list(range(30))
    assert max(record["validation_map"] for record in trained.history.epochs) == trained.history.validation_map


def test_one_seed_gives_one_set_of_weights_and_leaves_global_random_numbers_alone(
    digits: tuple[Labeled, Labeled],
) -> None:
    (features, labels), _ = digits
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    runs = []
    for seed, disturb in ((0, 1), (0, 2), (1, 2)):
        torch.manual_seed(disturb)
        runs.append(
            _weights(train_head(features, labels, loss="HyP2", n_bits=8, settings=SMALL, random_state=seed).head)
        )
    _assert_same(runs[0], runs[1])
    assert not torch.equal(runs[0]["hash_layer.weight"], runs[2]["hash_layer.weight"])
    torch.manual_seed(5)
    train_head(features, labels, loss="DPSH", n_bits=8, settings=SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_kept_weights_are_the_best_epochs_and_patience_stops(digits: tuple[Labeled, Labeled]) -> None:
    (features, labels), held_out = digits
    scores = iter([0.1, 0.5, 0.3, 0.2, 0.9])
    validation = Validation(held_out[0], held_out[1], score=lambda *_: next(scores))
    trained = train_head(
        features, labels, loss="DPSH", n_bits=8, validation=validation, settings=replace(SMALL, epochs=5, patience=2)
    )
    assert [record["validation_map"] for record in trained.history.epochs] == [0.1, 0.5, 0.3, 0.2]
    assert trained.history.best_epoch == 1
    two = train_head(features, labels, loss="DPSH", n_bits=8, settings=replace(SMALL, epochs=2, schedule="constant"))
    scores = iter([0.1, 0.5, 0.3, 0.2, 0.1])
    five = train_head(
        features, labels, loss="DPSH", n_bits=8, validation=validation,
        settings=replace(SMALL, epochs=5, schedule="constant"),
    )  # fmt: skip
    _assert_same(_weights(five.head), _weights(two.head))


RESUMABLE = """
import sys, os, signal
from dataclasses import replace
import numpy as np
from sklearn.datasets import load_digits
from h2q.similarity.frozen import train_head
from h2q.similarity.presets import HEAD
from h2q.similarity.runs import RunOptions
from h2q.similarity.validation import Validation, cosine_mean_average_precision

data = load_digits()
features, labels = data.data.astype("float32") + 0.01, data.target.astype("int64")

class Score:
    def __call__(self, *arguments):
        global epochs
        epochs += 1
        if epochs == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return cosine_mean_average_precision(*arguments)

epochs = 0
trained = train_head(
    features[:600], labels[:600], loss="HyP2", n_bits=8, run=RunOptions(folder=sys.argv[1], resume=True, log="csv"),
    validation=Validation(features[600:900], labels[600:900], score=Score()),
    settings=replace(HEAD, hidden=(16,), epochs=6, batch_size=50),
)
scores = [epoch["validation_map"] for epoch in trained.history.epochs]
state = {**trained.head.state_dict(), "proxies": trained.loss.proxies.detach()}
np.savez(sys.argv[1] + ".npz", scores=scores, **{key: value.numpy() for key, value in state.items()})
"""


def test_a_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def run(folder: str, kill_at: int) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", RESUMABLE, str(tmp_path / folder), str(kill_at)]
        return subprocess.run(command, capture_output=True, timeout=240)

    killed = run("killed", 3)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, b"")
    assert len(read_checkpoint(tmp_path / "killed" / "last.ckpt")["h2q_history"]) == 2
    for folder in ("killed", "whole"):
        done = run(folder, 0)
        assert (done.returncode, done.stderr) == (0, b"")
    with np.load(tmp_path / "killed.npz") as resumed, np.load(tmp_path / "whole.npz") as whole:
        assert len(whole["scores"]) == 6
        for key in whole:
            np.testing.assert_array_equal(resumed[key], whole[key], err_msg=key)
    assert len(list((tmp_path / "killed" / "logs").rglob("metrics.csv"))) == 2, "one log before the kill, one after"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_tensorboard_reads_the_logs(digits: tuple[Labeled, Labeled], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (features, labels), held_out = digits
    trained = train_head(
        features, labels, loss="CosineEmbedding", n_bits=8, validation=held_out, settings=SMALL,
        run=RunOptions(folder=tmp_path, log="tensorboard"),
    )  # fmt: skip
    (events,) = (tmp_path / "logs").rglob("events.out.tfevents.*")
    logged = EventAccumulator(str(events)).Reload()
    for name in ("loss", "validation_map"):
        expected = [record[name] for record in trained.history.epochs]
        assert [point.value for point in logged.Scalars(name)] == pytest.approx(expected, rel=1e-6)


def test_two_runs_are_not_mixed(digits: tuple[Labeled, Labeled], tmp_path: Path) -> None:
    (features, labels), _ = digits
    settings = replace(SMALL, epochs=1)
    first = train_head(features, labels, loss="DPSH", n_bits=8, settings=settings, run=RunOptions(folder=tmp_path))
    with pytest.raises(ValueError, match="pass resume=True"):
        train_head(features, labels, loss="DPSH", n_bits=8, settings=settings, run=RunOptions(folder=tmp_path))
    with pytest.raises(ValueError, match="another loss and n_bits"):
        train_head(
            features, labels, loss="DCH", n_bits=16, settings=settings, run=RunOptions(folder=tmp_path, resume=True)
        )
    with pytest.raises(ValueError, match="another features and labels"):
        train_head(
            features[1:],
            labels[1:],
            loss="DPSH",
            n_bits=8,
            settings=settings,
            run=RunOptions(folder=tmp_path, resume=True),
        )
    again = train_head(
        features, labels, loss="DPSH", n_bits=8, settings=settings, run=RunOptions(folder=tmp_path, resume=True)
    )
    _assert_same(_weights(again.head), _weights(first.head))


def test_a_truncated_checkpoint_is_named(digits: tuple[Labeled, Labeled], tmp_path: Path) -> None:
    (features, labels), _ = digits
    train_head(
        features, labels, loss="DPSH", n_bits=8, settings=replace(SMALL, epochs=1), run=RunOptions(folder=tmp_path)
    )
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"last\.ckpt is no readable checkpoint"):
        train_head(
            features,
            labels,
            loss="DPSH",
            n_bits=8,
            settings=replace(SMALL, epochs=1),
            run=RunOptions(folder=tmp_path, resume=True),
        )


def test_a_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    checkpoint = {"state_dict": {"weight": torch.arange(12.0)}, "h2q_history": [{"epoch": 0, "loss": 0.5}]}
    path = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    assert read_checkpoint(path)["h2q_history"] == checkpoint["h2q_history"]
    for bit in np.random.default_rng(0).choice(8 * len(content), 200, replace=False).tolist():
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(FileFormatError, match=r"last\.ckpt is no readable checkpoint"):
            read_checkpoint(path)


class Interrupting(nn.Module):
    """A loss in which Ctrl-C comes."""

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return embeddings.square().mean()


def test_ctrl_c_in_a_training_is_raised_and_the_next_one_works(digits: tuple[Labeled, Labeled]) -> None:
    (features, labels), _ = digits
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_head(features, labels, loss=Interrupting(), n_bits=8, settings=SMALL)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)


class BreaksAtStep(nn.Module):
    """A loss that becomes NaN after some steps."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        return embeddings.square().mean() * (float("nan") if self.left < 0 else 1.0)


def test_a_nan_stops_with_the_step_and_keeps_the_last_good_epoch(
    digits: tuple[Labeled, Labeled], tmp_path: Path
) -> None:
    (features, labels), _ = digits
    with pytest.raises(LossDivergedError, match=r"loss BreaksAtStep became nan at step 25 \(epoch 1\).*last\.ckpt"):
        train_head(features, labels, loss=BreaksAtStep(25), n_bits=8, settings=SMALL, run=RunOptions(folder=tmp_path))
    assert len(read_checkpoint(tmp_path / "last.ckpt")["h2q_history"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y * 0), "one class only"),
        (lambda x, y: (x[:5], np.array([0, 1, 2, 3, 9])), "name 10 classes .* only 5 items"),
        (lambda x, y: (x, y[:-1]), "labels must have 600 rows"),
        (lambda x, y: (x, y[:, None, None]), "class ids .* or multi-hot"),
        (lambda x, y: (np.where(np.arange(600)[:, None] == 3, np.nan, x), y), "NaN in 1 of 600"),
        (lambda x, y: (x[0], y), "2-D"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(digits: tuple[Labeled, Labeled], change, message: str) -> None:
    features, labels = change(*digits[0])
    with pytest.raises(ValueError, match=message):
        train_head(features, labels, loss="DPSH", n_bits=8, settings=SMALL)


def test_multi_hot_labels_views_and_penalties_train(digits: tuple[Labeled, Labeled]) -> None:
    (features, labels), held_out = digits
    views = np.stack([features, features.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)])
    plain, pushed = (
        train_head(
            views, np.eye(10, dtype=bool)[labels], loss="DPSH", n_bits=8,
            settings=replace(SMALL, epochs=40),
            penalty=WeightedPenalty(lambda embeddings: (embeddings - embeddings.sign()).square().mean(), weight),
            validation=(held_out[0], np.eye(10, dtype=bool)[held_out[1]]),
        ).embed(held_out[0])
        for weight in (0.0, 10.0)
    )  # fmt: skip
    assert np.square(pushed - np.sign(pushed)).mean() < 0.7 * np.square(plain - np.sign(plain)).mean()


def test_mixed_precision_learns_the_same_thing(digits: tuple[Labeled, Labeled]) -> None:
    (features, labels), held_out = digits
    full, mixed = (
        train_head(
            features, labels, loss="DPSH", n_bits=8, settings=SMALL, validation=held_out,
            run=RunOptions(hardware=Hardware("cpu", precision=precision)),
        )
        for precision in ("32-true", "bf16-mixed")
    )  # fmt: skip
    assert mixed.head.hash_layer.weight.dtype == torch.float32
    assert not torch.equal(mixed.head.hash_layer.weight, full.head.hash_layer.weight)
    assert mixed.history.validation_map == pytest.approx(full.history.validation_map, abs=0.05)


TOGETHER = """
import sys, numpy as np
from dataclasses import replace
from sklearn.datasets import load_digits
from h2q.similarity.frozen import train_head
from h2q.similarity.presets import HEAD
from h2q.similarity.runs import Hardware, RunOptions

if __name__ == "__main__":
    data = load_digits()
    trained = train_head(
        data.data[:600].astype("float32") + 0.01, data.target[:600], loss="HyP2", n_bits=8,
        settings=replace(
            HEAD, hidden=(16,), epochs=2, batch_size=50, min_steps=0, dropout=0.0, input_dropout=0.0, input_noise=0.0
        ),
        run=RunOptions(hardware=Hardware("cpu", devices=2, threads=1)),
    )
    np.savez(sys.argv[1], **{key: value.numpy() for key, value in trained.head.state_dict().items()})
"""


def test_two_processes_train_as_one(digits: tuple[Labeled, Labeled], tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    done = subprocess.run([sys.executable, script, tmp_path / "two.npz"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    settings = replace(
        HEAD, hidden=(16,), epochs=2, batch_size=50, min_steps=0, dropout=0.0, input_dropout=0.0, input_noise=0.0
    )
    one = _weights(train_head(*digits[0], loss="HyP2", n_bits=8, settings=settings).head)
    with np.load(tmp_path / "two.npz") as two:
        for key, expected in one.items():
            np.testing.assert_allclose(two[key], expected.numpy(), rtol=5e-3, atol=2e-5, err_msg=key)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "lion"), ("schedule", "linear"), ("augmentation", "rotate"), ("step_factor", 2.0), ("epochs", 0),
        ("batch_size", 1), ("learning_rate", 0.0), ("dropout", 1.0), ("weight_decay", -1.0), ("patience", 0),
        ("hash_layer_std", 0.0), ("momentum", 1.0), ("step_epochs", 0), ("min_delta", -0.1),
    ],
)  # fmt: skip
def test_settings_are_checked(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        TrainingSettings(**{field: value})


def test_the_default_score_is_a_naive_loops(digits: tuple[Labeled, Labeled]) -> None:
    features, labels = digits[1][0][:40], digits[1][1][:40]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = 0.0
    for i in range(40):
        order = [j for j in np.argsort(-(unit @ unit[i]), kind="stable") if j != i]
        n_relevant = precision = 0.0
        for rank, j in enumerate(order, 1):
            if labels[j] == labels[i]:
                n_relevant += 1
                precision += n_relevant / rank
        total += precision / n_relevant if n_relevant else 0.0
    assert cosine_mean_average_precision(features, None, labels, None) == pytest.approx(total / 40, abs=1e-6)


@pytest.mark.parametrize("name", ["ContrastiveLoss", "MultiSimilarityLoss", "NormalizedSoftmaxLoss"])
def test_losses_of_pytorch_metric_learning_take_a_loss_s_place(name: str, digits: tuple[Labeled, Labeled]) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    (features, labels), held_out = digits
    options = {"num_classes": 10, "embedding_size": 16} if name == "NormalizedSoftmaxLoss" else {}
    loss = getattr(losses, name)(**options)
    before = copy.deepcopy(loss.state_dict())
    settings = replace(SMALL, hidden=(64,), epochs=30)
    trained = train_head(features, labels, loss=loss, n_bits=16, validation=held_out, settings=settings)
    raw = cosine_mean_average_precision(held_out[0], None, held_out[1], None)
    assert trained.history.validation_map is not None
    assert trained.history.validation_map > raw
    for key, value in before.items():
        assert torch.equal(loss.state_dict()[key], value), "the caller's loss is not changed"
        assert not torch.equal(trained.loss.state_dict()[key], value), "its proxies are trained, too"


def test_a_copy_of_the_queries_is_no_database(digits: tuple[Labeled, Labeled]) -> None:
    features, labels = digits[1]
    for database in (features, features.copy()):
        with pytest.raises(ValueError, match="each query would find itself; pass None"):
            cosine_mean_average_precision(features, database, labels, labels)


def test_few_epochs_are_few_epochs(digits: tuple[Labeled, Labeled]) -> None:
    features, labels = digits[0]
    two = train_head(features, labels, loss="DPSH", n_bits=8, settings=replace(HEAD, hidden=(8,), epochs=2))
    assert len(two.history.epochs) == 2
    assert TrainingSettings().for_items(600).epochs == 40
    assert TrainingSettings().for_items(60_000).epochs == 25


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_rates_follow_the_schedule(optimizer: str) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    settings = TrainingSettings(optimizer=optimizer, schedule="step", step_epochs=2, step_factor=0.1)
    made = make_optimizer([{"params": [parameter], "lr": 1.0}], settings, lambda: 100)
    assert type(made["optimizer"]).__name__.lower() == optimizer
    assert made["lr_scheduler"]["interval"] == "epoch"
    rates = []
    for _ in range(5):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    constant = make_optimizer([{"params": [parameter], "lr": 1.0}], replace(settings, schedule="constant"), int)
    assert type(constant) is type(made["optimizer"])


def test_huge_embeddings_are_named(digits: tuple[Labeled, Labeled]) -> None:
    features, labels = digits[0]
    with pytest.raises(ValueError, match="features holds embeddings too large for float32 arithmetic"):
        train_head(1e20 * features, labels, loss="DPSH", n_bits=8, settings=replace(SMALL, standardize=False))


def test_a_tanh_bounds_what_a_penalty_sees(digits: tuple[Labeled, Labeled]) -> None:
    (features, labels), held_out = digits
    seen: list[float] = []

    def penalty(embeddings: torch.Tensor) -> torch.Tensor:
        seen.append(float(embeddings.detach().abs().max()))
        return embeddings.square().mean()

    for tanh in (True, False):
        seen.clear()
        trained = train_head(
            features, labels, loss="DPSH", n_bits=8, settings=SMALL, penalty=WeightedPenalty(penalty, 0.1, tanh=tanh)
        )
        assert (max(seen) < 1) == tanh
        assert np.abs(trained.embed(held_out[0])).max() > 1, "the embeddings themselves are not squashed"
