"""Change the program in one place at a time, and see whether a test fails.

    pip install cosmic-ray
    python scripts/mutation.py RESULTS.jsonl [--modules PATTERN ...] [--share 0.3] [--seconds 3600]
    python scripts/mutation.py RESULTS.jsonl --again
    python scripts/mutation.py RESULTS.jsonl --report

The places and their replacements are those of cosmic-ray; of the replacements of one operator or number, one that a
person might write by mistake is drawn (``+`` becomes another arithmetic operator, never a shift). Each mutant runs in a
fork of a process that has imported all other packages, in a copy of the checkout, against the tests that mirror its
module. It counts as killed when a test fails, or when the tests take five times as long. Results are appended to the
file as they come: the same command continues where it was stopped, and skips what it tried on the same source. --again
tries the survivors once more, after tests were added, with more tests and the examples of the module.
"""

import argparse
import ast
import fnmatch
import gc
import hashlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# Tests of a module, those that mirror it first: the first pattern that fits counts. Paths below tests/. After "then",
# the tests that only those are given to which the others pass (--again).
TESTS = {
    "quantization/householder.py": "quantization/test_householder.py then quantization/test_sgd.py",
    "quantization/objectives.py": "quantization/test_objectives.py then quantization/test_quantizers.py",
    "quantization/procrustes.py": "quantization/test_procrustes.py then quantization/test_sgd.py",
    "quantization/sgd.py": "quantization/test_sgd.py then quantization/test_quantizers.py",
    "quantization/flips.py": "quantization/test_flips.py then quantization/test_refined.py",
    "quantization/refined.py": "quantization/test_refined.py then quantization/test_quantizers.py",
    "quantization/decoders.py": "quantization/test_flips.py quantization/test_refined.py",
    "quantization/scalars.py": "quantization/test_flips.py quantization/test_refined.py "
    "then hamming/test_asymmetric.py",
    "quantization/nested.py": "quantization/test_nested.py then quantization/test_sgd.py",
    "quantization/neighborhoods.py": "quantization/test_neighborhoods.py",
    "quantization/similar_rows.py": "quantization/test_similar_rows.py",
    "quantization/codes.py": "quantization/test_codes.py then quantization/test_quantizers.py",
    "quantization/threads.py": "quantization/test_threads.py then quantization/test_quantizers.py",
    "quantization/sampling.py": "quantization/test_sampling.py then quantization/test_quantizers.py",
    "quantization/reduction.py": "quantization/test_reduction.py then quantization/test_quantizers.py",
    "quantization/scoring.py": "quantization/test_scoring.py then quantization/test_quantizers.py",
    "quantization/registry.py": "quantization/test_registry.py then quantization/test_quantizers.py",
    "quantization/files.py": "quantization/test_quantizers.py then files/test_tensors.py quantization/test_scoring.py",
    "quantization/*": "quantization/test_quantizers.py then quantization/test_scoring.py quantization/test_registry.py "
    "quantization/test_reduction.py quantization/test_codes.py",
    "hamming/asymmetric*.py": "hamming/test_asymmetric.py hamming/test_asymmetric_exactness.py",
    "hamming/candidates.py": "hamming/test_asymmetric.py hamming/test_scans.py",
    "hamming/neighbors.py": "hamming/test_neighbors.py",
    "hamming/threads.py": "hamming/test_threads.py then hamming/test_scans.py",
    "hamming/*": "hamming/test_scans.py then hamming/test_asymmetric.py",
    "evaluation/diagnosis.py": "evaluation/test_diagnosis.py",
    "evaluation/exact_neighbors.py": "evaluation/test_exact_neighbors.py",
    "evaluation/results.py": "evaluation/test_results.py then evaluation/test_average_precision.py "
    "evaluation/test_edges.py",
    "evaluation/*": "evaluation/test_edges.py evaluation/test_every_order.py then evaluation/test_average_precision.py "
    "evaluation/test_results.py",
    "similarity/penalties.py": "similarity/test_penalties.py",
    "similarity/losses/*": "similarity/losses/test_every_loss.py similarity/losses/test_options.py "
    "similarity/losses/test_margins.py similarity/losses/test_codebooks.py similarity/losses/test_adsh.py "
    "similarity/losses/test_dfh.py similarity/losses/test_dpn.py similarity/losses/test_sdhc.py "
    "similarity/losses/test_unsupervised.py similarity/losses/test_cosine_embedding.py "
    "similarity/losses/test_straight_through.py",
}
# Left out: they take long, and what they look at the others see too.
SLOW = [
    "hamming/test_threads.py::test_processes_interrupted_at_random_moments_end",
    "hamming/test_scans.py::test_processors_without_wide_vectors_give_the_same",
    "evaluation/test_average_precision.py::test_rankings_without_ties_agree_with_other_libraries",
    "quantization/test_refined.py::test_an_index_gives_the_estimates",
    "quantization/test_refined.py::test_scikit_learn_accepts_the_estimator",
    "quantization/test_registry.py::test_a_new_quantizer_is_one_new_file",
    "quantization/test_scoring.py::test_the_fingerprint_tells_quantizers_apart_and_survives_a_file",
    "quantization/test_sgd.py::test_annealed_ends_below_the_best_of_20_converged_itq_starts",
    "quantization/test_sgd.py::test_planted_codes_are_recovered",
]
# A failing example need not be made small.
PROFILE = """
from hypothesis import Phase
settings.register_profile("mutation", settings.get_profile("h2q"), phases=[Phase.explicit, Phase.generate],
                          derandomize=True, database=None)
settings.load_profile("mutation")
"""
PRELOAD = ["numpy", "scipy.linalg", "sklearn.utils.estimator_checks", "sklearn.datasets", "pandas", "pyarrow", "numba"]
PRELOAD += [
    "h2q.files.tensors",
    "h2q.files.parquet",
    "h2q.progress",
    "h2q.datasets",
    "lazy_loader",
    "hypothesis.strategies",
]
PRELOAD += ["pytest", "hypothesis.extra.numpy", "safetensors.numpy", "PIL.Image"]
# The last two are imported by the first gradient check and the first optimizer, and take longer than the tests.
LEARNING_PRELOAD = ["torch", "torch.fx.experimental.symbolic_shapes", "torch._dynamo"]

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv"}
BITWISE = {"BitOr", "BitAnd", "BitXor", "RShift", "LShift"}
ORDER = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}

