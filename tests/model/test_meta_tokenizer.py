"""Tokenizers of Meta's checkpoints: ids must be those of the code that they were made for."""

import base64
import sys
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
import regex

from cotlens.errors import MissingExtraError, ModelFormatError
from cotlens.model.meta_tokenizer import end_ids, read_meta_tokenizer

TEXTS = [
    "A box holds 12 eggs.",
    "Question: naïve 🙂 costs $1,234.50?\nLet's think step by step\n\n  12 * 7 = 84;  it'll do",
    "  two spaces, a\ttab and a trailing one ",
    "<s> is no token of the text, nor is <|begin_of_text|>",
    "日本語 and ▁ as they are",
]
#: How Llama 3 cuts a text before it joins bytes.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
PAIRS = (
    b"th",
    b"the",
    b" a",
    b"in",
    b" the",
    b"ing",
    b"12",
    b"123",
    b"st",
    b"ste",
    b"step",
    b"\xf0\x9f",
    b"'s",
    b".\n",
)
SENTENCEPIECE = {
    "model_type": "bpe", "vocab_size": 500, "byte_fallback": True, "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False, "split_digits": True, "pad_id": -1, "minloglevel": 2,
}  # fmt: skip


def ranks() -> dict[bytes, int]:
    return {token: rank for rank, token in enumerate([*(bytes([byte]) for byte in range(256)), *PAIRS])}


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    file = tmp_path / "tokenizer.model"
    file.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks().items()))
    return file


def join(piece: bytes) -> list[int]:
    """The whole piece if it has a rank; else pairs are joined, the lowest rank first."""
    known = ranks()
    parts = [piece] if piece in known else [piece[i : i + 1] for i in range(len(piece))]
    while True:
        pairs = [(known.get(left + right, len(known)), i) for i, (left, right) in enumerate(pairwise(parts))]
        rank, place = min(pairs, default=(len(known), 0))
        if rank == len(known):
            return [known[part] for part in parts]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


@pytest.mark.parametrize("text", TEXTS[:3] + TEXTS[4:])
def test_ranks_are_joined_as_in_llama_3(ranked: Path, text: str) -> None:
    tokenizer = read_meta_tokenizer(ranked)
    expected = [rank for piece in regex.findall(PATTERN, text) for rank in join(piece.encode())]
    assert tokenizer(text)["input_ids"] == [len(ranks()), *expected]
    assert tokenizer.decode(expected, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize(
    ("newer", "places"),
    [
        (False, {"<|begin_of_text|>": 0, "<|end_of_text|>": 1, "<|eot_id|>": 9, "<|reserved_special_token_5|>": 10}),
        (True, {"<|eom_id|>": 8, "<|eot_id|>": 9, "<|python_tag|>": 10, "<|reserved_special_token_3|>": 11}),
    ],
)
def test_special_tokens_have_the_places_of_their_release(ranked: Path, newer: bool, places: dict[str, int]) -> None:
    tokenizer = read_meta_tokenizer(ranked, newer=newer)
    assert len(tokenizer) == len(ranks()) + 256
    first = len(ranks())
    assert {name: tokenizer.convert_tokens_to_ids(name) - first for name in places} == places
    last = 255 - 5 if not newer else 255 - 8
    assert tokenizer.convert_ids_to_tokens(first + 255) == f"<|reserved_special_token_{last}|>"
    assert end_ids(tokenizer) == [first + place for place in ((1, 8, 9) if newer else (1, 9))]


def test_special_tokens_are_as_many_as_the_model_has(ranked: Path) -> None:
    assert len(read_meta_tokenizer(ranked, vocabulary=len(ranks()) + 12)) == len(ranks()) + 12


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [*lines[:3], b"not a rank"], r"tokenizer\.model, line 4: expected a token and its rank"),
        (lambda lines: lines[:3] + lines[4:], r"ranks are not 0 to 268; is it complete\?"),
    ],
)
def test_a_damaged_list_of_ranks_is_told_by_its_line(ranked: Path, damage, message: str) -> None:
    ranked.write_bytes(b"\n".join(damage(ranked.read_bytes().splitlines())))
    with pytest.raises(ModelFormatError, match=message):
        read_meta_tokenizer(ranked)


def test_without_sentencepiece_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0b\n\x05<unk>")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingExtraError, match=r"sentencepiece is not installed.*cotlens\[meta\]"):
        read_meta_tokenizer(tmp_path / "tokenizer.model")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentencepiece model with the settings of Llama 2's, trained on the bundled problems."""
    return train(tmp_path_factory.mktemp("pieces") / "tokenizer.model")


def train(file: Path, **settings: object) -> Path:
    sentencepiece = pytest.importorskip("sentencepiece")
    text = resources.files("cotlens.data").joinpath("mini.jsonl").read_text(encoding="utf-8").splitlines()
    with file.open("wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text), model_writer=out, **SENTENCEPIECE | settings
        )
    return file


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_are_those_of_sentencepiece(pieces: Path, text: str) -> None:
    import sentencepiece

    original = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    tokenizer = read_meta_tokenizer(pieces)
    assert tokenizer.is_fast
    expected = original.encode(text)
    assert tokenizer.convert_ids_to_tokens(expected[:1]) == [original.id_to_piece(expected[0])]
    if "<s>" not in text:  # a text that spells out a special token is read as one, as transformers does everywhere
        assert tokenizer(text)["input_ids"] == [1, *expected]
    assert tokenizer(text, add_special_tokens=False)["input_ids"][-3:] == expected[-3:]
    assert tokenizer.decode(expected, clean_up_tokenization_spaces=False) == original.decode(expected)
    assert (tokenizer.bos_token, tokenizer.eos_token, end_ids(tokenizer)) == ("<s>", "</s>", [2])


def test_pieces_that_would_be_cut_otherwise_are_refused(tmp_path: Path) -> None:
    other = train(tmp_path / "tokenizer.model", model_type="unigram")
    with pytest.raises(ModelFormatError, match="cuts text otherwise"):
        read_meta_tokenizer(other)


def test_bytes_that_are_no_tokenizer_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    (tmp_path / "tokenizer.model").write_bytes(b"\x00\x01nothing of the kind")
    with pytest.raises(ModelFormatError, match=r"tokenizer\.model: neither a sentencepiece model nor"):
        read_meta_tokenizer(tmp_path / "tokenizer.model")
