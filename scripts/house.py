"""Refuse functions of more than 60 lines and files of more than 400 in src/, but for the exceptions listed here.

    python scripts/house.py

The lines of a function are counted without its docstring. An exception that is no longer needed is an error, too.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_FUNCTION, MAX_FILE = 60, 400
# Each with its reason.
EXCEPTIONS = {
    "src/h2q/cli/fit.py:fit": "a command declares each option on lines of its own (36 lines here)",
    "src/h2q/cli/search.py:search": "a command declares each option on lines of its own (33 lines here)",
    "src/h2q/cli/train.py:train": "a command declares each option on lines of its own (46 lines here)",
    "src/h2q/hasher/image_hasher.py": "one public class; 166 lines are docstrings",
    "src/h2q/index/exact.py": "one public class; 239 lines are docstrings",
    "src/h2q/quantization/base.py": "one public class; 212 lines are docstrings",
    "src/h2q/similarity/fine_tuning.py:fine_tune": "a public function with sixteen parameters, one per line",
}


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines from ``def`` to the end, without the docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def too_long() -> dict[str, int]:
    """Return the long files and functions of the package, ``path`` or ``path:function``, with their lines."""
    long = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        text, name = path.read_text(), str(path.relative_to(ROOT))
        if text.count("\n") > MAX_FILE:
            long[name] = text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and length_of(node) > MAX_FUNCTION:
                long[f"{name}:{node.name}"] = length_of(node)
    return long


def main() -> None:
    long = too_long()
    for name, lines in long.items():
        if name not in EXCEPTIONS:
            print(f"{name}: {lines} lines; at most {MAX_FILE if name.endswith('.py') else MAX_FUNCTION}")
    unneeded = EXCEPTIONS.keys() - long.keys()
    for name in sorted(unneeded):
        print(f"{name}: short enough by now; remove it from EXCEPTIONS in scripts/house.py")
    if long.keys() - EXCEPTIONS.keys() or unneeded:
        sys.exit(1)


if __name__ == "__main__":
    main()
