"""Similarity learning: a Lightning loop that trains any network with any loss, and resumes where it was killed."""

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LambdaCallback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn

from h2q.errors import FileFormatError, require
from h2q.files import read_json, write_json
from h2q.progress import progress_bar
from h2q.similarity.distributed import gather, process_rank
from h2q.similarity.heads import HashHead, HashNetwork
from h2q.similarity.presets import TrainingSettings

__all__ = ["Hardware", "LossDivergedError", "TrainingRun", "fit_network"]

Penalty = Callable[..., Tensor]
Embed = Callable[[nn.Module], float]


class LossDivergedError(ValueError):
    """The loss became NaN or infinite; the message names the loss, the step and the checkpoint that is left."""


@dataclass(frozen=True)
class Hardware:
    """What training runs on.

    Attributes
    ----------
    accelerator : str
        "cpu", "gpu", or "auto": a GPU if there is one.
    devices : int
        How many processes train together, each on a GPU of its own, or all on the CPU. More than one starts new
        processes: a script that does so needs ``if __name__ == "__main__":``.
    precision : str
        Lightning's name: "32-true", "16-mixed" (GPU) or "bf16-mixed".
    threads : int or None
        Threads of the CPU in each process; None: as torch is set.
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    threads: int | None = None


@dataclass(frozen=True)
class TrainingRun:
    """What came of a training.

    Attributes
    ----------
    network : Module
        The network with the weights of the best epoch (of the last one without validation), in evaluation mode.
    history : tuple of dict
        For each epoch: "epoch", "loss" and, with validation, "validation_map".
    best_epoch : int
        The epoch whose weights these are, from 0.
    validation_map : float or None
        Its validation score, from 0 to 1.
    seconds : float
        Wall-clock time of this call.
    """

    network: nn.Module
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    validation_map: float | None
    seconds: float


def fit_network(
    network: nn.Module,
    batches: Any,
    loss: nn.Module,
    settings: TrainingSettings,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    penalty: Penalty | None = None,
    penalty_weight: float = 0.0,
    random_state: int = 0,
    folder: Path | None = None,
    resume: bool = False,
    identity: Mapping[str, Any] | None = None,
    log: Literal["csv", "tensorboard"] | None = None,
    hardware: Hardware = Hardware(),
    progress: bool = True,
) -> TrainingRun:
    """Train a network; the caller's random numbers, torch's global ones included, are as they were afterwards.

    Parameters
    ----------
    network : Module
        From a batch's inputs to embeddings (n, k); changed in place.
    batches : iterable of (inputs, labels)
        With ``sampler.set_epoch``: `TensorBatches` or `image_batches`.
    loss : Module
        ``loss(embeddings, labels)``, a scalar.
    settings : TrainingSettings
        Rates, epochs and so on.
    validate : callable, optional
        From the network in evaluation mode to a score, after each epoch; its best epoch is kept.
    penalty : callable, optional
        ``penalty(embeddings)``, a scalar that is added to the loss.
    penalty_weight : float
        What it is multiplied by.
    random_state : int
        Same seed, same data, same weights on the same machine.
    folder : path, optional
        Where checkpoints and logs go.
    resume : bool
        Go on with the run that `folder` holds, if it holds one.
    identity : mapping, optional
        What makes this run what it is; a run in `folder` with another identity is not resumed.
    log : {"csv", "tensorboard"}, optional
        Logs of loss and validation score in ``folder / "logs"``.
    hardware : Hardware
        Accelerator, processes, precision.
    progress : bool
        Whether to show a bar on a terminal.

    Returns
    -------
    TrainingRun
        The trained network and its history.

    Raises
    ------
    LossDivergedError
        If the loss is NaN or infinite.
    ValueError
        If `folder` holds another run.
    """
    began = time.perf_counter()
    module = _Similarity(network, loss, settings, validate, penalty, penalty_weight, random_state)
    if folder is None:
        if log is not None:
            raise ValueError(f"log={log!r} needs a folder to write to; pass folder=...")
        with tempfile.TemporaryDirectory() as temporary:
            _fit(module, batches, Path(temporary), None, None, hardware, progress)
    else:
        last = _open_folder(
            folder, resume, {**(identity or {}), "settings": asdict(settings), "random_state": random_state}
        )
        _fit(module, batches, folder, last, log, hardware, progress)
    history = module.history
    best = max(range(len(history)), key=lambda i: history[i].get("validation_map", i))
    score = history[best].get("validation_map")
    return TrainingRun(network.eval(), tuple(history), best, score, time.perf_counter() - began)


class _Similarity(pl.LightningModule):
    """The loop's body: loss of the joint batch, validation after each epoch, everything random seeded by epoch."""

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        settings: TrainingSettings,
        validate: Callable[[nn.Module], float] | None,
        penalty: Penalty | None,
        penalty_weight: float,
        random_state: int,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.settings, self.validate = network, loss, settings, validate
        self.penalty, self.penalty_weight, self.random_state = penalty, penalty_weight, random_state
        self.history: list[dict[str, float]] = []
        self.losses: list[Tensor] = []
        self.checkpoint = ""

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.network, self.loss, self.settings)
        optimizer: torch.optim.Optimizer
        decay = self.settings.weight_decay
        if self.settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=decay)
        elif self.settings.optimizer == "adam":
            optimizer = torch.optim.Adam(groups, weight_decay=decay, fused=True)
        else:
            optimizer = torch.optim.AdamW(groups, weight_decay=decay, fused=True)
        if self.settings.schedule == "constant":
            return optimizer
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        # Dropout differs between processes and epochs, and not between a resumed run and an uninterrupted one.
        sequence = np.random.SeedSequence((self.random_state, self.current_epoch, process_rank()))
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        self.losses = []
        step_epoch = getattr(self.loss, "step_epoch", None)
        if callable(step_epoch):
            step_epoch(self.current_epoch, self.settings.epochs)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        inputs, labels = batch
        embeddings = self.network(inputs)
        # Losses take logarithms and exponentials of sums over pairs: always in full precision.
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings, labels = gather(embeddings.float()), gather(labels)
            value: Tensor = self.loss(embeddings, labels)
            if self.penalty is not None and self.penalty_weight:
                value = value + self.penalty_weight * self.penalty(embeddings)
        if not torch.isfinite(value):
            raise LossDivergedError(
                f"the loss {type(self.loss).__name__} became {value.item()} at step {self.global_step} (epoch "
                f"{self.current_epoch}); lower the learning rates, or check the inputs. "
                + (f"The last good epoch is in {self.checkpoint}" if self.history else "No epoch was finished")
            )
        self.losses.append(value.detach())
        return value

    def on_train_epoch_end(self) -> None:
        record = {"epoch": float(self.current_epoch), "loss": float(torch.stack(self.losses).mean())}
        if self.validate is not None:
            self.network.eval()
            record["validation_map"] = self.validate(self.network)
            self.network.train()
        self.history.append(record)
        self.log_dict({key: record[key] for key in record if key != "epoch"})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["h2q_history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["h2q_history"]


def parameter_groups(network: nn.Module, loss: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Sort parameters by learning rate: the body, the hash layer, the loss's own (which have no weight decay)."""
    if isinstance(network, HashNetwork):
        fast: nn.Module | None = network.head
    elif isinstance(network, HashHead) and network.hidden_widths:
        fast = network.hash_layer
    else:
        fast = None
    fast_parameters = list((fast or network).parameters())
    chosen = {id(parameter) for parameter in fast_parameters}
    slow_parameters = [p for p in network.parameters() if id(p) not in chosen and p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": fast_parameters, "lr": settings.hash_learning_rate}]
    if slow_parameters:
        groups.append({"params": slow_parameters, "lr": settings.learning_rate})
    own = list(loss.parameters())
    if own:
        groups.append({"params": own, "lr": settings.loss_learning_rate, "weight_decay": 0.0})
    return groups


def _fit(
    module: _Similarity,
    batches: Any,
    folder: Path,
    last: Path | None,
    log: str | None,
    hardware: Hardware,
    progress: bool,
) -> None:
    """Run Lightning's loop, then put the best epoch's weights and the whole history into `module`."""
    settings = module.settings
    module.checkpoint = str(folder / "last.ckpt")
    every_epoch: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    callbacks: list[Callback] = [ModelCheckpoint(folder, "last", **every_epoch)]
    if module.validate is not None:
        callbacks.insert(0, ModelCheckpoint(folder, "best", monitor="validation_map", mode="max", **every_epoch))
    if module.validate is not None and settings.patience is not None:
        callbacks.append(
            EarlyStopping(
                "validation_map", mode="max", patience=settings.patience, min_delta=settings.min_delta,
                check_on_train_epoch_end=True, verbose=False,
            )
        )  # fmt: skip
    together = hardware.devices > 1
    steps = len(batches) * settings.epochs
    shown = progress and not together
    with (
        _caller_undisturbed(module.random_state, hardware.threads),
        progress_bar("training", steps, enabled=shown) as advance,
    ):
        if not together:
            callbacks.append(LambdaCallback(on_train_batch_end=lambda *_: advance(1)))
        trainer = pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            strategy="ddp_spawn" if together else "auto",
            precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=settings.epochs,
            callbacks=callbacks,
            logger=_logger(folder, log),
            log_every_n_steps=1,
            deterministic="warn",
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, batches, ckpt_path=last, weights_only=True)
        if trainer.interrupted:
            raise KeyboardInterrupt
    module.cpu()
    final = read_checkpoint(folder / "last.ckpt")
    module.history = final["h2q_history"]
    if module.validate is not None:
        final = read_checkpoint(folder / "best.ckpt")
    module.load_state_dict(final["state_dict"])


def _open_folder(folder: Path, resume: bool, identity: Mapping[str, Any]) -> Path | None:
    """Return the checkpoint to go on from, None for a fresh start; refuse to mix two runs."""
    folder.mkdir(parents=True, exist_ok=True)
    described, last = folder / "training.json", folder / "last.ckpt"
    plain = json.loads(json.dumps(identity))
    if not described.exists():
        write_json(described, plain)
        return None
    if not resume and last.exists():
        raise ValueError(f"{folder} holds a training run already; pass resume=True to go on with it, or another folder")
    before = read_json(described)
    changed = sorted(key for key in {*before, *plain} if before.get(key) != plain.get(key))
    if changed and last.exists():
        raise ValueError(
            f"{folder} holds a run with another {' and '.join(changed)}; resume it with the arguments it was begun "
            "with, or pass another folder"
        )
    write_json(described, plain)
    if not last.exists():
        return None
    read_checkpoint(last)  # A damaged file gets our message, not Lightning's.
    return last


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `fit_network`: tensors and plain values only, so that loading runs no code."""
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise FileFormatError(f"{path} is not a checkpoint that reads, or it is truncated: {error}") from error
    return checkpoint


def _logger(folder: Path, log: str | None) -> Logger | bool:
    if log is None:
        return False
    if log == "csv":
        return CSVLogger(folder, name="logs")
    if log == "tensorboard":
        require("tensorboard", "logs")
        return TensorBoardLogger(folder, name="logs")
    raise ValueError(f'log must be "csv", "tensorboard" or None; got {log!r}')


@contextmanager
def _caller_undisturbed(random_state: int, threads: int | None) -> Iterator[None]:
    """Seed torch for the block; give back its random state, switches and Lightning's logging after."""
    logger = logging.getLogger("lightning.pytorch")
    level, deterministic = logger.level, torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    n_threads = torch.get_num_threads()
    logger.setLevel(logging.ERROR)
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        with torch.random.fork_rng(), warnings.catch_warnings():
            # Advice on workers, logging intervals and unused GPUs: chosen here, not by who calls.
            warnings.filterwarnings("ignore", module="lightning")
            torch.manual_seed(random_state)
            yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
