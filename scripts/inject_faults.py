"""Kill and interrupt the commands and saves of h2q at random moments, and check what remains.

    python scripts/inject_faults.py --moments 50
    python scripts/inject_faults.py --moments 300 --signals INT TERM --commands "save index" "save quantizer"
    python scripts/inject_faults.py --commands encode fit --signals KILL
    python scripts/inject_faults.py --start --moments 300

SIGINT goes to all processes of a command, as from a terminal; SIGTERM and SIGKILL to the first. After SIGINT and
SIGTERM, a command must end within ten seconds with exit code 130 or 143 and one line (or 0, if it was done). After each
signal, its output must be absent, that of before or that of an undisturbed run, no process of it may live, and no
temporary file may remain. After SIGKILL the same command must work, and leave what an undisturbed run leaves.

Each command runs in a fork of this process, so that moments fall into the work and not into imports; ``--start`` runs
the program itself, and counts what a signal does while Python starts. The commands are in `fault_commands.py`, which
must hold every command of the program.
"""

import argparse
import contextlib
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fault_commands import (
    COMMANDS,
    SAVES,
    STOPPING,
    Command,
    index_fault,
    missing_commands,
    prepare,
    prepare_learned,
    reset,
    run_command,
    state_of,
)

WATCHDOG_SECONDS = 10.0
LEARNED = ("experiment", "export-site", "train", "demo", "embed", "images")  # commands that need a network
PATIENCE_SECONDS = 600.0  # for an undisturbed run on a busy machine
SIGNALS = {"KILL": signal.SIGKILL, "INT": signal.SIGINT, "TERM": signal.SIGTERM}
LINES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}
TEMPORARY = re.compile(r"\..*\.tmp")
# Imported before the forks.
MODULES = ("h2q.cli", "h2q.quantization.files", "h2q.index", "h2q.report.document", "h2q.evaluation.average_precision")
LEARNING_MODULES = ("torch", "lightning.pytorch", "h2q.hasher.image_hasher", "h2q.experiments", "h2q.demo.run")


@dataclass
class Outcome:
    """Counts and faults of the trials of a command."""

    trials: int = 0
    in_time: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def spawn(work: Callable[[], None], folder: Path) -> int:
    """Run `work` in a fork, a process group of its own, with its output in files; return the process id."""
    # Blocked until the handlers of the program are there: `--start` sends signals before that.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        return child
    code = 1
    try:
        os.setpgid(0, 0)
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


def end_group(child: int, seconds: float) -> bool:
    """Return whether no process of a group lives after some time; end those that do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.killpg(child, 0)
        except (ProcessLookupError, PermissionError):
            return True
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return False


def read_state(path: Path, folder: Path) -> str:
    """Return `state_of` a path, or its error; in a process of its own, so that this one stays free of threads."""
    note = folder / ".state"
    note.unlink(missing_ok=True)

    def work() -> None:
        try:
            note.write_text(state_of(path))
        except Exception as error:
            note.write_text(f"error: {error}")

    wait(spawn(work, folder), PATIENCE_SECONDS)
    return note.read_text() if note.exists() else "error: reading it ended the process"


def debris(folder: Path) -> list[str]:
    """Return the temporary files below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if TEMPORARY.fullmatch(path.name)]


