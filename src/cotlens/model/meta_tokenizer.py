"""``tokenizer.model`` of Meta's checkpoints: sentencepiece for Llama 1 and 2, ranks of byte pairs for Llama 3."""

from __future__ import annotations

import base64
import importlib
import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, processors
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter
from transformers.tokenization_utils_base import generate_merges

from cotlens.errors import MissingExtraError, ModelFormatError

__all__ = ["end_ids", "read_meta_tokenizer"]

_RANKS = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")
#: The tokens after the ranks; what follows them is reserved.
_LLAMA_3 = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|reserved_special_token_2|>", "<|reserved_special_token_3|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|reserved_special_token_4|>", "<|eot_id|>",
)  # fmt: skip
_LLAMA_3_1 = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
)  # fmt: skip
_SPECIAL_TOKENS = 256
#: What ends a text, a message or a turn; a base model writes the first only.
_ENDS = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
#: Text that two readers of one sentencepiece model must cut alike.
_PROBE = "  A box holds 12 eggs.\nLet's  think: 12 * 1,234.50 = naïve 🙂\n\n The answer is -3.\t"


def read_meta_tokenizer(file: Path, vocabulary: int = -1, newer: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer in ``file``, which puts the token of a text's beginning before it, as Meta's code does.

    Args:
        vocabulary: Tokens of the model, where ``params.json`` states them; tells how many special ones Llama 3 has.
        newer: Llama 3.1 or later, which names some special tokens otherwise.

    Raises:
        ModelFormatError: neither sentencepiece nor ranks, or damaged.
        MissingExtraError: ``sentencepiece`` is needed and not installed.
    """
    with file.open("rb") as head:
        ranked = _RANKS.match(head.readline())
    return _from_ranks(file, vocabulary, newer) if ranked else _from_sentencepiece(file)


def end_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens at which generation stops."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[name] for name in dict.fromkeys((str(tokenizer.eos_token), *_ENDS)) if name in vocabulary]


class _Ranks(TikTokenConverter):
    """The converter of `transformers`, with the file read here: it would want a package for splitting lines."""

    @staticmethod
    def load_tiktoken_bpe(tiktoken_url: str) -> dict[bytes, int]:
        ranks: dict[bytes, int] = {}
        for number, line in enumerate(Path(tiktoken_url).read_bytes().splitlines(), start=1):
            try:
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except ValueError:
                raise ModelFormatError(f"{tiktoken_url}, line {number}: expected a token and its rank") from None
        if sorted(ranks.values()) != list(range(len(ranks))):
            raise ModelFormatError(f"{tiktoken_url}: the ranks are not 0 to {len(ranks) - 1}; is it complete?")
        return ranks


def _from_ranks(file: Path, vocabulary: int, newer: bool) -> PreTrainedTokenizerBase:
    converter: Any = _Ranks(vocab_file=str(file))  # type: ignore[no-untyped-call]
    tokenizer: Tokenizer = converter.converted()
    special = vocabulary - tokenizer.get_vocab_size() if vocabulary > 0 else _SPECIAL_TOKENS
    if special < 2:
        raise ModelFormatError(
            f"{file}: {tokenizer.get_vocab_size()} tokens leave no room for special ones among {vocabulary}"
        )
    names = _special_names(_LLAMA_3_1 if newer else _LLAMA_3, special)
    begin, end = names[:2]
    tokenizer.add_special_tokens(names)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{begin} $A", pair=f"{begin} $A {begin} $B",
                special_tokens=[(begin, tokenizer.token_to_id(begin))],
            ),
        ]
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end)


def _special_names(named: tuple[str, ...], count: int) -> list[str]:
    first = sum("reserved" in name for name in named)
    reserved = [f"<|reserved_special_token_{number}|>" for number in range(first, first + count)]
    return [*named, *reserved][:count]


def _from_sentencepiece(file: Path) -> PreTrainedTokenizerBase:
    try:
        sentencepiece: Any = importlib.import_module("sentencepiece")
    except ModuleNotFoundError:
        raise MissingExtraError("sentencepiece", "meta") from None
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(file))
    except (OSError, RuntimeError) as error:
        raise ModelFormatError(f"{file}: neither a sentencepiece model nor a list of ranks: {error}") from None
    pieces = {model.id_to_piece(i): i for i in range(len(model))}
    special = [piece for piece, i in pieces.items() if model.is_control(i) or model.is_unknown(i)]
    tokenizer = LlamaTokenizer(
        vocab=pieces,
        merges=generate_merges(pieces, skip_tokens=special),
        bos_token=model.id_to_piece(model.bos_id()),
        eos_token=model.id_to_piece(model.eos_id()),
        unk_token=model.id_to_piece(model.unk_id()),
        add_bos_token=True,
        add_eos_token=False,
    )
    # A space goes before every text, also one that begins with spaces, which the library's own settings leave out.
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.backend_tokenizer.pre_tokenizer = None
    if tokenizer(_PROBE)["input_ids"] != [model.bos_id(), *model.encode(_PROBE)]:
        raise ModelFormatError(f"{file}: cuts text otherwise than the byte-pair tokenizers of Llama 1 and 2")
    return tokenizer
