"""The model and the tokenizer as a user of transformers loads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


def load(job: dict[str, Any]) -> tuple[Any, Any]:
    """Model and tokenizer from the job's ``folder``, in its ``dtype``, on its ``device``."""
    logging.disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=getattr(torch, job["dtype"]))
    tokenizer: Any = AutoTokenizer.from_pretrained(job["folder"])
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model.eval().to(job["device"]), tokenizer


def ends(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a text."""
    declared = model.generation_config.eos_token_id
    ids = set(declared) if isinstance(declared, list) else {declared}
    return {int(one) for one in ids | {tokenizer.eos_token_id} if one is not None}


def texts(model: Any, tokenizer: Any, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Generated rows of ids as facts: what stands before the end token, and its text."""
    stops = ends(model, tokenizer)
    cut = [ids[: next((n for n, one in enumerate(ids) if one in stops), len(ids))] for ids in map(list, rows)]
    return {
        "texts": [tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in cut]
    }