class Trials:
    """The trials of a command.

    Parameters
    ----------
    name : str
        The command, or the save.
    folder : Path
        Where it runs.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.outcome = name, folder, Outcome()
        self.is_save = name in SAVES
        self.work: Callable[[], None] = SAVES[name][0] if self.is_save else lambda: run_command(name)
        self.repeat = self.work if self.is_save else lambda: run_command(name, again=True)
        self.command: Command = SAVES[name][1] if self.is_save else COMMANDS[name]
        self.before = self.expected = "absent"
        self.duration = 0.0

    def begin(self) -> bool:
        """Run the command undisturbed; return whether that works."""
        reset(self.command, self.folder)
        self.before = self.state()
        began = time.monotonic()
        code = wait(spawn(self.work, self.folder), PATIENCE_SECONDS)
        self.duration = time.monotonic() - began
        said, self.expected = self.said(), self.state()
        if code != 0 or self.expected.startswith("error"):
            self.outcome.faults.append(f"fails undisturbed with {code}: {said} {self.expected}")
        return not self.outcome.faults

    def said(self) -> str:
        """Return the end of the standard error of the last run."""
        return (self.folder / ".stderr").read_text(errors="replace")[-600:]

    def state(self) -> str:
        """Return what the output holds now."""
        compared = self.command.compared
        return "absent" if compared is None else read_state(self.folder / compared, self.folder)

    def disturb(self, sent: signal.Signals, seconds: float) -> None:
        """Run the command, send it a signal after some time, and note what is wrong."""
        reset(self.command, self.folder)
        faults: list[str] = []
        child = spawn(self.work, self.folder)
        time.sleep(seconds)
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if sent == signal.SIGINT else os.kill)(child, sent)
        code = wait(child, WATCHDOG_SECONDS)
        self.outcome.slowest = max(self.outcome.slowest, time.monotonic() - began)
        if code is None:
            faults.append(f"hangs; said {self.said()}")
        if not end_group(child, WATCHDOG_SECONDS):
            faults.append("a process of it lives on")
        if code is None:
            os.waitpid(child, 0)
        elif sent != signal.SIGKILL and not (self.is_save and sent == signal.SIGTERM):
            faults += self.judge_ending(sent, code)
        state = self.state()
        if self.name == "save index" and (fault := index_fault(self.folder)):
            faults.append(fault)
        elif not self.is_partial(state):
            faults.append(f"left {state}; before: {self.before}, undisturbed: {self.expected}")
        if sent == signal.SIGKILL or self.is_save:
            # A change that is already there may be refused: items cannot be removed twice.
            faults += self.run_again(may_refuse=self.command.changes is not None and state == self.expected)
        elif left := debris(self.folder):
            faults.append(f"left {left}")
        self.outcome.trials += 1
        self.outcome.in_time += code != 0
        self.outcome.faults += [f"{sent.name} at {seconds:.3f} s of {self.duration:.3f} s: {fault}" for fault in faults]

    def judge_ending(self, sent: signal.Signals, code: int) -> list[str]:
        """Return what is wrong with exit code and message."""
        if code not in (0, CODES[sent]):
            return [f"ended with {code}: {self.said()}"]
        lines = [line for line in self.said().splitlines() if not line.startswith("warning: ")]
        if code and not self.is_save and lines != [LINES[sent]]:
            return [f"said: {self.said()}"]
        return []

    def is_partial(self, state: str) -> bool:
        """Return whether an interrupted run may leave this."""
        if state in (self.before, self.expected) or self.name == "save index":
            return True
        # A folder of several files is complete once its command is done.
        return state.startswith("files: ") or state.endswith(" cells")

    def run_again(self, *, may_refuse: bool) -> list[str]:
        """Run the command once more after a signal; return what is wrong."""
        faults = []
        code = wait(spawn(self.repeat, self.folder), PATIENCE_SECONDS)
        if code != 0 and not (may_refuse and code == 1):
            faults.append(f"the next run ended with {code}: {self.said()}")
        if (state := self.state()) != self.expected and self.command.changes is None:
            faults.append(f"the next run left {state}, undisturbed: {self.expected}")
        if left := debris(self.folder):
            faults.append(f"the next run left {left}")
        return faults


def count_starts(folder: Path, moments: int, draw: random.Random) -> Counter[str]:
    """Send signals to the program itself, from its first instant on; return how it ended, counted."""
    arguments = [sys.executable, "-c", "from h2q.cli import main; main()", "info", "q.safetensors"]
    began = time.monotonic()
    subprocess.run(arguments, cwd=folder, check=True, capture_output=True)
    duration = time.monotonic() - began
    counts: Counter[str] = Counter()
    for number in range(moments):
        sent = (signal.SIGINT, signal.SIGTERM)[number % 2]
        child = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds = draw.uniform(0, duration)
        time.sleep(seconds)
        child.send_signal(sent)
        errors = child.communicate(timeout=WATCHDOG_SECONDS)[1]
        if child.returncode == 0 and not errors:
            ending = "was done"
        elif child.returncode == CODES[sent] and errors.split() == [LINES[sent]]:
            ending = "one line"
        elif child.returncode == -sent and not errors:
            ending = "ended by the signal, no line"
        else:
            frames = re.findall(r'File "(?:.*/)?([^/"]*/[^/"]*)", line', errors)
            ending = f"exit code {child.returncode}, traceback that ends in {frames[-1] if frames else errors[:60]!r}"
        counts[f"{sent.name}: {ending}"] += 1
    return counts


def prepared(folder: Path, names: list[str]) -> None:
    """Write the inputs in processes of their own: a fork of a process with threads would lose them."""
    learned = {name for name in names if name.split()[0] in LEARNED} | {"save hasher"}
    works = [prepare] + [prepare_learned] * any(name in learned for name in names)
    for work in works:
        if wait(spawn(lambda work=work: work(folder), folder), PATIENCE_SECONDS) != 0:
            raise SystemExit(f"cannot prepare: {(folder / '.stderr').read_text()}")
    for module in MODULES + (LEARNING_MODULES if len(works) > 1 else ()):
        importlib.import_module(module)
    importlib.import_module("h2q.index").BinaryIndex.open(folder / "index").warm_up()  # loads kernels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=50, help="for each command and signal")
    parser.add_argument("--commands", nargs="*", default=[*SAVES, *COMMANDS], choices=[*SAVES, *COMMANDS])
    parser.add_argument("--signals", nargs="*", default=list(SIGNALS), choices=list(SIGNALS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", action="store_true", help="send signals to the program while it starts")
    options = parser.parse_args()
    if missing := missing_commands():
        raise SystemExit(f"fault_commands.py lacks: {', '.join(sorted(missing))}")
    draw, bad = random.Random(options.seed), 0
    folder = Path(tempfile.mkdtemp(prefix="h2q-faults-"))
    try:
        os.environ["H2Q_DATA"] = str(folder / "cache")
        prepared(folder, [] if options.start else options.commands)
        if options.start:
            for ending, count in sorted(count_starts(folder, options.moments, draw).items()):
                print(f"{count:5}  {ending}")
            return 0
        for name in options.commands:
            trials = Trials(name, folder)
            if trials.begin():
                for sent in options.signals * options.moments:
                    trials.disturb(SIGNALS[sent], draw.uniform(0, trials.duration))
            outcome = trials.outcome
            bad += len(outcome.faults)
            counts = f"{outcome.trials:5} signals, {outcome.in_time:5} while it ran, {len(outcome.faults):3} faults"
            print(f"{name:32} {counts}, slowest end {outcome.slowest:.1f} s of {trials.duration:.1f} s", flush=True)
            for fault in outcome.faults[:5]:
                print(f"  {fault}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
