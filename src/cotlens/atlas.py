"""The atlas of a model: the projection of every neuron, as one Parquet file."""

from __future__ import annotations

import contextlib
import functools
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow.parquet as pq

from cotlens.atlas_file import METADATA_KEY, atlas_metadata, check_atlas_path, new_atlas_file
from cotlens.model.language_model import LanguageModel
from cotlens.project.projection import check_projection, project
from cotlens.project.stage import projection_columns
from cotlens.types import Progress, Silent

__all__ = ["atlas_metadata", "check_atlas_path", "write_atlas"]


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
    with new_atlas_file(target) as file, contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for ffn in lm.ffn:
            found = project(lm, [(ffn.layer, index) for index in range(ffn.width)], top_n, norm, progress.advance)
            ids = [pl.Series("layer", found.layer), pl.Series("neuron", found.neuron)]
            table = pl.DataFrame([*ids, *projection_columns(lm, found, token_text)]).to_arrow()
            if writer is None:
                schema = table.schema.with_metadata({METADATA_KEY: json.dumps(metadata)})
                writer = stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
            writer.write_table(table.cast(writer.schema))
    return metadata


def _version() -> str | None:
    try:
        return version("cotlens")
    except PackageNotFoundError:
        return None
