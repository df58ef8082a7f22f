"""``h2q fit``: embeddings to a quantizer."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from h2q.cli.common import (
    CenterOption,
    EmbeddingsArgument,
    JsonOption,
    SeedOption,
    WhiteningOption,
    check_output,
    format_seconds,
    naming,
    print_json,
    refuse_overwriting,
)

__all__ = ["fit"]

_JUDGED_ROWS = 10_000


class ScheduleName(StrEnum):
    """How H²Q descends."""

    annealed = "annealed"
    constant = "constant"


def fit(
    embeddings: EmbeddingsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The quantizer, a .safetensors file.")],
    method: Annotated[
        str, typer.Option(metavar="NAME", help="h2q: learned reflections; itq; random: a random rotation; sign: none.")
    ] = "h2q",
    bits: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Bits of a code. Default: one a dimension.")
    ] = None,
    center: CenterOption = True,
    whitening: WhiteningOption = 0.0,
    objective: Annotated[
        str | None, typer.Option(help="What h2q makes small: l2 (default), l1, min_entry, bit_variance.")
    ] = None,
    schedule: Annotated[
        ScheduleName | None, typer.Option(help="Of h2q: annealed (default), or constant, the paper's.")
    ] = None,
    n_init: Annotated[
        int | None,
        typer.Option(min=1, help="Starts; the best is kept. Default: 1 of itq, 8 or 1 of h2q, by bits."),
    ] = None,
    max_samples: Annotated[
        int, typer.Option(min=1, help="Rows to learn from, drawn by seed, where the file has more.")
    ] = 100_000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Learn how to turn embeddings into codes, and save it."""
    import numpy as np

    from h2q.files import open_array
    from h2q.quantization import make_quantizer, quantizer_info

    check_output(output, ".safetensors")
    refuse_overwriting(output, embeddings)
    extra = _method_options(method, objective=objective, schedule=schedule, n_init=n_init)
    stored = open_array(embeddings)
    quantizer = make_quantizer(
        method, bits, center=center, whitening=whitening, max_samples=max_samples, random_state=seed, **extra
    )
    began = time.perf_counter()
    with naming(embeddings):
        quantizer.fit(stored.for_fit())
        seconds = time.perf_counter() - began
        rows = np.random.default_rng(seed).choice(len(stored), min(len(stored), _JUDGED_ROWS), replace=False)
        error = quantizer.quantization_error(stored.take(np.sort(rows)))
    quantizer.save(output)
    result: dict[str, Any] = {
        "output": output,
        "method": method,
        "bits": quantizer.n_bits_,
        "dimensions": quantizer.n_features_in_,
        "rows": min(len(stored), max_samples),
        "seconds": round(seconds, 3),
        "quantization_error": error,
    }
    if as_json:
        print_json(result)
        return
    print(
        f"{quantizer_info(method).label}: {result['dimensions']} dimensions to {result['bits']} bits, learned from "
        f"{result['rows']:,} rows in {format_seconds(seconds)}"
    )
    print(f"quantization error {error:.4f} (0: none, about 0.40: a random rotation)")
    print(f"quantizer saved to {output}")


def _method_options(method: str, **given: Any) -> dict[str, Any]:
    """Return the options that were given; a method that does not exist or does not take one is wrong usage."""
    from h2q.quantization import OBJECTIVES, quantizer_info, quantizer_names

    names = quantizer_names()
    if method not in names:
        raise typer.BadParameter(f"expected one of {', '.join(names)}; got {method!r}", param_hint="--method")
    options = {name: str(value) if isinstance(value, StrEnum) else value for name, value in given.items()}
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in quantizer_info(method).options:
            takers = [other for other in names if name in quantizer_info(other).options]
            raise typer.BadParameter(
                f"only --method {' or '.join(takers)} takes it; the method is {method}",
                param_hint="--" + name.replace("_", "-"),
            )
    if options.get("objective", "l2") not in OBJECTIVES:
        raise typer.BadParameter(
            f"expected one of {', '.join(OBJECTIVES)}; got {options['objective']!r}", param_hint="--objective"
        )
    return options
