"""Models on the Hugging Face hub: what a repository holds is checked before its weights are fetched.

Without a network the local cache serves; that there is none is known within seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cotlens.errors import ModelFormatError, ModelNotFoundError
from cotlens.hub_probe import hub_answers
from cotlens.model.facts import check_facts, config_facts, pickle_refusal, read_config

__all__ = ["hub_folder", "is_complete"]

logger = logging.getLogger(__name__)

#: Code is fetched, so that a fingerprint covers it, and never run unless that is asked for.
_HUGGING_FACE = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py")
_META = ("params.json", "consolidated.*.pth", "tokenizer.model")
_WEIGHTS = ("*.safetensors", "*.pth")
#: Second copies of the weights, in other formats.
_COPIES = ("original/*", "onnx/*", "consolidated*.safetensors")
_INDEX = "model.safetensors.index.json"


def hub_folder(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """The local folder with the files of the hub model ``name``, fetched unless they are there.

    Without ``weights`` only the settings and the tokenizer are fetched.

    Raises:
        ModelNotFoundError: no such model or revision, access is not granted, or the hub can't be reached.
        ModelFormatError: its weights are pickles, or it is of a kind that is not read.
    """
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and hub_answers(constants.ENDPOINT):
        with _hub_errors(name, revision):
            return _fetch(name, revision, weights)
    folder = _cached(name, revision, weights)
    if folder is None:
        raise ModelNotFoundError(
            f"{name}: not in the local cache, and the hub can't be reached; download it where there is a network, or "
            "give a folder"
        )
    logger.info("%s: the hub can't be reached; read from the local cache, commit %s", name, folder.name)
    return folder


def _fetch(name: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    info = HfApi().model_info(name, revision=revision)
    files = [entry.rfilename for entry in info.siblings or ()]
    patterns = _wanted(name, files)
    if patterns is _HUGGING_FACE:
        config = Path(hf_hub_download(name, "config.json", revision=info.sha))
        check_facts(name, config_facts(read_config(config.parent)))
    return Path(
        snapshot_download(name, revision=revision, allow_patterns=list(patterns), ignore_patterns=list(_COPIES))
    )


def _wanted(name: str, files: Sequence[str]) -> tuple[str, ...]:
    """Patterns of the files to fetch.

    Raises:
        ModelFormatError: the repository holds no weights that are read.
    """
    here = [file for file in files if "/" not in file]
    if "config.json" in here and any(file.endswith(".safetensors") for file in here):
        return _HUGGING_FACE
    if "params.json" in here and any(file.startswith("consolidated.") and file.endswith(".pth") for file in here):
        return _META
    if gguf := [file for file in here if file.endswith(".gguf")]:
        raise ModelFormatError(
            f"{name}: holds GGUF files; fetch one with `hf download {name} {gguf[0]}` and give its path"
        )
    if any(file.endswith((".bin", ".pt", ".pth", ".ckpt")) for file in here):
        raise pickle_refusal(name)
    raise ModelFormatError(f"{name}: holds no config.json with .safetensors, so it is no model that is read")


def _cached(name: str, revision: str | None, weights: bool) -> Path | None:
    """The folder of a model that was fetched before, if all that is wanted of it is there."""
    from huggingface_hub import try_to_load_from_cache

    for marker in ("config.json", "params.json"):
        found = try_to_load_from_cache(name, marker, revision=revision)
        if isinstance(found, str):
            folder = Path(found).parent
            return folder if not weights or is_complete(folder) else None
    return None


def is_complete(folder: Path) -> bool:
    """Whether all weights of a model that was fetched are there."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        named = set(index["weight_map"].values())
    except (OSError, ValueError, LookupError, AttributeError):
        named = {"*.safetensors"} if (folder / "config.json").is_file() else {"consolidated.*.pth"}
    return all(any(folder.glob(file)) for file in named)


@contextmanager
def _hub_errors(name: str, revision: str | None) -> Iterator[None]:
    """One error for the many that the hub's client raises."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise ModelNotFoundError(
            f"{name}: gated; ask for access on its page at huggingface.co, then `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ModelNotFoundError(f"{name}: no such model on the hub, or it is private; see `hf auth login`") from None
    except RevisionNotFoundError:
        raise ModelNotFoundError(f"{name}: the hub knows no revision {revision!r} of it") from None
    except LocalEntryNotFoundError:
        raise ModelNotFoundError(f"{name}: the hub can't be reached any more; try again") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelNotFoundError(f"{name}: the hub answered: {reason}") from None
