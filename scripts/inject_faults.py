"""Kill and interrupt the commands of h2q at random moments, and check what remains.

    python scripts/inject_faults.py --moments 50
    python scripts/inject_faults.py --commands encode fit --signals KILL

After SIGKILL, the same command must work, and leave no temporary file. After SIGINT and SIGTERM, the command must end
within ten seconds with exit code 130 or 143 and one line (or 0, if it was done), its output must be whole or absent,
and no temporary file may remain. "save" saves a quantizer over and over. Each command runs in a fork of this process,
so that moments fall into the work and not into imports.
"""

import argparse
import contextlib
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

WATCHDOG_SECONDS = 10.0
SIGNALS = {"KILL": signal.SIGKILL, "INT": signal.SIGINT, "TERM": signal.SIGTERM}
TEMPORARY = re.compile(r"\..*\.tmp")
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


@dataclass(frozen=True)
class Command:
    """A command to disturb.

    Attributes
    ----------
    arguments : tuple of str
        What follows ``h2q``.
    output : str or None
        The file or folder that it writes.
    """

    arguments: tuple[str, ...]
    output: str | None = None


COMMANDS = {
    "fit": Command(("fit", "x.npy", "--bits", "32", "-o", "new.safetensors"), "new.safetensors"),
    "encode": Command(("encode", "x.npy", "-q", "q.safetensors", "-o", "new.npy"), "new.npy"),
    "search": Command(("search", "index", "x.npy", "-k", "5", "-o", "new.npz"), "new.npz"),
    "compare": Command(("compare", "x.npy", "--bits", "16")),
    "evaluate": Command(
        ("evaluate", "few.npy", "x.npy", "--query-labels", "few_labels.npy", "--database-labels", "y.npy")
    ),
    "inspect": Command(("inspect", "codes.npy", "--labels", "y.npy")),
    "info": Command(("info", "q.safetensors")),
    "embed": Command(("embed", "images", "-o", "new.npy"), "new.npy"),
    "experiment": Command(("experiment", "run", "plan.toml", "-o", "experiment"), "experiment"),
}
QUICK = ["save", "fit", "encode", "search", "compare", "evaluate", "inspect", "info"]


@dataclass
class Outcome:
    """What came of the trials of a command."""

    trials: int = 0
    in_time: int = 0
    faults: list[str] = field(default_factory=list)


def prepare(folder: Path) -> None:
    """Write the inputs of all commands."""
    from PIL import Image
    from sklearn.datasets import load_digits

    from h2q import BinaryIndex, HouseholderQuantizer
    from h2q.files import write_npy

    digits = load_digits()
    X = np.tile(digits.data.astype(np.float32), (20, 1))
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", np.tile(digits.target, 20))
    np.save(folder / "few.npy", X[:200])
    np.save(folder / "few_labels.npy", digits.target[:200])
    quantizer = HouseholderQuantizer(32, random_state=0).fit(X)
    quantizer.save(folder / "q.safetensors")
    codes = quantizer.encode(X)
    with write_npy(folder / "codes.npy", codes.shape, codes.dtype) as write:
        write(codes)
    index = BinaryIndex(quantizer=quantizer)
    index.add(X)
    index.save(folder / "index")
    (folder / "images").mkdir()
    for number, image in enumerate(digits.images[:60]):
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / "images" / f"{number}.png")
    (folder / "plan.toml").write_text(PLAN)


def spawn(work: Callable[[], None], folder: Path) -> int:
    """Run `work` in a fork, with its output in files; return the process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()
        code = 0
    except SystemExit as exiting:
        code = exiting.code if isinstance(exiting.code, int) else int(exiting.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float) -> int | None:
    """Return the exit code of a process, negative for a signal; None if it does not end in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def work_of(name: str) -> Callable[[], None]:
    """Return what a command does in its process."""

    def save() -> None:
        from h2q import load_quantizer

        quantizer = load_quantizer("q.safetensors")
        for _ in range(30):
            quantizer.save("saved.safetensors")

    def command() -> None:
        from h2q.cli import main

        sys.argv = ["h2q", *COMMANDS[name].arguments]
        main()

    return save if name == "save" else command


