"""``h2q encode``: embeddings to codes."""

import time
from pathlib import Path
from typing import Annotated

import typer

from h2q.cli.common import (
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
    embeddings: Annotated[
        str,
        typer.Argument(
            metavar="EMBEDDINGS",
            help=".npy, .npz, .safetensors or .parquet; FILE:NAME picks an array. To write shards: .npy, .parquet or "
            ".zarr, a folder of these, or a pattern; with --backbone a folder of images.",
        ),
    ],
    quantizer: Annotated[Path, typer.Option("--quantizer", "-q", help="What h2q fit saved.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The codes, a .npy file of uint8; or a folder, for Parquet shards.")
    ],
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B", help="Columns of Parquet that travel along, in shards. Default: all."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Network that embeds a folder of images, to write shards.")
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes that write shards.")] = 1,
    shard_rows: Annotated[int, typer.Option("--shard-rows", min=1, help="Rows of a shard, about.")] = 250_000,
    as_json: JsonOption = False,
) -> None:
    """Turn embeddings into packed codes.

    A chunk at a time: the input may be larger than memory. A folder of shards also takes collections of files; a run
    that was killed goes on when it is repeated.
    """
    if output.suffix:
        check_output(output, ".npy")
        refuse_overwriting(output, embeddings, quantizer)
        if backbone is not None:
            raise typer.BadParameter("it writes shards: give --output a folder, without .npy", param_hint="--backbone")
        _encode_file(embeddings, quantizer, output, as_json)
    else:
        names = None if columns is None else columns.split(",")
        _encode_collection(embeddings, quantizer, output, names, backbone, processes, shard_rows, as_json)


def _encode_collection(
    embeddings: str,
    quantizer: Path,
    output: Path,
    columns: list[str] | None,
    backbone: str | None,
    processes: int,
    shard_rows: int,
    as_json: bool,
) -> None:
    """Write a folder of shards."""
    from h2q.encoding import encode_dataset
    from h2q.files import split_name
    from h2q.quantization import load_quantizer

    source, column = split_name(embeddings) if backbone is None else (embeddings, None)
    began = time.perf_counter()
    done = encode_dataset(
        source, load_quantizer(quantizer), output, column=column, columns=columns, backbone=backbone,
        n_processes=processes, shard_rows=shard_rows,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if as_json:
        print_json(
            {
                "output": output,
                "items": done.n_items,
                "shards": done.n_shards,
                "resumed": done.n_resumed,
                "seconds": round(seconds, 3),
            }
        )
        return
    before = f" ({done.n_resumed} were there)" if done.n_resumed else ""
    print(f"{done.n_items:,} embeddings to {done.n_shards} shards{before} in {format_seconds(seconds)}")
    print(f"codes saved to {output}")


def _encode_file(embeddings: str, quantizer: Path, output: Path, as_json: bool) -> None:
    """Write a .npy file."""
    import numpy as np

    from h2q.checks import bytes_per_code
    from h2q.files import open_array, write_npy
    from h2q.progress import progress_bar
    from h2q.quantization import load_quantizer

    if Path(embeddings).is_dir():
        raise IsADirectoryError(f"{embeddings} is a folder; to encode its files give --output a folder, without .npy")
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
