"""Generate with little more address space than the process has already, and tell what became of the batch, as JSON.

Usage: memory_driver.py
"""

import json
import resource
import sys

import psutil
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from cotlens import LanguageModel, generate
from cotlens.model.shared_prefix import RowBatch

#: The first row begins alone: with the second, a pass would have too many tokens.
ROWS, LONGEST, SECOND = 64, 1600, 500
#: Places for 64 rows take 800 MiB, places for 8 take 100.
HEADS, HEAD_DIM, LAYERS = 4, 128, 2
ROOM = 2**28


def main() -> None:
    torch.set_num_threads(1)
    lm = make_model()
    generator = torch.Generator().manual_seed(0)
    lengths = [LONGEST, SECOND, *range(3, ROWS + 1)]
    prompts = [[7] * 20 + torch.randint(1, 99, (n,), generator=generator).tolist() for n in lengths]
    expected = generate(lm, prompts, 4, (), batch_size=4)
    rows, places = [], []
    begin, opened = RowBatch.begin, RowBatch.__init__

    def noted_begin(batch: RowBatch, *asked: object) -> torch.Tensor:
        logits = begin(batch, *asked)
        rows.append(len(batch))
        return logits

    def noted_open(batch: RowBatch, lm: object, prefixes: object, slots: int, *rest: object) -> None:
        places.append(slots)
        opened(batch, lm, prefixes, slots, *rest)

    RowBatch.begin, RowBatch.__init__ = noted_begin, noted_open
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    found = generate(lm, prompts, 4, (), batch_size=ROWS)
    json.dump({"same": found == expected, "rows_at_most": max(rows), "places": places}, sys.stdout)


def make_model() -> LanguageModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS, head_dim=HEAD_DIM, eos_token_id=0, bos_token_id=None,
    )  # fmt: skip
    tokens = Tokenizer(models.WordLevel({f"w{n}": n for n in range(100)}, "w0"))
    return LanguageModel(
        AutoModelForCausalLM.from_config(config), PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="w0")
    )


main()