def debris(folder: Path) -> list[str]:
    """Return the temporary files below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if TEMPORARY.fullmatch(path.name)]


def is_whole(path: Path) -> bool:
    """Return whether a file can be read, or is absent."""
    from h2q.files import open_array, read_tensors

    if path.suffix == ".safetensors" and path.exists():
        read_tensors(path)
    elif path.suffix in (".npy", ".npz") and path.exists():
        open_array(path if path.suffix == ".npy" else f"{path}:ids")
    return True


def disturb(name: str, folder: Path, sent: signal.Signals, seconds: float) -> tuple[bool, list[str]]:
    """Run a command, send it a signal after some time; return whether it was still running, and what is wrong."""
    child = spawn(work_of(name), folder)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, sent)
    code = wait(child, WATCHDOG_SECONDS)
    if code is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True, [f"{name} hangs after {sent.name} at {seconds:.3f} s"]
    faults = []
    running = code != 0
    expected = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}[sent]
    errors = (folder / ".stderr").read_text(errors="replace")
    if name == "save" and sent != signal.SIGKILL:
        running = True  # a library call has no exit code: the exception, or the signal, ends the process
    elif code not in (0, expected):
        faults.append(f"{name} ended with {code} after {sent.name} at {seconds:.3f} s: {errors[-500:]}")
    elif code and sent != signal.SIGKILL:
        lines = [line for line in errors.splitlines() if not line.startswith("warning: ")]
        if lines != ["interrupted" if sent == signal.SIGINT else "terminated"]:
            faults.append(f"{name} said after {sent.name} at {seconds:.3f} s: {errors[-500:]}")
        if left := debris(folder):
            faults.append(f"{name} left {left} after {sent.name} at {seconds:.3f} s")
    output = "saved.safetensors" if name == "save" else COMMANDS[name].output
    if output is not None:
        try:
            is_whole(folder / output)
        except (ValueError, OSError) as error:
            faults.append(f"{name} after {sent.name} at {seconds:.3f} s: {error}")
    if sent == signal.SIGKILL:
        again = wait(spawn(work_of(name), folder), 300)
        if again != 0:
            faults.append(f"{name} after a kill at {seconds:.3f} s: {(folder / '.stderr').read_text()[-500:]}")
        if left := debris(folder):
            faults.append(f"the next {name} after a kill at {seconds:.3f} s left {left}")
    return running, faults


def run(name: str, folder: Path, *, moments: int, signals: list[str], draw: random.Random) -> Outcome:
    """Disturb a command at random moments."""
    began = time.monotonic()
    code = wait(spawn(work_of(name), folder), 300)
    duration = time.monotonic() - began
    outcome = Outcome()
    if code != 0:
        outcome.faults.append(f"{name} fails undisturbed: {(folder / '.stderr').read_text()[-500:]}")
        return outcome
    for number in range(moments):
        for sent in signals:
            if name == "experiment" and number:
                for path in (folder / "experiment").rglob("*.safetensors"):
                    path.unlink()
                (folder / "experiment" / "results.jsonl").unlink(missing_ok=True)
            running, faults = disturb(name, folder, SIGNALS[sent], draw.uniform(0, duration))
            outcome.trials += 1
            outcome.in_time += running
            outcome.faults += faults
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50, help="for each command and signal")
    parser.add_argument("--commands", nargs="*", default=[*QUICK, "embed", "experiment"], choices=["save", *COMMANDS])
    parser.add_argument("--signals", nargs="*", default=list(SIGNALS), choices=list(SIGNALS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="h2q-faults-") as temporary:
        folder = Path(temporary)
        os.environ["H2Q_DATA"] = str(folder / "cache")
        # In a process of its own: a fork of a process with threads would lose them.
        prepared = os.fork()
        if prepared == 0:
            prepare(folder)
            os._exit(0)
        os.waitpid(prepared, 0)
        import h2q.cli  # imports before the forks
        import h2q.quantization.files

        h2q.cli.build_app()
        for name in options.commands:
            outcome = run(
                name, folder, moments=options.moments, signals=options.signals, draw=random.Random(options.seed)
            )
            bad += len(outcome.faults)
            counts = f"{outcome.trials:5} signals, {outcome.in_time:5} while it ran, {len(outcome.faults):3} faults"
            print(f"{name:12} {counts}", flush=True)
            for fault in outcome.faults[:5]:
                print(f"  {fault}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
