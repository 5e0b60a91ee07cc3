import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cotlens import LanguageModel, search_token
from cotlens.errors import InputError, NonFiniteError
from cotlens.project.search import describe_token, find_token

TOKEN = 123


def all_logits(lm: LanguageModel, gain: bool = False) -> np.ndarray:
    """[N, V], in fp64."""
    values = torch.cat([ffn.value_vectors for ffn in lm.ffn]).double()
    return (values * (lm.final_norm_gain.double() if gain else 1) @ lm.unembedding.double().T).numpy()


def in_order(lm: LanguageModel, found: Any) -> np.ndarray:
    """Each row's neuron, counted through all layers."""
    return found["layer"].to_numpy() * lm.ffn[0].width + found["neuron"].to_numpy()


@pytest.fixture
def whole_numbers(make_lm: Callable[[str], LanguageModel]) -> LanguageModel:
    """Weights from -2 to 2: logits are exact, and most are shared by many neurons and many tokens."""
    lm = make_lm("llama")
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=torch.Generator().manual_seed(0)))
    return lm


@pytest.mark.parametrize("norm", ["none", "gamma"])
def test_finds_what_comparing_every_neuron_finds(lm: LanguageModel, norm: str) -> None:
    found = search_token(lm, TOKEN, top_k=7, norm=norm, top_n=4)
    logits = all_logits(lm, gain=norm == "gamma")
    own = logits[:, TOKEN]
    np.testing.assert_array_equal(in_order(lm, found), [*np.argsort(-own)[:7], *np.argsort(own)[:7]])
    assert found["effect"].to_list() == ["promotes"] * 7 + ["suppresses"] * 7
    np.testing.assert_allclose(found["logit"], own[in_order(lm, found)], rtol=1e-4, atol=1e-5)
    for row in found.iter_rows(named=True):
        neuron = logits[row["layer"] * lm.ffn[0].width + row["neuron"]]
        better = neuron > neuron[TOKEN] if row["effect"] == "promotes" else neuron < neuron[TOKEN]
        assert row["rank"] == better.sum() + 1
        assert row["promoted_ids"] == np.argsort(-neuron)[:4].tolist()
        assert row["suppressed_ids"] == np.argsort(neuron)[:4].tolist()
        assert row["promoted"] == [lm.token_text(i) for i in row["promoted_ids"]]
        assert row["value_norm"] == pytest.approx(
            float(lm.ffn[row["layer"]].value_vectors[row["neuron"]].norm()), rel=1e-5
        )
        assert row["norm"] == norm


def test_equal_neurons_and_equal_tokens_go_by_index(
    whole_numbers: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = sys.modules["cotlens.project.search"]
    monkeypatch.setattr(search, "PIECE", 150)
    monkeypatch.setattr(search, "_RANKED", 4)
    monkeypatch.setattr(search, "_ROWS", 10)
    found = search_token(whole_numbers, TOKEN, top_k=144)
    logits = all_logits(whole_numbers)
    own = logits[:, TOKEN]
    assert len(np.unique(own)) < 60
    order = [*np.argsort(-own, kind="stable"), *np.argsort(own, kind="stable")]
    np.testing.assert_array_equal(in_order(whole_numbers, found), order)
    sign = np.repeat([-1, 1], 144)
    ranks = [
        np.flatnonzero(np.argsort(end * logits[n], kind="stable") == TOKEN)[0] + 1
        for end, n in zip(sign, order, strict=True)
    ]
    assert found["rank"].to_list() == ranks


def test_half_precision_is_compared_in_fp32(make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm("llama")
    lm.model.to(torch.bfloat16)
    found = search_token(lm, TOKEN, top_k=3)
    own = all_logits(lm)[:, TOKEN]
    np.testing.assert_allclose(found["logit"], [*np.sort(own)[::-1][:3], *np.sort(own)[:3]], rtol=1e-5)


def test_the_text_of_a_token_is_as_good_as_its_id(llama: LanguageModel) -> None:
    text = next(lm for i in range(300, 400) if (lm := llama.token_text(i)).startswith(" ") and lm.strip().isalpha())
    [number] = llama.encode(text)
    assert search_token(llama, text, 2).equals(search_token(llama, np.int64(number), 2))
    described = describe_token(llama, number, 2)
    assert (described["token"], described["token_id"], described["neurons"]) == (text, number, 144)
    assert len(described["promotes"]) == len(described["suppresses"]) == 2
    first = described["promotes"][0]
    assert first["promoted"][0].keys() == {"token", "id", "logit"}
    assert first["logit"] == pytest.approx(search_token(llama, text, 2)["logit"][0])


def test_a_piece_of_a_character_is_found_by_id(llama: LanguageModel) -> None:
    [first, *_] = llama.encode("☃")
    assert "\ufffd" in llama.token_text(first)
    assert search_token(llama, first, 1).height == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '"" is no token; give exactly one token'),
        (" the the", r'" *␣the␣the" is 2 tokens: "␣the" "␣the"; give exactly one token'),
        ("the ", "[23] tokens: .*such as ' the'"),
        ("☃" * 9, r"is 27 tokens: (\"\S+\" ){8}\.\.\."),
        ("a\x1b[31m", r'"a\\x1b\[31m" is \d tokens: "a" "\\x1b"'),
        ("\udcff", "'.udcff' is not valid Unicode text; give the token by its id"),
        ("a" * 100_000, '"aaaaaaaaaaaaaaaaaaaaaaa…" is .* tokens'),
    ],
    ids=["empty", "two", "space at the wrong end", "bytes", "escape", "surrogate", "long"],
)
def test_a_text_that_is_not_one_token_is_told_with_its_pieces(llama: LanguageModel, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        find_token(llama.tokenizer, text)
    assert len(str(caught.value)) < 400


def test_a_word_that_the_tokenizer_does_not_know_is_no_token() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "plus": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    assert find_token(tokenizer, "plus") == find_token(tokenizer, " plus") == 1
    with pytest.raises(InputError, match='"minus" is read as "<unk>"'):
        find_token(tokenizer, "minus")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": 400}, "token 400 is out of range; tiny-llama has 0 to 399"),
        ({"token": -1}, "token -1 is out of range"),
        ({"token": TOKEN, "top_k": 0}, "top_k is 0; give 1 to 144"),
        ({"token": TOKEN, "top_k": 145}, "top_k is 145; give 1 to 144"),
        ({"token": TOKEN, "top_n": 401}, "top_n is 401"),
    ],
)
def test_bad_input_is_named(llama: LanguageModel, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        search_token(llama, **options)


def test_broken_weights_are_named(make_lm: Callable[[str], LanguageModel]) -> None:
    lm = make_lm("gpt2")
    lm.ffn[2].down_projection.weight.data[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="layer 2: "):
        search_token(lm, TOKEN)
    lm = make_lm("llama")
    lm.model.lm_head.weight.data[TOKEN, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="token 123: its row"):
        search_token(lm, TOKEN)
