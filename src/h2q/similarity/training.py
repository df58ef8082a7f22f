"""Similarity learning: a Lightning loop that trains any network with any loss, and resumes where it was killed."""

import copy
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, LambdaCallback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn

from h2q.errors import require
from h2q.progress import progress_bar
from h2q.similarity.checkpoints import CheckpointFiles, open_folder, read_checkpoint
from h2q.similarity.distributed import gather, process_rank
from h2q.similarity.heads import HashHead, HashNetwork
from h2q.similarity.interrupts import interrupts_kept
from h2q.similarity.penalties import WeightedPenalty
from h2q.similarity.presets import TrainingSettings
from h2q.similarity.runs import Hardware, RunOptions, TrainingHistory

__all__ = ["LossDivergedError", "Objective", "fit_network"]


class LossDivergedError(ValueError):
    """The loss became NaN or infinite; the message names the loss, the step and the checkpoint that is left.

    Examples
    --------
    >>> issubclass(LossDivergedError, ValueError)
    True
    """


@dataclass(frozen=True)
class Objective:
    """The function that a training minimizes.

    Attributes
    ----------
    loss : Module
        ``loss(embeddings, labels)``, a scalar. Changed in place: its proxies are trained, its state is updated.
    penalty : WeightedPenalty, optional
        A quantization penalty, for baselines.
    first_epoch : int
        Number of epochs that the loss was trained for before; its schedules by epochs continue from there.
    """

    loss: nn.Module
    penalty: WeightedPenalty | None = None
    first_epoch: int = 0

    def __call__(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the value for a batch: the loss, plus the weighted penalty."""
        if self.penalty is not None:
            embeddings = self.penalty.activate(embeddings)
        value: Tensor = self.loss(embeddings, labels)
        return value if self.penalty is None else value + self.penalty(embeddings)

    def watch(self, network: nn.Module) -> None:
        """Tell the loss the network's hash layer, if its formula has the weights of that layer."""
        head = network.head if isinstance(network, HashNetwork) else network
        watch = getattr(self.loss, "watch_hash_layer", None)
        if callable(watch) and isinstance(head, HashHead):
            watch(head.hash_layer)

    def start_epoch(self, epoch: int, n_epochs: int) -> None:
        """Tell the loss that an epoch of this training begins."""
        step_epoch = getattr(self.loss, "step_epoch", None)
        if callable(step_epoch):
            step_epoch(self.first_epoch + epoch, self.first_epoch + n_epochs)


def fit_network(
    network: nn.Module,
    batches: Any,
    objective: Objective,
    settings: TrainingSettings,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    keep_initial: bool = False,
    random_state: int = 0,
    identity: Mapping[str, Any] | None = None,
    run: RunOptions = RunOptions(),  # noqa: B008, frozen
) -> TrainingHistory:
    """Train a network and its loss in place. The caller's random state, torch's global one included, is preserved.

    Parameters
    ----------
    network : Module
        Maps a batch's inputs to embeddings (n, k). Afterwards it has the weights of the best epoch (of the last one
        without validation), and is in evaluation mode.
    batches : iterable of (inputs, labels)
        With ``sampler.set_epoch``: `TensorBatches` or `image_batches`.
    objective : Objective
        The loss and its penalty. Afterwards the loss has the state of the best epoch, too.
    settings : TrainingSettings
        With a number of epochs, see `TrainingSettings.for_items`.
    validate : callable, optional
        Maps the network in evaluation mode to a score, after each epoch; the weights of its best epoch are kept.
    keep_initial : bool
        Whether the weights before training are a candidate as well, so that the result never validates worse.
    random_state : int
        Same seed, same data, same weights on the same machine.
    identity : mapping, optional
        All that changes the result; a run in the folder with another identity is not resumed.
    run : RunOptions
        Folder, resume, log, hardware, progress.

    Returns
    -------
    TrainingHistory
        The epochs, and which one was kept.

    Raises
    ------
    LossDivergedError
        If the loss is NaN or infinite.
    ValueError
        If the folder holds another run.
    """
    began = time.perf_counter()
    objective.watch(network)
    module = _Similarity(network, objective, settings, validate, random_state)
    initial_map, initial = None, None
    if keep_initial and validate is not None:
        initial_map, initial = validate(network.eval()), copy.deepcopy(module.state_dict())
    if run.folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            _fit(module, batches, Path(temporary), None, run)
    else:
        folder = Path(run.folder)
        last = open_folder(folder, run.resume, {**(identity or {}), "random_state": random_state})
        _fit(module, batches, folder, last, run)
    epochs = tuple(module.epochs)
    best = max(range(len(epochs)), key=lambda epoch: epochs[epoch].get("validation_map", epoch))
    best_map = epochs[best].get("validation_map")
    if initial is not None and initial_map is not None and best_map is not None and initial_map >= best_map:
        module.load_state_dict(initial)
        best, best_map = -1, initial_map
    network.eval()
    return TrainingHistory(epochs, best, best_map, time.perf_counter() - began, initial_map)


class _Similarity(pl.LightningModule):
    """The body of the loop: loss of the joint batch, validation after each epoch, random numbers seeded by epoch."""

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        settings: TrainingSettings,
        validate: Callable[[nn.Module], float] | None,
        random_state: int,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.objective = network, objective.loss, objective
        self.settings, self.validate, self.random_state = settings, validate, random_state
        self.epochs: list[dict[str, float]] = []
        self.losses: list[Tensor] = []
        self.checkpoint = ""

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.network, self.loss, self.settings)
        return make_optimizer(groups, self.settings, lambda: int(self.trainer.estimated_stepping_batches))

    def on_train_epoch_start(self) -> None:
        # Dropout differs between processes and epochs, but not between a resumed run and an uninterrupted one.
        sequence = np.random.SeedSequence((self.random_state, self.current_epoch, process_rank()))
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        self.losses = []
        self.objective.start_epoch(self.current_epoch, _epochs(self.settings))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        inputs, labels = batch
        embeddings = self.network(inputs)
        # Losses take logarithms and exponentials of sums over pairs: always in full precision.
        with torch.autocast(embeddings.device.type, enabled=False):
            value = self.objective(gather(embeddings.float()), gather(labels))
        if not torch.isfinite(value):
            raise LossDivergedError(
                f"the loss {type(self.loss).__name__} became {value.item()} at step {self.global_step} (epoch "
                f"{self.current_epoch}); lower the learning rates, or check the inputs. "
                + (f"The last good epoch is in {self.checkpoint}" if self.epochs else "No epoch was finished")
            )
        self.losses.append(value.detach())
        return value

    def on_train_epoch_end(self) -> None:
        record = {"epoch": float(self.current_epoch), "loss": float(torch.stack(self.losses).mean())}
        if self.validate is not None:
            self.network.eval()
            record["validation_map"] = self.validate(self.network)
            self.network.train()
        self.epochs.append(record)
        self.log_dict({key: record[key] for key in record if key != "epoch"})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["h2q_history"] = self.epochs

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.epochs = checkpoint["h2q_history"]


