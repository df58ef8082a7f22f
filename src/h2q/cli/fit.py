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
    check_output,
    format_seconds,
    naming,
    parse_bits,
    print_json,
    refuse_overwriting,
)

__all__ = ["fit"]

_JUDGED_ROWS = 10_000  # rows fitted on whose error is measured
_HELD_OUT = 1_000


class ScheduleName(StrEnum):
    """Schedule of H²Q."""

    annealed = "annealed"
    constant = "constant"


def fit(
    embeddings: EmbeddingsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The quantizer, a .safetensors file.")],
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="h2q: learned reflections; itq; random: a random rotation; sign: none; refined: the best recall for "
            "the bytes; nested: one code for many lengths.",
        ),
    ] = "h2q",
    bits: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Bits of a code. Default: one bit a dimension.")
    ] = None,
    n_bytes: Annotated[
        int | None, typer.Option("--bytes", min=1, max=8_192, help="Bytes of an item in all, instead of --bits.")
    ] = None,
    center: CenterOption = True,
    whitening: Annotated[
        str,
        typer.Option(
            metavar="NUMBER", help="0: none, 1: principal components of unit variance; auto: chosen by --labels."
        ),
    ] = "0",
    labels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Class ids or multi-hot rows, one an item, for --whitening auto.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="Objective of h2q: l2 (default), l1, min_entry, bit_variance, mean_abs, ...")
    ] = None,
    schedule: Annotated[
        ScheduleName | None, typer.Option(help="Schedule of h2q: annealed (default), or constant, the paper's.")
    ] = None,
    n_init: Annotated[
        int | None,
        typer.Option(min=1, help="Starts; the best is kept. Default: itq 1; h2q 8 up to 32 bits, then 1."),
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(
            metavar="16,32,...", help="Prefixes of nested codes; the last is all bits. Default: 16, 32, ..., 384."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of nested. Default: 1,500.")] = None,
    max_samples: Annotated[
        int, typer.Option(min=1, help="Rows to fit on; if the file has more, they are drawn by seed.")
    ] = 100_000,
    held_out: Annotated[
        int | None,
        typer.Option(min=0, help="Rows not fitted on, to measure the error. Default: 1,000, at most a tenth."),
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit a quantizer to embeddings, and save it."""
    import numpy as np

    from h2q.checks import as_embeddings
    from h2q.files import open_array
    from h2q.progress import progress_bar
    from h2q.quantization import make_quantizer, quantizer_info

    check_output(output, ".safetensors")
    refuse_overwriting(output, embeddings)
    if bits is not None and n_bytes is not None:
        raise typer.BadParameter("--bits and --bytes are two ways to say one thing: give one", param_hint="--bytes")
    options = _method_options(
        method,
        center=None if center else False,
        whitening=_parse_whitening(whitening, labels) or None,
        objective=objective,
        schedule=schedule,
        n_init=n_init,
        lengths=None if lengths is None else tuple(parse_bits(lengths, "--lengths")),
        steps=steps,
    )
    stored = open_array(embeddings)
    n = len(stored)
    classes = None if labels is None else _read_classes(labels, embeddings, n)
    n_held_out = min(_HELD_OUT, n // 10) if held_out is None else held_out
    if n_held_out >= n:
        raise typer.BadParameter(f"{embeddings} has {n} rows; got {n_held_out}", param_hint="--held-out")
    quantizer = make_quantizer(
        method, 8 * n_bytes if n_bytes is not None else bits, max_samples=max_samples, random_state=seed, **options
    )
    order = np.random.default_rng(seed).permutation(n)[: n_held_out + max_samples]
    began = time.perf_counter()
    with naming(embeddings):
        if n_held_out == 0 and n <= max_samples:
            fitted, unseen, known = stored.for_fit(), None, classes
            judged = stored.take(np.sort(order[:_JUDGED_ROWS]))
        else:
            with progress_bar("reading", None):
                # Checked before they are split, so that messages count rows as the file does.
                rows = as_embeddings(stored.take(np.sort(order)), "X", allow_zero_rows="warn" if center else False)
            is_held_out = np.isin(np.sort(order), order[:n_held_out])
            fitted, unseen = rows[~is_held_out], rows[is_held_out] if n_held_out else None
            known = None if classes is None else classes[np.sort(order)][~is_held_out]
            judged = fitted[:: -(-len(fitted) // _JUDGED_ROWS)]
        with progress_bar(f"fitting {quantizer_info(method).label}", None):
            quantizer.fit(fitted, known)
        seconds = time.perf_counter() - began
        with progress_bar("measuring the error", None):
            error = quantizer.quantization_error(judged)
            unseen_error = None if unseen is None else quantizer.quantization_error(unseen)
    quantizer.save(output)
    result: dict[str, Any] = {
        "output": output,
        "method": method,
        "bits": quantizer.n_bits_,
        "dimensions": quantizer.n_features_in_,
        "rows": min(n - n_held_out, max_samples),
        "seconds": round(seconds, 3),
        "quantization_error": error,
        "held_out_rows": n_held_out,
        "held_out_error": unseen_error,
    }
    if classes is not None:
        result["whitening"] = quantizer.whitening_
    if as_json:
        print_json(result)
        return
    print(
        f"{quantizer_info(method).label}: {result['dimensions']} dimensions to {result['bits']} bits, fitted on "
        f"{result['rows']:,} rows in {format_seconds(seconds)}"
    )
    held_out_text = "" if unseen_error is None else f", {unseen_error:.4f} on {n_held_out:,} rows held out"
    print(f"quantization error {error:.4f} on the rows fitted{held_out_text} (0: none; random rotation: about 0.40)")
    if method == "nested":
        print(f"prefixes that are codes, too: {', '.join(map(str, quantizer.lengths_))} bits (h2q search --bits)")
    if classes is not None:
        chosen = "none is best" if quantizer.whitening_ == 0 else f"to the power {quantizer.whitening_:g}"
        print(f"whitening within classes, chosen on rows held out: {chosen}")
    print(f"quantizer saved to {output}")


def _parse_whitening(text: str, labels: str | None) -> float | str:
    """Return the power of the whitening, or "auto", which needs labels."""
    try:
        value: float | str = "auto" if text == "auto" else float(text)
    except ValueError:
        value = -1.0
    if value != "auto" and not 0 <= float(value) <= 1:
        raise typer.BadParameter(f"expected a number from 0 to 1, or auto; got {text!r}", param_hint="--whitening")
    if (value == "auto") != (labels is not None):
        missing, given = ("--labels", "--whitening auto") if value == "auto" else ("--whitening auto", "--labels")
        raise typer.BadParameter(f"it goes with {missing}; add it, or omit {given}", param_hint=given.split()[0])
    return value


def _read_classes(labels: str, embeddings: str, n: int) -> Any:
    """Return labels, if they are for n items."""
    from h2q.cli.evaluate import read_labels

    classes = read_labels(labels)
    if len(classes) != n:
        raise ValueError(f"{labels} has {len(classes):,} labels, and {embeddings} {n:,} rows; expected one an item")
    return classes


def _method_options(method: str, **given: Any) -> dict[str, Any]:
    """Return the options that were given; a method that does not exist or does not take one is wrong usage."""
    from h2q.quantization import OBJECTIVES, quantizer_info, quantizer_names

    names = quantizer_names(rotations_only=False)
    if method not in names:
        raise typer.BadParameter(f"expected one of {', '.join(names)}; got {method!r}", param_hint="--method")
    options = {name: str(value) if isinstance(value, StrEnum) else value for name, value in given.items()}
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in quantizer_info(method).options:
            takers = [other for other in names if name in quantizer_info(other).options]
            raise typer.BadParameter(
                f"only --method {' or '.join(takers)} takes it; the method is {method}",
                param_hint="--no-center" if name == "center" else "--" + name.replace("_", "-"),
            )
    if options.get("objective", "l2") not in OBJECTIVES:
        raise typer.BadParameter(
            f"expected one of {', '.join(OBJECTIVES)}; got {options['objective']!r}", param_hint="--objective"
        )
    return options
