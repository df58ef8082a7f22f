"""``h2q info``: what a file is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from h2q.cli.common import JsonOption, format_bytes, print_fields, print_json

__all__ = ["info"]


def info(
    path: Annotated[Path, typer.Argument(help="Quantizer, index folder, codes, embeddings, or any other file of h2q.")],
    as_json: JsonOption = False,
) -> None:
    """Say what a file or folder is, and what it holds."""
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    fields = _describe_folder(path) if path.is_dir() else _describe_file(path)
    if as_json:
        print_json({"path": path, **fields})
    else:
        print_fields((name.replace("_", " "), _text(name, value)) for name, value in fields.items())


def _text(name: str, value: Any) -> Any:
    if name == "bytes":
        return format_bytes(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={part}" for key, part in value.items()) or "none"
    if name == "arrays":
        return (
            ", ".join(f"{array['name']} {_text('shape', array['shape'])} {array['type']}" for array in value) or "none"
        )
    if isinstance(value, list):
        return " x ".join(f"{part:,}" for part in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


def _describe_folder(path: Path) -> dict[str, Any]:
    from h2q.files import read_json

    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if (path / "manifest.json").exists():
        from h2q.index import BinaryIndex
        from h2q.index.metadata import describe_schema

        index, manifest = BinaryIndex.open(path), read_json(path / "manifest.json")
        return {
            "kind": "index",
            "items": len(index),
            "bits": index.n_bits,
            "quantizer": None if index.quantizer is None else repr(index.quantizer),
            **manifest["options"],
            **({} if index.id_type is None else {"ids": index.id_type}),
            **({} if index.metadata_schema is None else {"metadata": describe_schema(index.metadata_schema)}),
            "segments": len(manifest["segments"]),
            "bytes": size,
        }
    if (path / "shards.json").exists():
        shards = read_json(path / "shards.json")
        counts = {"items": shards["n_items"], "bits": shards["n_bits"], "shards": len(shards["shards"])}
        return {"kind": "codes in shards", **counts, "bytes": size}
    from h2q.errors import FileFormatError

    described = [file for file in sorted(path.glob("*.json")) if isinstance(read_json(file), dict)]
    if not described:
        raise FileFormatError(f"{path} is no folder of h2q: neither an index nor a hasher")
    document = read_json(described[0])
    plain = {key: value for key, value in document.items() if isinstance(value, (str, int, float, bool, dict))}
    return {"kind": "folder", **plain, "bytes": size}


def _describe_file(path: Path) -> dict[str, Any]:
    from h2q.files import list_arrays

    if path.suffix == ".safetensors":
        ours = _describe_ours(path)
        if ours is not None:
            return ours
    arrays: list[dict[str, Any]] = [
        {"name": name, "shape": list(shape), "type": kind} for name, shape, kind in list_arrays(path)
    ]
    size = path.stat().st_size
    if path.suffix == ".npy":
        (array,) = arrays
        shape, dtype = array["shape"], array["type"]
        if len(shape) == 2 and dtype == "uint8":
            return {"kind": "codes", "items": shape[0], "bits": f"up to {8 * shape[1]}", "type": dtype, "bytes": size}
        if len(shape) == 2 and dtype.startswith("float"):
            return {"kind": "embeddings", "items": shape[0], "dimensions": shape[1], "type": dtype, "bytes": size}
        return {"kind": "array", "shape": shape, "type": dtype, "bytes": size}
    return {"kind": "arrays", "arrays": arrays, "bytes": size}


def _describe_ours(path: Path) -> dict[str, Any] | None:
    """Describe a file that h2q wrote; None where another program did."""
    from h2q.errors import ForeignFileError
    from h2q.files import read_tensors

    try:
        stored = read_tensors(path, mmap=True)
    except ForeignFileError:
        return None
    tensors = [
        {"name": name, "shape": list(tensor.shape), "type": str(tensor.dtype)}
        for name, tensor in stored.tensors.items()
    ]
    described: dict[str, Any] = {"kind": stored.kind}
    if stored.kind == "quantizer":
        metadata = stored.metadata
        parameters = {key: value for key, value in metadata["parameters"].items() if value is not None}
        described |= {"method": metadata["class"], "bits": metadata["n_bits"], "dimensions": metadata["n_features"]}
        described["parameters"] = parameters
        if "loss_curve_" in stored.tensors:
            described["final_loss"] = round(float(stored.tensors["loss_curve_"][-1]), 6)
        return described | {"bytes": path.stat().st_size}
    return described | {"metadata": stored.metadata, "arrays": tensors, "bytes": path.stat().st_size}
