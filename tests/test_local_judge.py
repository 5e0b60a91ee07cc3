"""A local model judges by the probabilities of two words."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cotlens import LanguageModel
from cotlens.config import LabelConfig, RunConfig
from cotlens.judge.prompt import words_only
from cotlens.judge.protocol import DetectionQuestion, Question
from cotlens.local_judge import LocalJudge, yes_and_no
from cotlens.pipeline import STAGES, local_judge

QUESTION = Question("add", "Do these tokens express addition?", frozenset(), (" plus", " sum"))


def judge(folder: Path, **settings: object) -> LocalJudge:
    return LocalJudge(str(folder), LabelConfig(**settings), "cpu")


def by_hand(lm: LanguageModel, text: str, answers: tuple[str, ...]) -> float:
    """Log of the summed probability of the answers, each from a plain forward pass over text and answer."""
    ids = lm.encode(text)
    total = []
    for answer in answers:
        tokens = lm.encode(answer, special_tokens=False)
        with torch.no_grad():
            logits = lm.model(torch.tensor([[*ids, *tokens]])).logits[0].log_softmax(-1)
        total.append(sum(float(logits[len(ids) - 1 + n, token]) for n, token in enumerate(tokens)))
    return float(torch.tensor(total).logsumexp(0))


def test_log_probabilities_are_those_of_a_plain_forward(lm: LanguageModel) -> None:
    text = words_only(QUESTION, 1).user + "\nAnswer:"
    found = yes_and_no(lm, lm.encode(text), space=True)
    assert found.yes == pytest.approx(by_hand(lm, text, (" yes", " Yes")), abs=1e-4)
    assert found.no == pytest.approx(by_hand(lm, text, (" no", " No")), abs=1e-4)


def test_a_base_model_judges_and_says_how_sure_it_is(llama_folder: Path) -> None:
    local = judge(llama_folder)
    reply = local.ask(QUESTION)
    found = yes_and_no(local._lm, local._lm.encode(words_only(QUESTION, 1).user + "\nAnswer:"), space=True)
    assert reply.status == "ok"
    assert reply.verdict is (found.yes > found.no)
    assert 0.5 <= reply.confidence <= 1
    assert reply == local.ask(QUESTION), "it is deterministic"
    detection = DetectionQuestion("add", "addition", "", "2 ", "+", " 2")
    assert local.ask(detection).status == "ok"


def test_a_chat_template_is_used_where_there_is_one(
    llama_folder: Path, tmp_path: Path, make_lm: Callable[[str], LanguageModel]
) -> None:
    lm = make_lm("llama")
    before = getattr(lm.tokenizer, "chat_template", None)
    lm.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    try:
        lm.model.save_pretrained(tmp_path / "chat")
        lm.tokenizer.save_pretrained(tmp_path / "chat")
    finally:
        lm.tokenizer.chat_template = before
    local = judge(tmp_path / "chat")
    text = f"<user>{words_only(QUESTION, 1).user}<assistant>"
    expected = by_hand(local._lm, text, ("yes", "Yes"))
    assert f"{expected:.2f} for yes" in local.ask(QUESTION).reason


def test_identity_follows_model_and_question(llama_folder: Path) -> None:
    local = judge(llama_folder)
    assert local.identity(QUESTION) == judge(llama_folder).identity(QUESTION)
    assert local.identity(QUESTION) != local.identity(replace(QUESTION, tokens=(" plus",)))
    assert "_lm" not in local.__dict__, "the model is not loaded for that"


def test_a_question_that_is_too_long_gets_no_verdict(llama_folder: Path) -> None:
    reply = judge(llama_folder).ask(replace(QUESTION, tokens=tuple(f"word {n} of many" for n in range(400))))
    assert (reply.status, reply.verdict, reply.lasting) == ("failed", None, True)
    assert "2040" in reply.reason


def test_its_weights_are_part_of_the_key_and_its_precision_is_its_own(llama_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(llama_folder, folder)
    label = LabelConfig(judge=f"hf/{folder}")
    key = STAGES["label"].settings(RunConfig(label=label))
    assert STAGES["label"].settings(RunConfig(label=label)) == key
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert STAGES["label"].settings(RunConfig(label=label)) != key
    for given, expected in ((None, torch.float32), ("bfloat16", torch.bfloat16)):
        settings = LabelConfig(local_dtype=given)
        config = RunConfig(model={"device": "cpu"}, label=settings)
        made = local_judge(config)(str(llama_folder), settings)
        assert next(made._lm.model.parameters()).dtype == expected
