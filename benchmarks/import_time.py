"""Seconds that ``import h2q`` takes in a fresh interpreter, beside NumPy's and scikit-learn's own import.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time

PROGRAMS = {
    "python (nothing imported)": "pass",
    "import h2q": "import h2q",
    "import numpy": "import numpy",
    "h2q.pack_bits (first use)": "import h2q; h2q.pack_bits",
    "h2q.BinaryIndex (first use)": "import h2q; h2q.BinaryIndex",
    "h2q.HouseholderQuantizer (first use)": "import h2q; h2q.HouseholderQuantizer",
    "import sklearn.base": "import sklearn.base",
}
ROUNDS = 11


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    for code in PROGRAMS.values():
        seconds(code)
    rounds = [{name: seconds(code) for name, code in PROGRAMS.items()} for _ in range(ROUNDS)]
    medians = {name: statistics.median(times[name] for times in rounds) for name in PROGRAMS}
    bare = medians["python (nothing imported)"]
    print("| program | median seconds | above bare Python |")
    print("|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.3f} | {median - bare:.3f} |")


if __name__ == "__main__":
    main()
