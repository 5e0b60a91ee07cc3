"""The atlas of a model: the projection of every neuron, as one Parquet file."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO, Literal

import polars as pl
import pyarrow.parquet as pq

from cotlens.errors import EnvironmentFault, InputError
from cotlens.model.language_model import LanguageModel
from cotlens.project.projection import check_projection, project
from cotlens.project.stage import projection_columns
from cotlens.types import Progress, Silent

__all__ = ["atlas_metadata", "check_atlas_path", "write_atlas"]

#: Where the Parquet file's own metadata holds ours, as JSON.
_KEY = b"cotlens.atlas"


def write_atlas(
    lm: LanguageModel,
    path: Path | str,
    top_n: int = 20,
    norm: Literal["none", "gamma"] = "none",
    fingerprint: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Project every neuron of ``lm`` (Geva et al., 2022) and write the table to a Parquet file.

    One row per neuron, layer by layer, one row group per layer, so that memory does not grow with the number of
    layers: ``layer``, ``neuron``, ``value_norm`` (Euclidean), ``promoted`` and ``suppressed`` (texts of ``top_n``
    tokens, best first), ``promoted_ids``, ``promoted_logits`` (fp32), ``promoted_probs``, ``suppressed_ids``,
    ``suppressed_logits``, ``norm``. The file appears when it is complete, and not before.

    Args:
        lm: the model.
        path: a name that ends in ``.parquet``; an atlas that is there is replaced.
        top_n: tokens kept at each end.
        norm: ``none``, or ``gamma`` to fold the gain of the final norm into ``W_U``.
        fingerprint: a hash of the model's files, to be stored.
        progress: told how many neurons are done.

    Returns:
        What `atlas_metadata` reads from the file.

    Raises:
        InputError: ``path`` can't be an atlas, or another option is out of range.
        NonFiniteError: weights are NaN or infinite; the message names the layer.
        EnvironmentFault: the file can't be written; no part of it is left.
    """
    target = check_atlas_path(path)
    check_projection(lm, top_n, norm)
    neurons = sum(ffn.width for ffn in lm.ffn)
    metadata = {
        "format": 1,
        "cotlens": _version(),
        "model": lm.name,
        "fingerprint": fingerprint,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "norm": norm,
        "top_n": top_n,
        "layers": lm.n_layers,
        "neurons": neurons,
    }
    progress = progress or Silent()
    progress.begin("project", neurons)
    token_text = functools.cache(lm.token_text)
    with _new_file(target) as file, contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for ffn in lm.ffn:
            found = project(lm, [(ffn.layer, index) for index in range(ffn.width)], top_n, norm, progress.advance)
            ids = [pl.Series("layer", found.layer), pl.Series("neuron", found.neuron)]
            table = pl.DataFrame([*ids, *projection_columns(lm, found, token_text)]).to_arrow()
            if writer is None:
                schema = table.schema.with_metadata({_KEY: json.dumps(metadata)})
                writer = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
            writer.write_table(table.cast(writer.schema))
    return metadata


def check_atlas_path(path: Path | str) -> Path:
    """The path, if an atlas can be written there.

    Raises:
        InputError: it does not end in ``.parquet``, its folder is missing, or it holds something else.
    """
    target = Path(path)
    if target.suffix != ".parquet":
        raise InputError(f"{target}: an atlas is a Parquet file; give a name that ends in .parquet")
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}")
    if target.exists() and atlas_metadata(target) is None:
        raise InputError(f"{target}: exists and is no atlas; remove it, or give another name")
    return target


def atlas_metadata(path: Path | str) -> dict[str, Any] | None:
    """What an atlas says of itself: model, fingerprint, norm, top_n and the like; None for another file."""
    try:
        stored = (pq.read_schema(path).metadata or {}).get(_KEY)
        found: dict[str, Any] | None = json.loads(stored) if stored else None
        return found
    except (OSError, ValueError):
        return None


def _version() -> str | None:
    try:
        return version("cotlens")
    except PackageNotFoundError:
        return None


@contextlib.contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of ``target`` when the block ends, and is gone when it fails."""
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        raise EnvironmentFault(
            f"{target}: can't be written: {error.strerror or error}; no part of it is left"
        ) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
