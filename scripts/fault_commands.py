"""The commands and saves that `inject_faults.py` disturbs: what they run and write, and what must be there after.

Every command of ``h2q`` must be in `COMMANDS`; `missing_commands` compares them with the command line itself.
"""

import hashlib
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PLAN = """
name = "small"
[grid]
datasets = ["digits"]
losses = ["DPSH"]
bits = [16]
seeds = [0]
quantizers = ["real", "sign", "h2q-l2"]
[training]
image_size = 32
epochs = 1
min_steps = 0
hidden = [32]
[scoring]
k = 100
"""
STOPPING = {signal.SIGINT, signal.SIGTERM}
RUN = ("experiment", "run", "plan.toml", "-o", "new")
TRAIN = ("train", "digits", "--image-size", "32", "--bits", "16", "--epochs", "2")


@dataclass(frozen=True)
class Command:
    """A command to disturb.

    Attributes
    ----------
    arguments : tuple of str
        What follows ``h2q``.
    outputs : tuple of str
        Files and folders that it writes; deleted before each trial. The first is compared with that of an undisturbed
        run.
    changes : str or None
        The folder that it changes; restored before each trial, and compared as the outputs are.
    again : tuple of str
        Further arguments after a kill, to continue.
    """

    arguments: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    changes: str | None = None
    again: tuple[str, ...] = ()

    @property
    def compared(self) -> str | None:
        """What is compared with an undisturbed run."""
        return self.changes or (self.outputs[0] if self.outputs else None)


COMMANDS = {
    "check": Command(("check", "index")),
    "compare": Command(("compare", "x.npy", "--bits", "16")),
    "demo": Command(("demo", "-o", "new-demo", "--seeds", "1"), ("new-demo",)),
    "drift": Command(("drift", "index", "x.npy")),
    "embed": Command(("embed", "images", "-o", "new.npy"), ("new.npy", "cache/features")),
    "encode": Command(("encode", "x.npy", "-q", "q.safetensors", "-o", "new.npy"), ("new.npy",)),
    "evaluate": Command(
        ("evaluate", "few.npy", "x.npy", "--query-labels", "few_labels.npy", "--database-labels", "y.npy")
    ),
    "experiment compare": Command(("experiment", "compare", "done", "done")),
    "experiment report": Command(("experiment", "report", "done", "-o", "new-report"), ("new-report",)),
    "experiment run": Command(RUN, ("new",)),
    "experiment show": Command(("experiment", "show", "plan.toml")),
    "experiment status": Command(("experiment", "status", "done")),
    "export-site": Command(("export-site", "images.h2q", "new-site"), ("new-site",)),
    "fit": Command(("fit", "x.npy", "--bits", "32", "-o", "new.safetensors"), ("new.safetensors",)),
    "images duplicates": Command(("images", "duplicates", "images.h2q")),
    "images index": Command(("images", "index", "images", "-o", "new.h2q"), ("new.h2q",)),
    "images search": Command(("images", "search", "images.h2q", "images/0.png")),
    "index append": Command(("index", "append", "index", "few.npy"), changes="index"),
    "index build": Command(
        ("index", "build", "x.npy", "-q", "q.safetensors", "-o", "new", "--keep-embeddings"), ("new",)
    ),
    "index compact": Command(("index", "compact", "index"), changes="index"),
    "index remove": Command(("index", "remove", "index", "1,2,3"), changes="index"),
    "info": Command(("info", "q.safetensors")),
    "inspect": Command(("inspect", "codes.npy", "--labels", "y.npy")),
    "plan": Command(("plan", "--items", "1e9", "--bits", "64")),
    "search": Command(("search", "index", "x.npy", "-k", "5", "-o", "new.npz"), ("new.npz",)),
    # A server has no end of its own; this much of it has.
    "serve": Command(("serve", "images.h2q", "--openapi", "new.json"), ("new.json",)),
    "texts duplicates": Command(("texts", "duplicates", "texts.h2q")),
    "texts index": Command(("texts", "index", "texts.txt", "-o", "new.h2q"), ("new.h2q",)),
    "texts search": Command(("texts", "search", "texts.h2q", "digit 3")),
    "tune": Command(("tune", "x.npy", "--bytes", "4", "--methods", "sign,random")),
    "train": Command((*TRAIN, "-o", "new"), ("new", "new.run"), again=("--resume",)),
    # Further ways through the same commands.
    "encode, shards": Command(("encode", "x.npy", "-q", "q.safetensors", "-o", "new", "--shard-rows", "900"), ("new",)),
    "experiment run, two processes": Command((*RUN, "-p", "2"), ("new",)),
    "train, fine-tuned": Command(
        (*TRAIN[:-1], "1", "--fine-tune", "1", "-o", "new"), ("new", "new.run"), again=("--resume",)
    ),
    "check --repair": Command(("check", "damaged", "--repair"), changes="damaged"),
}