def parameter_groups(network: nn.Module, loss: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Sort parameters by learning rate: the hash layer (or head), the rest of the network, the loss's own."""
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
        groups.append({"params": own, "lr": settings.loss_learning_rate, "weight_decay": settings.loss_weight_decay})
    return groups


def make_optimizer(groups: list[dict[str, Any]], settings: TrainingSettings, n_steps: Callable[[], int]) -> Any:
    """Return the optimizer of the settings, with its schedule in the form that Lightning takes.

    Parameters
    ----------
    groups : list of dict
        Parameters with their learning rates.
    settings : TrainingSettings
        Optimizer, weight decay, schedule.
    n_steps : callable
        Returns the number of steps of the whole training, for the cosine.
    """
    decay = settings.weight_decay
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, momentum=settings.momentum, weight_decay=decay)
    elif settings.optimizer == "rmsprop":
        optimizer = torch.optim.RMSprop(groups, weight_decay=decay)
    elif settings.optimizer == "adam":
        optimizer = torch.optim.Adam(groups, weight_decay=decay, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, weight_decay=decay, fused=True)
    if settings.schedule == "constant":
        return optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    if settings.schedule == "step":
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.step_epochs, settings.step_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps())
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _epochs(settings: TrainingSettings) -> int:
    if settings.epochs is None:
        raise ValueError("settings have no number of epochs; pass settings.for_items(n)")
    return settings.epochs


