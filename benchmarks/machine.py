"""The machine that benchmarks run on."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """Return the name of the processor and the number of cores."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    name = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    return f"{name}, {os.cpu_count()} cores"
