"""Passages and questions under interventions, against the plain forward of the unmodified model."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
import torch

from cotlens import LanguageModel, Noise, Zero, intervene
from cotlens.data.plain import (
    QUESTIONS_READ,
    TEXTS_READ,
    PlainQuestion,
    PlainText,
    load_plain_questions,
    load_plain_texts,
)
from cotlens.errors import EnvironmentFault, InputError, NonFiniteError
from cotlens.intervene import specificity
from cotlens.intervene.plain_rows import PlainRows
from cotlens.intervene.specificity import score_plain

TEXTS = [
    PlainText("long", "The river leaves the hills as a narrow stream, and the banks turn soft with reeds."),
    PlainText("short", "Moss drinks."),
]
QUESTIONS = [
    PlainQuestion("bees", "What do bees make?", ("honey", "bread", "a house", "a honey house"), 0),
    PlainQuestion("cold", "What is the opposite of hot?", ("dry", "cold", "cold as ice", "wet"), 1),
]
NEURONS = [(0, 3), (1, 40), (1, 7), (1, 41), (2, 11)]
INTERVENTIONS: list[Sequence[Noise | Zero]] = [
    (),
    (Noise(NEURONS, sigma=4.0, seed=3),),
    (Zero([(0, 1), (2, 2)]), Noise([(1, 1)], sigma=9.0)),
]


def scored(lm: LanguageModel, interventions: Sequence[Sequence[Noise | Zero]] = INTERVENTIONS) -> list[pl.DataFrame]:
    found = list(score_plain(lm, interventions, texts=TEXTS, questions=QUESTIONS))
    assert [index for index, _ in found] == list(range(len(interventions)))
    return [frame for _, frame in found]


def log_probs(lm: LanguageModel, context: str, text: str) -> list[float]:
    """Of the tokens that ``text`` adds to ``context``, by the model's own forward."""
    ids = lm.encode(f"{context}{text}")
    before = max(1, len(lm.encode(context)) if context else 1)
    with torch.inference_mode():
        scores = lm.model(torch.tensor([ids])).logits[0].float().log_softmax(dim=1)
    return [float(scores[place - 1, ids[place]]) for place in range(before, len(ids))]


def by_hand(lm: LanguageModel) -> pl.DataFrame:
    rows = []
    for text in TEXTS:
        found = log_probs(lm, "", text.text)
        rows.append(("text", text.id, len(found), sum(found), None))
    for question in QUESTIONS:
        options = [log_probs(lm, question.prompt, f" {option}") for option in question.options]
        means = [float(np.mean(found)) for found in options]
        right = question.right
        rows.append(("questions", question.id, len(options[right]), means[right], int(np.argmax(means)) == right))
    return pl.DataFrame(rows, schema=["measure", "item", "tokens", "log_prob", "correct"], orient="row")