def _fit(module: _Similarity, batches: Any, folder: Path, last: Path | None, run: RunOptions) -> None:
    """Run Lightning's loop, then put the weights of the best epoch and the history of all epochs into `module`."""
    hardware = run.hardware or Hardware()
    n_epochs = _epochs(module.settings)
    together = hardware.devices > 1
    module.checkpoint = str(folder / "last.ckpt")
    callbacks = _callbacks(folder, module.settings, validates=module.validate is not None)
    with (
        _caller_undisturbed(module.random_state, hardware.threads),
        progress_bar("training", len(batches) * n_epochs, enabled=run.progress and not together) as advance,
    ):
        if not together:
            callbacks.append(LambdaCallback(on_train_batch_end=lambda *_: advance(1)))
        trainer = pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            strategy="ddp_spawn" if together else "auto",
            precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=n_epochs,
            callbacks=callbacks,
            plugins=[CheckpointFiles()],
            logger=_logger(folder, run.log),
            log_every_n_steps=1,
            deterministic="warn",
            use_distributed_sampler=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with interrupts_kept():
            trainer.fit(module, batches, ckpt_path=last, weights_only=True)
            del trainer, callbacks  # their finalizers run here, where an interrupt is not lost in them
    module.cpu()
    final = read_checkpoint(folder / "last.ckpt")
    module.epochs = final["h2q_history"]
    if module.validate is not None:
        final = read_checkpoint(folder / "best.ckpt")
    module.load_state_dict(final["state_dict"])


def _callbacks(folder: Path, settings: TrainingSettings, *, validates: bool) -> list[Callback]:
    """Return the checkpoints of the last and the best epoch, and early stopping."""
    every_epoch: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    callbacks: list[Callback] = [ModelCheckpoint(folder, "last", **every_epoch)]
    if not validates:
        return callbacks
    callbacks.insert(0, ModelCheckpoint(folder, "best", monitor="validation_map", mode="max", **every_epoch))
    if settings.patience is not None:
        callbacks.append(
            EarlyStopping(
                "validation_map", mode="max", patience=settings.patience, min_delta=settings.min_delta,
                check_on_train_epoch_end=True, verbose=False,
            )
        )  # fmt: skip
    return callbacks


def _logger(folder: Path, log: str | None) -> Logger | bool:
    if log is None:
        return False
    if log == "csv":
        return CSVLogger(folder, name="logs")
    require("tensorboard", "logs")
    return TensorBoardLogger(folder, name="logs")


@contextmanager
def _caller_undisturbed(random_state: int, threads: int | None) -> Iterator[None]:
    """Seed torch for the block; afterwards restore its random state, its switches and Lightning's logging."""
    logger = logging.getLogger("lightning.pytorch")
    level, deterministic = logger.level, torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    n_threads = torch.get_num_threads()
    logger.setLevel(logging.ERROR)
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        with torch.random.fork_rng(), warnings.catch_warnings():
            # Lightning's advice on workers, logging intervals and unused GPUs: chosen here, not by the caller.
            warnings.filterwarnings("ignore", module="lightning")
            torch.manual_seed(random_state)
            yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(n_threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