# Changes that no test can or should see: pattern of the module, of the line, and the reason. They are not tried, unless
# the pattern has both the line and what became of it, "before => after".
JUSTIFIED = [
    (
        "*",
        r"^_(CHUNK|TILE|LANES|FEW_QUERIES|LAPACK_SIZE|BLOCK|ROWS)",
        "size of a piece of work: any gives the same result",
    ),
    ("*", r"cache.*True|nogil|forceinline", "option of the compiler: changes the time alone"),
    ("*", r"enabled=", "whether a progress bar is shown"),
    ("*", r"stacklevel=", "line that a warning names"),
    ("*", r"@abstractmethod|@overload", "does nothing in a class that is complete"),
    ("*", r"frozen=True", "tests/test_package.py looks at all dataclasses"),
    ("*", r"initial=|max\(embeddings\.numel\(\), 1\)", "value for empty arrays, which the callers refuse"),
    ("similarity/*", r"clamp_min\(0\)", "guard against rounding below 0"),
    ("*", r"copy=False\)|copy=False,", "saves a copy of the same values"),
    ("*", r"_CHUNK_BYTES //|_CHUNK_ROWS", "size of a piece of work: any gives the same result"),
    ("*", r"one_thread_if_small\(|if k >= SMALL", "number of threads: any gives the same result"),
    (
        "quantization/householder.py",
        r"=> N = np\.triu\(.*, 0\)",
        "lies along the columns, and is removed",
    ),
    (
        "quantization/householder.py",
        r"=> tol = .*max\(k, 0\)",
        "differs for an empty matrix alone",
    ),
    ("quantization/objectives.py", r"=> .*where=norms != 0", "norms are not negative"),
    ("quantization/codes.py", r'=> if array.dtype.kind <= "b"', "the kinds that come here are b, f and i"),
    ("quantization/decoders.py", r"schedule = Schedule\(", "length of a descent: others end nearly as low"),
]


@dataclass(frozen=True)
class Mutant:
    """A change of one place: operator of cosmic-ray, and the number of the place among those it applies to."""

    module: str
    operator: str
    occurrence: int
    line: int

    def key(self, source: str) -> str:
        return hashlib.sha256(f"{self.operator} {self.occurrence} {source}".encode()).hexdigest()[:16]


def is_plausible(operator: str) -> bool:
    """Return whether a replacement is one that a person might write by mistake."""
    _, *names = operator.removeprefix("core/").split("_")
    if "BinaryOperator" in operator:
        return any(set(names) <= kind for kind in (ARITHMETIC, BITWISE)) or names[0] in ("Mod", "Pow")
    if "ComparisonOperator" in operator:
        return set(names) <= ORDER or set(names) <= {"Is", "IsNot"}
    if "UnaryOperator" in operator:
        return names[0] in ("Delete", "USub") and names[1] != "Invert" and names != ["USub", "Not"]
    return not operator.startswith(("core/Variable", "core/ExceptionReplacer"))


