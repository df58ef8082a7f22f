"""``h2q encode``: embeddings to codes."""

import time
from pathlib import Path
from typing import Annotated

import typer

from h2q.cli.common import (
    EmbeddingsArgument,
    JsonOption,
    check_output,
    format_bytes,
    format_seconds,
    naming,
    print_json,
    refuse_overwriting,
)

__all__ = ["encode"]


def encode(
    embeddings: EmbeddingsArgument,
    quantizer: Annotated[Path, typer.Option("--quantizer", "-q", help="What h2q fit saved.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The codes, a .npy file of uint8.")],
    as_json: JsonOption = False,
) -> None:
    """Turn embeddings into packed codes.

    A chunk at a time: the file may be larger than memory.
    """
    import numpy as np

    from h2q.checks import bytes_per_code
    from h2q.files import open_array, write_npy
    from h2q.progress import progress_bar
    from h2q.quantization import load_quantizer

    check_output(output, ".npy")
    refuse_overwriting(output, embeddings, quantizer)
    fitted, stored = load_quantizer(quantizer), open_array(embeddings)
    shape = (len(stored), bytes_per_code(fitted.n_bits_))
    began = time.perf_counter()
    with write_npy(output, shape, np.uint8) as write, progress_bar("encoding", len(stored)) as advance:
        for chunk in stored.embeddings(n_features=fitted.n_features_in_):
            with naming(embeddings):
                write(fitted.encode(chunk))
            advance(len(chunk))
    seconds = time.perf_counter() - began
    if as_json:
        print_json({"output": output, "items": shape[0], "bits": fitted.n_bits_, "seconds": round(seconds, 3)})
        return
    smaller = stored.shape[1] * stored.dtype.itemsize / shape[1]
    print(
        f"{shape[0]:,} embeddings to codes of {fitted.n_bits_} bits in {format_seconds(seconds)}: "
        f"{format_bytes(shape[0] * shape[1])}, {smaller:.0f} times smaller"
    )
    print(f"codes saved to {output}")
