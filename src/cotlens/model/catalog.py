"""Which models are at hand, and what one is, told from settings alone: no weights, no torch, and no network to list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cotlens.errors import CotlensError, ModelFormatError
from cotlens.model.embedded import EMBEDDED, converted_folder, packaged_file
from cotlens.model.facts import ModelFacts, config_facts, meta_facts, read_config, why_refused
from cotlens.model.hub import is_complete
from cotlens.model.source import ModelSource, resolve_model

__all__ = ["KINDS", "describe_model", "list_models"]

#: How a model is named, and what that stands for.
KINDS = (
    ("smollm2-135m", "the embedded model, in an installed package"),
    ("owner/name", "a model on the Hugging Face hub, with safetensors or in Meta's layout; fetched once"),
    ("path/to/folder", "a Hugging Face checkpoint: config.json, *.safetensors, tokenizer"),
    ("path/to/folder", "a Meta checkpoint: params.json, consolidated.*.pth, tokenizer.model"),
    ("path/to/file.gguf", "a GGUF file, made dense when it is loaded"),
)
#: How the class of a model that writes text ends.
_CAUSAL = ("ForCausalLM", "LMHeadModel")


def list_models() -> dict[str, Any]:
    """The embedded models, those in the hub's local cache, and how others are named."""
    from huggingface_hub import constants

    cached = sorted(_cached_models(), key=lambda row: str(row["name"]).lower())
    return {
        "embedded": [_embedded_row(name) for name in EMBEDDED],
        "cached": cached,
        "cache_folder": str(constants.HF_HUB_CACHE),
        "kinds": [{"name": name, "what": what} for name, what in KINDS],
    }


def describe_model(name: str, revision: str | None = None) -> dict[str, Any]:
    """What the model ``name`` is; of a hub model that is not in the cache, only settings are fetched.

    Raises:
        CotlensError: as `resolve_model` does.
    """
    source = resolve_model(name, revision, weights=False)
    facts = source.facts()
    weights = _weights(source)
    return _facts_row(facts) | {
        "name": name,
        "kind": _kind(source),
        "path": str(source.folder / source.gguf_file if source.gguf_file else source.folder),
        "neurons": facts.layers * facts.width if facts.layers and facts.width else None,
        "size_bytes": sum(file.stat().st_size for file in weights) if weights else None,
        "weight_files": len(weights),
        "tokenizer": source.kind == "gguf" or bool(source.tokenizer_files()),
        "chat_template": source.has_chat_template(),
    }


def _kind(source: ModelSource) -> str:
    if source.name in EMBEDDED:
        return "embedded"
    local = Path(source.name).expanduser().exists()
    layout = {"safetensors": "Hugging Face checkpoint", "gguf": "GGUF file", "meta": "Meta checkpoint"}[source.kind]
    return layout if local else f"{layout} on the hub"


def _weights(source: ModelSource) -> list[Path]:
    """The weight files; none of a hub model that is not fetched yet."""
    try:
        return source.weight_files()
    except ModelFormatError:
        return []


def _facts_row(facts: ModelFacts) -> dict[str, Any]:
    return asdict(facts) | {"own_code": list(facts.own_code)}


def _embedded_row(name: str) -> dict[str, Any]:
    model, converted = EMBEDDED[name], converted_folder(name)
    row: dict[str, Any] = {"name": name, "package": f"{model.distribution}=={model.version}"}
    row |= {"converted": None, "converted_bytes": None, "problem": None}
    if converted.is_dir():
        size = sum(file.stat().st_size for file in converted.iterdir())
        return row | {"converted": str(converted), "converted_bytes": size}
    try:
        packaged_file(name)
    except CotlensError as error:
        return row | {"problem": str(error)}
    return row


def _cached_models() -> Iterator[dict[str, Any]]:
    """The models in the hub's cache that write text, of each the revision that was fetched last."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, ValueError):
        return
    for repository in repositories:
        if repository.repo_type != "model" or not repository.revisions:
            continue
        newest = max(repository.revisions, key=lambda found: found.last_modified)
        facts = _cached_facts(newest.snapshot_path)
        if facts is None:
            continue
        yield _facts_row(facts) | {
            "name": repository.repo_id,
            "size_bytes": newest.size_on_disk,
            "complete": is_complete(newest.snapshot_path),
            "refused": why_refused(facts),
        }


def _cached_facts(folder: Path) -> ModelFacts | None:
    """What is known of a model in the cache; None if it is none that writes text."""
    try:
        if (folder / "config.json").is_file():
            facts = config_facts(read_config(folder))
            causal = (facts.architecture or "").endswith(_CAUSAL) and not facts.encoder_decoder
            return facts if causal else None
        return meta_facts(folder) if (folder / "params.json").is_file() else None
    except ModelFormatError:
        return None