def skipped_lines(source: str) -> set[tuple[int, int]]:
    """Return the places (line, column) of annotations, which do nothing at run time."""
    places = set()
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            annotation = getattr(node, name, None)
            if annotation is not None:
                for inner in ast.walk(annotation):
                    if isinstance(inner, ast.expr):
                        places.update(
                            (inner.lineno, column) for column in range(inner.col_offset, inner.end_col_offset or 0)
                        )
    return places


def find_mutants(path: Path, *, all_of_them: bool = False) -> list[Mutant]:
    """Return one mutant for every place of a module and kind of operator, or all; justified ones are left out."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    source = path.read_text()
    tree, skipped, lines = get_ast(source), skipped_lines(source), source.splitlines()
    nodes = list(ast_nodes(tree))
    places: dict[Any, list[Mutant]] = defaultdict(list)
    for name in operator_names():
        if not is_plausible(name):
            continue
        operator = get_operator(name)()
        positions = (position for node in nodes for position in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            kind = name.split("_")[0]
            line, module = lines[start[0] - 1], str(path.relative_to(ROOT / "src/h2q"))
            if start in skipped or justification(module, line) or (kind == "core/RemoveDecorator" and "njit" in line):
                continue
            mutant = Mutant(module, name, occurrence, start[0])
            places[kind, start, end].append(mutant)
    if all_of_them:
        return [mutant for mutants in places.values() for mutant in mutants]
    draw = random.Random(0)
    return [draw.choice(mutants) for _, mutants in sorted(places.items())]


def tests_of(module: str, *, all_of_them: bool) -> list[list[str]]:
    """Return the arguments of pytest for a module, one list for each run."""
    tests = next(tests for pattern, tests in TESTS.items() if fnmatch.fnmatch(module, pattern))
    first, _, more = tests.partition(" then ")
    runs = [[f"tests/{path}" for path in first.split()]]
    name = Path(module).stem
    # The tests of one loss carry its name, or that of its file.
    of_one_loss = module.startswith("similarity/losses/") and not all_of_them
    if of_one_loss and name not in ("__init__", "base", "registry", "pairs", "classifiers"):
        runs[0] += ["-k", f"{name} or {name.replace('_', '')}"]
    if all_of_them:
        runs += [[f"tests/{path}"] for path in more.split()] + [["--doctest-modules", f"src/h2q/{module}"]]
    return runs


def prepare_copy(folder: Path) -> None:
    """Copy what the tests need."""
    for name in ("src", "tests", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    with (folder / "tests/conftest.py").open("a") as file:
        file.write(PROFILE)


def preload(folder: Path, names: list[str]) -> None:
    """Import other packages once, for all forks."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    os.environ["NUMBA_CACHE_DIR"] = str(folder / "numba")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["PYTHONPATH"] = str(folder / "src")
    sys.path.insert(0, str(folder / "src"))
    os.chdir(folder)
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"not preloaded: {name}")
    gc.collect()
    gc.freeze()