def assert_close(found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    exact = ["measure", "item", "tokens", "correct"]
    assert found[exact].rows() == wanted[exact].rows()
    np.testing.assert_allclose(found["log_prob"].to_numpy(), wanted["log_prob"].to_numpy(), rtol=1e-4, atol=1e-4)


def test_equals_the_plain_forward_of_every_architecture(any_lm: LanguageModel) -> None:
    for edits, found in zip(INTERVENTIONS, scored(any_lm), strict=True):
        with intervene(any_lm, edits):
            assert_close(found, by_hand(any_lm))


def test_the_table_has_the_stated_types(llama: LanguageModel) -> None:
    assert scored(llama)[0].schema == {
        "measure": pl.String, "item": pl.String, "tokens": pl.Int32, "log_prob": pl.Float64, "correct": pl.Boolean,
    }  # fmt: skip


def test_an_edit_changes_the_numbers(llama: LanguageModel) -> None:
    untouched, noisy, _ = scored(llama)
    assert (untouched["log_prob"] - noisy["log_prob"]).abs().min() > 1e-3


@pytest.mark.parametrize("tokens", [9, 60])
def test_numbers_do_not_depend_on_the_batches(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    wanted = scored(lm)
    monkeypatch.setattr(specificity, "_TOKENS_AT_ONCE", tokens)
    for frame, other in zip(scored(lm), wanted, strict=True):
        assert_close(frame, other)


def test_logits_are_held_a_few_at_a_time(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = scored(llama)
    held: list[int] = []
    log_probs = specificity._log_probs

    def counted(logits, source, targets):
        held.append(len(logits))
        return log_probs(logits, source, targets)

    monkeypatch.setattr(specificity, "_log_probs", counted)
    monkeypatch.setattr(specificity, "_LOGITS_AT_ONCE", 7 * llama.unembedding.shape[0])
    for frame, other in zip(scored(llama), wanted, strict=True):
        assert_close(frame, other)
    assert max(held) <= 7 < sum(held)


@pytest.mark.parametrize("architecture", ["llama", "falcon"])
def test_interventions_that_share_a_batch_keep_their_numbers(
    make_lm, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    lm = make_lm(architecture)
    alone = scored(lm)
    monkeypatch.setattr(specificity, "_shares", lambda _lm, interventions, _tokens: [[*range(len(interventions))]])
    for frame, other in zip(scored(lm), alone, strict=True):
        assert_close(frame, other)


def test_on_a_cpu_the_bits_of_an_intervention_depend_on_no_other(llama: LanguageModel) -> None:
    assert scored(llama, INTERVENTIONS[1:2])[0].equals(scored(llama)[1])


class _OnAccelerator:
    """What decides about sharing, of a model that is on an accelerator."""

    device = torch.device("cuda")
    d_ff = 10
    unembedding = torch.zeros(100, 1)


def test_on_an_accelerator_interventions_share_what_fits_in_a_forward_pass() -> None:
    small, large = (Zero([(0, 1)] * n) for n in (2, 9))
    shares = lambda edits, tokens: list(specificity._shares(_OnAccelerator(), [[e] for e in edits], tokens))  # noqa: E731
    assert shares([small] * 5, 4000) == [[0, 1], [2, 3], [4]], "8192 tokens at a time"
    assert shares([small] * 6, 10) == [[0, 1, 2, 3, 4], [5]], "no more neurons together than a layer has"
    assert shares([small, large, large, small], 10) == [[0], [1], [2], [3]]
    assert shares([small], 10**9) == [[0]], "one alone, whatever its size"


def test_options_that_begin_alike_share_a_row(llama: LanguageModel) -> None:
    question = PlainQuestion("q", QUESTIONS[0].question, ("the", "a box", "the box", "the box of pens"), 0)
    found = [row.ids for row in PlainRows(llama, (), [question]).rows]
    longest, other = (llama.encode(f"{question.prompt} {question.options[place]}")[:-1] for place in (3, 1))
    assert found == [longest, other]


def test_each_options_tokens_are_asked_for_once(llama: LanguageModel) -> None:
    plain = PlainRows(llama, TEXTS, QUESTIONS)
    asked = [(a.run, row.ids[: a.place + 1], a.token) for row in plain.rows for a in row.asked]
    for run, (question, option) in enumerate(((q, o) for q in QUESTIONS for o in q.options), start=len(TEXTS)):
        ids = llama.encode(f"{question.prompt} {option}")
        start = len(llama.encode(question.prompt))
        mine = sorted((before, token) for owner, before, token in asked if owner == run)
        assert mine == sorted((ids[:place], ids[place]) for place in range(start, len(ids)))


def test_the_likeliest_option_per_token_is_the_answer(llama: LanguageModel) -> None:
    plain = PlainRows(llama, (), [PlainQuestion("q", "What is it?", ("it", "a box of pens"), 1)])
    short, long = (len(llama.encode(f"{plain.questions[0].prompt} {option}")) for option in ("it", "a box of pens"))
    tokens = long - short + 1  # the first option is one token
    assert plain.table(np.array([-2.0, -1.9 * tokens]), "no edit").rows() == [("questions", "q", tokens, -1.9, True)]
    assert plain.table(np.array([-2.0, -2.1 * tokens]), "no edit")["correct"].to_list() == [False]
    assert plain.table(np.array([-2.0, -2.0 * tokens]), "no edit")["correct"].to_list() == [False], (
        "ties go to the first"
    )


def test_a_token_that_the_tokenizer_puts_first_is_read_and_not_scored(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    [plain] = [frame for _, frame in score_plain(llama, [()], texts=TEXTS, questions=[])]
    encode = llama.encode
    monkeypatch.setattr(llama, "encode", lambda text, special_tokens=True: [0] * special_tokens + encode(text))
    [begun] = [frame for _, frame in score_plain(llama, [()], texts=TEXTS, questions=[])]
    assert (begun["tokens"] - plain["tokens"]).to_list() == [1, 1]


def test_out_of_memory_halves_the_batch(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = scored(llama)
    forward = specificity._Scorer._forward
    sizes: list[int] = []

    def limited(self, batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(self, batch)

    monkeypatch.setattr(specificity._Scorer, "_forward", limited)
    for frame, other in zip(scored(llama), wanted, strict=True):
        assert_close(frame, other)
    assert max(sizes) > 2


def test_out_of_memory_with_one_row_is_told(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self, batch):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(specificity._Scorer, "_forward", fail)
    with pytest.raises(EnvironmentFault, match=r"out of memory with one passage of \d+ tokens"):
        scored(llama)


def test_a_number_that_is_not_finite_stops_and_names_the_item(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = lambda self, batch: np.full(sum(len(row.asked) for _, row in batch), np.nan)  # noqa: E731
    monkeypatch.setattr(specificity._Scorer, "_forward", broken)
    with pytest.raises(NonFiniteError, match="long, under Noise of 5 neurons: its log-probability is nan"):
        scored(llama, [(Noise(NEURONS, sigma=1.0),)])


def test_a_wrong_neuron_is_named(llama: LanguageModel) -> None:
    with pytest.raises(InputError, match="L7N0: layer 7"):
        scored(llama, [(Zero([(7, 0)]),)])


def test_a_passage_of_one_token_is_refused(llama: LanguageModel) -> None:
    with pytest.raises(InputError, match="text-09: 'a' is a single token"):
        list(score_plain(llama, [()], texts=[PlainText("text-09", "a")], questions=[]))


def test_a_passage_beyond_the_context_is_refused(llama: LanguageModel) -> None:
    long = PlainText("text-07", "a b c d e f " * 400)
    with pytest.raises(InputError, match=r"text-07 is \d+ tokens long; tiny-llama reads at most 2048"):
        list(score_plain(llama, [()], texts=[long], questions=[]))


def test_progress_counts_items_and_the_default_is_a_part_of_the_bundled_ones(llama: LanguageModel) -> None:
    told: list[int] = []
    [(_, frame)] = score_plain(llama, [()], told.append)
    assert told == [frame.height] == [TEXTS_READ + QUESTIONS_READ]
    assert frame.filter(measure="text")["item"].to_list() == [text.id for text in load_plain_texts()[:TEXTS_READ]]
    assert frame.filter(measure="questions")["item"].to_list() == [
        q.id for q in load_plain_questions()[:QUESTIONS_READ]
    ]


def test_no_hook_is_left_even_after_an_error(llama: LanguageModel) -> None:
    with pytest.raises(NonFiniteError):
        scored(llama, [(Noise(NEURONS, sigma=float("inf")),)])
    assert not llama.model.get_output_embeddings()._forward_pre_hooks
    assert all(not ffn.down_projection._forward_hooks for ffn in llama.ffn)


@pytest.mark.embedded
def test_the_embedded_model_reads_prose_and_knows_what_bees_make(smollm2: LanguageModel) -> None:
    texts, questions = load_plain_texts(limit=2), load_plain_questions(limit=24)
    late = (Noise([(25, neuron) for neuron in range(0, 1536, 2)], sigma=6.0),)
    untouched, broken = (frame for _, frame in score_plain(smollm2, [(), late], texts=texts, questions=questions))

    def perplexity(frame: pl.DataFrame) -> float:
        passages = frame.filter(measure="text")
        return math.exp(-passages["log_prob"].sum() / passages["tokens"].sum())

    assert perplexity(untouched) < 80
    assert untouched["correct"].mean() > 0.6, "chance is 0.25"
    assert perplexity(broken) > 2 * perplexity(untouched)