def missing_commands() -> set[str]:
    """Return the commands of ``h2q`` that are not in `COMMANDS`, and the names there that are no commands."""
    import typer

    from h2q.cli import build_app

    names = set()
    for name, command in typer.main.get_command(build_app()).commands.items():
        names |= {f"{name} {part}" for part in getattr(command, "commands", {})} or {name}
    run = {tuple(command.arguments[: len(name.split())]) for name in names for command in COMMANDS.values()}
    return {name for name in names if tuple(name.split()) not in run or name not in COMMANDS}


def run_command(name: str, *, again: bool = False) -> None:
    """Run a command as the program does, perhaps after a kill."""
    from h2q.cli import main
    from h2q.cli.interrupts import Interrupts

    install = Interrupts.install

    def install_and_listen(interrupts: Interrupts) -> None:
        install(interrupts)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    Interrupts.install = install_and_listen  # type: ignore[method-assign]
    command = COMMANDS[name]
    sys.argv = ["h2q", *command.arguments, *(command.again if again else ())]
    main()


def save_quantizer() -> None:
    """Save a quantizer over and over; after Ctrl-C, once more."""
    from h2q import load_quantizer

    quantizer = load_quantizer("q.safetensors")
    repeat(lambda number: quantizer.save("saved.safetensors"), 100)


def save_hasher() -> None:
    """Save a hasher over and over; after Ctrl-C, once more."""
    from h2q import ImageHasher

    hasher = ImageHasher.load("hasher")
    repeat(lambda number: hasher.save("saved"), 30)


def save_index() -> None:
    """Add ten items, remove one and save, over and over; note each save that is done."""
    from h2q import BinaryIndex

    index, codes = BinaryIndex.open("saved"), np.load("codes.npy")

    def change(number: int) -> None:
        first = 1_000_000 + 10 * number
        if first not in index:
            index.add(codes[10 * number : 10 * number + 10], ids=range(first, first + 10))
            index.remove([number])
        if number % 7 == 6:
            index.compact()
        index.save()
        with Path("acknowledged").open("a") as notes:
            notes.write(f"{number}\n")

    repeat(change, 40)


def repeat(save: Callable[[int], Any], times: int) -> None:
    """Save so many times; where Ctrl-C comes, the same save must succeed when it is repeated."""
    number = 0
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        for number in range(times):
            save(number)
    except KeyboardInterrupt:
        save(number)
        raise SystemExit(130) from None


SAVES: dict[str, tuple[Callable[[], None], Command]] = {
    "save quantizer": (save_quantizer, Command((), ("saved.safetensors",))),
    "save hasher": (save_hasher, Command((), ("saved",))),
    "save index": (save_index, Command((), ("acknowledged",), changes="saved")),
}


def state_of(path: Path) -> str:
    """Return what a file or folder holds, as a checksum: equal where a reader sees the same.

    Raises
    ------
    ValueError, OSError
        If it cannot be read, or a part of it is damaged.
    """
    if not path.exists():
        return "absent"
    if (path / "manifest.json").exists():
        return _state_of_index(path)
    if path.is_dir() and any((path / name).exists() for name in ("hasher.json", "plan.json")):
        return _state_of_run(path)
    if (path / "shards.json").exists():
        from h2q.encoding import read_shards

        return digest(*(items.codes for items, _ in read_shards(path)))
    if path.is_dir():
        return "files: " + ", ".join(sorted(file.name for file in path.iterdir()))
    return digest(path.name, *_arrays_of(path))


def _state_of_index(path: Path) -> str:
    from h2q import BinaryIndex
    from h2q.index import check_index

    result = check_index(path)
    if result.damages and "damaged" not in path.name:
        raise ValueError(f"{path} is damaged: {result.damages}")
    if result.damages:
        return f"damaged, {result.items} items"
    index = BinaryIndex.open(path)
    return f"{len(index)} items {digest(index.ids, index.codes(index.ids))}"


