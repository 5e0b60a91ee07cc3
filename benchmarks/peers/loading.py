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


def texts(model: Any, tokenizer: Any, rows: Sequence[Sequence[int]], stop: Sequence[str] = ()) -> dict[str, Any]:
    """Generated rows of ids as facts: the text of what stands before the end token, up to the first of ``stop``."""
    stops = ends(model, tokenizer)
    cut = [ids[: next((n for n, one in enumerate(ids) if one in stops), len(ids))] for ids in map(list, rows)]
    whole = [tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in cut]
    return {"texts": [min((text.split(one)[0] for one in stop), key=len, default=text) for text in whole]}