def run_tests(folder: Path, module: str, seconds: int, *, again: bool, unchanged: bool = False) -> tuple[str, float]:
    """Run the tests of a module in a fork; return "passed", "failed" or "slow", and its processor time."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
            output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            import pytest

            options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
            options += [f"--deselect=tests/{name}" for name in SLOW]
            options += ["--assert=plain", f"--rootdir={folder}", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            sys.dont_write_bytecode = not unchanged
            for arguments in tests_of(module, all_of_them=again):
                code = int(pytest.main([*options, *arguments]))
                code = 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code
                if code:
                    break
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    end = time.monotonic() + 6 * seconds
    while time.monotonic() < end:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            outcome = "passed" if code == 0 else "slow" if code == -signal.SIGXCPU else "failed"
            return outcome, usage.ru_utime + usage.ru_stime
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "slow", float(seconds)


def forget_compiled(folder: Path, module: str) -> None:
    """Drop the compiled code that was inlined from a module: numba looks at the file of the caller alone."""
    if module in ("hamming/words.py", "hamming/vectors.py", "hamming/kernels.py"):
        shutil.rmtree(folder / "numba", ignore_errors=True)
        if (folder / "numba-clean").exists():
            keep = "neighbors.*" if module == "hamming/kernels.py" else "*"
            shutil.copytree(folder / "numba-clean", folder / "numba", ignore=shutil.ignore_patterns(keep))


def try_mutants(mutants: list[Mutant], results: Path, folder: Path, until: float, again: bool) -> None:
    """Run mutants of one module and append the outcomes."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    module = mutants[0].module
    path, copy = ROOT / "src/h2q" / module, folder / "src/h2q" / module
    source, stamp = copy.read_text(), copy.stat()
    compiles = "njit" in source or "intrinsic" in source
    if source != path.read_text():
        return
    outcomes = {result["key"]: result["outcome"] for result in read_results(results)}
    wanted = "passed" if again else None
    mutants = [mutant for mutant in mutants if outcomes.get(mutant.key(source)) == wanted]
    if not mutants:
        return
    key = f"unchanged {again} {hashlib.sha256(source.encode()).hexdigest()[:16]}"
    times = [result["seconds"] for result in read_results(results) if result["key"] == key]
    if times and not compiles:
        seconds = times[0]
    else:
        if compiles:
            run_tests(folder, module, 600, again=again, unchanged=True)
        outcome, seconds = run_tests(folder, module, 600, again=again, unchanged=True)
        if outcome != "passed":
            print((folder / "output.txt").read_text()[-2000:])
            print(f"{module}: the tests fail on the unchanged program")
            return
        write_result(results, {"module": module, "outcome": "unchanged", "seconds": seconds, "key": key})
    print(f"{module}: {len(mutants)} mutants, tests take {seconds:.1f} s", flush=True)
    for mutant in mutants:
        if time.monotonic() > until:
            return
        mutated = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
        forget_compiled(folder, module)
        try:
            copy.write_text(mutated)
            outcome, taken = run_tests(folder, module, int(5 * seconds + (90 if compiles else 10)), again=again)
        finally:
            copy.write_text(source)
            os.utime(copy, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        before, after = difference(source, mutated)
        record = {"module": module, "line": mutant.line, "operator": mutant.operator, "outcome": outcome}
        record |= {"before": before, "after": after, "seconds": round(taken, 1), "key": mutant.key(source)}
        write_result(results, record)


def write_result(path: Path, record: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")


def difference(source: str, mutated: str) -> tuple[str, str]:
    """Return the first line that differs, before and after."""
    pairs = zip(source.splitlines(), mutated.splitlines(), strict=False)
    return next(((old.strip(), new.strip()) for old, new in pairs if old != new), ("", ""))


def read_results(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text().splitlines())


def justification(module: str, line: str) -> str | None:
    """Return why a change of a line is accepted, or None."""
    for pattern, text, reason in JUSTIFIED:
        if fnmatch.fnmatch(module, pattern) and re.search(text, line):
            return reason
    return None


def report(path: Path) -> None:
    """Print the counts of each module, and the survivors."""
    latest = {result["key"]: result for result in read_results(path) if result["outcome"] != "unchanged"}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for result in latest.values():
        counts[result["module"]]["tried"] += 1
        change = f"{result['before']} => {result['after']}"
        reason = justification(result["module"], change) if result["outcome"] == "passed" else None
        kind = ("justified" if reason else "survived") if result["outcome"] == "passed" else "killed"
        counts[result["module"]][kind] += 1
        if kind == "survived":
            survivors.append(result)
    print(f"{'module':42} {'tried':>6} {'killed':>7} {'justified':>10} {'survived':>9}")
    total: Counter[str] = Counter()
    for module, count in sorted(counts.items()):
        total += count
        print(f"{module:42} {count['tried']:6} {count['killed']:7} {count['justified']:10} {count['survived']:9}")
    print(f"{'total':42} {total['tried']:6} {total['killed']:7} {total['justified']:10} {total['survived']:9}")
    for result in sorted(survivors, key=lambda result: (result["module"], result["line"])):
        print(
            f"\n{result['module']}:{result['line']} {result['operator']}\n  - {result['before']}\n  + {result['after']}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--modules", nargs="*", default=list(TESTS), help="patterns below src/h2q, in this order")
    parser.add_argument("--share", type=float, default=1.0, help="share of the mutants to try, drawn at random")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--again", action="store_true", help="try the survivors again, with all tests")
    parser.add_argument("--report", action="store_true", help="print what the file holds, and stop")
    options = parser.parse_args()
    results = options.results.resolve()
    if options.report:
        report(results)
        return
    until = time.monotonic() + options.seconds
    paths = sorted((ROOT / "src/h2q").rglob("*.py"))
    modules = [
        path
        for pattern in options.modules
        for path in paths
        if fnmatch.fnmatch(str(path.relative_to(ROOT / "src/h2q")), pattern)
    ]
    draw = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="h2q-mutation-") as temporary:
        folder = Path(temporary).resolve()
        prepare_copy(folder)
        learning = any("similarity" in str(path) for path in modules)
        preload(folder, PRELOAD + LEARNING_PRELOAD * learning)
        for path in dict.fromkeys(modules):
            # What is drawn changes with the list of reasons; survivors are looked up among all.
            mutants = find_mutants(path, all_of_them=options.again)
            mutants = [mutant for mutant in mutants if options.again or draw.random() < options.share]
            if mutants:
                try_mutants(mutants, results, folder, until, options.again)


if __name__ == "__main__":
    main()