def _state_of_run(path: Path) -> str:
    from h2q.experiments.store import ExperimentFolder

    if (path / "hasher.json").exists():
        from h2q import ImageHasher

        hasher = ImageHasher.load(path)
        return digest(*(value.numpy() for value in hasher.head_.state_dict().values()))
    store = ExperimentFolder(path)
    store.plan()
    return f"{len(store.finished())} cells"


def _arrays_of(path: Path) -> list[Any]:
    from h2q.files import open_array, read_tensors

    if path.suffix == ".safetensors":
        return [value for _, value in sorted(read_tensors(path).tensors.items())]
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return [archive[name] for name in sorted(archive)]
    return [open_array(path).read()] if path.suffix == ".npy" else [np.frombuffer(path.read_bytes(), np.uint8)]


def digest(*values: Any) -> str:
    """Return a checksum of strings and arrays."""
    result = hashlib.sha256()
    for value in values:
        result.update(value.encode() if isinstance(value, str) else np.ascontiguousarray(value).tobytes())
    return result.hexdigest()[:16]


def index_fault(folder: Path) -> str | None:
    """Return what is wrong with the index of `save_index`, given the saves that were acknowledged."""
    from h2q import BinaryIndex

    notes = folder / "acknowledged"
    done = len(set(notes.read_text().split())) if notes.exists() else 0
    ids = BinaryIndex.open(folder / "saved").ids
    added = int(np.count_nonzero(ids >= 1_000_000))
    # One more save may have been committed before it could be acknowledged.
    if added not in (10 * done, 10 * done + 10) or int(ids[0]) != added // 10:
        return f"{done} saves were acknowledged, and the index has the items of {added / 10}"
    return None


def prepare(folder: Path) -> None:
    """Write the inputs of all commands."""
    from PIL import Image
    from sklearn.datasets import load_digits

    from h2q import BinaryIndex, HouseholderQuantizer
    from h2q.files import write_npy

    digits = load_digits()
    X = np.tile(digits.data.astype(np.float32), (4, 1))
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", np.tile(digits.target, 4))
    np.save(folder / "few.npy", X[:200])
    np.save(folder / "few_labels.npy", digits.target[:200])
    quantizer = HouseholderQuantizer(32, random_state=0).fit(X)
    quantizer.save(folder / "q.safetensors")
    codes = quantizer.encode(X)
    with write_npy(folder / "codes.npy", codes.shape, codes.dtype) as write:
        write(codes)
    index = BinaryIndex(quantizer=quantizer)
    index.add(X)
    for name in ("index", "damaged"):
        index.save(folder / name)
    plain = BinaryIndex(32)
    plain.add(codes[:1000])
    plain.save(folder / "saved")
    segment = next((folder / "damaged").glob("segment-*"))
    content = bytearray(segment.read_bytes())
    content[-100] ^= 1
    segment.write_bytes(content)
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "images").mkdir()
    for number, image in enumerate(digits.images[:60]):
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / "images" / f"{number}.png")
    (folder / "plan.toml").write_text(PLAN)
    for name in ("index", "damaged", "saved"):
        shutil.copytree(folder / name, folder / "pristine" / name)


def prepare_learned(folder: Path) -> None:
    """Write the inputs that need a network: a hasher, an experiment and collections."""
    from h2q.collections import PictureCollection, TextCollection
    from h2q.datasets import load_dataset
    from h2q.experiments import load_plan, run_plan
    from h2q.hasher import ImageHasher

    run_plan(load_plan(folder / "plan.toml"), folder / "done", progress=False)
    ImageHasher(n_bits=16, image_size=32).fit(load_dataset("digits")).save(folder / "hasher")
    PictureCollection(folder / "images.h2q", folder / "images").update()
    (folder / "texts.txt").write_text("".join(f"a picture of the digit {number}\n" for number in range(60)))
    TextCollection(folder / "texts.h2q", folder / "texts.txt").update()


def reset(command: Command, folder: Path) -> None:
    """Bring the folder into the state before the command."""
    for name in command.outputs:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if command.changes:
        shutil.rmtree(folder / command.changes, ignore_errors=True)
        shutil.copytree(folder / "pristine" / command.changes, folder / command.changes)
