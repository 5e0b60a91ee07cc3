"""A reply becomes the completion that the local engine would have given, or an error that names its question."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from cotlens import LanguageModel
from cotlens.errors import CotlensError, EnvironmentFault, InputError
from cotlens.generate.server_messages import Reply
from cotlens.generate.server_replies import prompt_text, read_reply
from cotlens.types import Completion

STOP = ("\n\nQuestion:",)
PROMPT = "Question: How many pens?\n"


def read(lm: LanguageModel, text: str, finish_reason: str = "stop", count: int = 50, **more: Any) -> Completion:
    usage = {"completion_tokens": more.pop("counted")} if "counted" in more else None
    choice = {"text": text, "finish_reason": finish_reason} | more
    reply = Reply.model_validate({"choices": [choice], "usage": usage})
    return read_reply(lm, lm.encode(PROMPT), reply, count, STOP, "question 'q7'")


def ids(lm: LanguageModel, text: str) -> list[int]:
    return lm.encode(text, special_tokens=False)


def test_text_is_tokenised_as_the_continuation_of_its_prompt(llama: LanguageModel) -> None:
    done = read(llama, "So 36 pens.", counted=6, stop_reason=None)
    assert done.prompt_ids + done.token_ids == tuple(llama.encode(f"{PROMPT}So 36 pens."))
    assert (done.text, done.stop_reason) == ("So 36 pens.", "eos")


def test_text_that_would_melt_into_its_prompt_is_tokenised_alone(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    melted, real = llama.encode("Melted"), llama.encode
    monkeypatch.setattr(
        LanguageModel,
        "encode",
        lambda _, text, special_tokens=True: melted if text == f"{PROMPT} pens" else real(text, special_tokens),
    )
    assert list(read(llama, " pens").token_ids) == real(" pens", False)


@pytest.mark.parametrize(
    ("reply", "text", "reason"),
    [
        ({"text": "So 5.\n\nQuestion: And"}, "So 5.", "stop"),
        ({"text": "So 5.\n\nQuestion:", "stop_reason": "\n\nQuestion:"}, "So 5.", "stop"),
        ({"text": "So 5.", "stop_reason": "\n\nQuestion:"}, "So 5.", "stop"),
        ({"text": "So 5.", "matched_stop": "\n\nQuestion:"}, "So 5.", "stop"),
        ({"text": "So 5.", "stop_reason": None}, "So 5.", "eos"),
        ({"text": "So 5.", "stop_reason": 128009}, "So 5.", "eos"),
        ({"text": "So 5.", "matched_stop": 2}, "So 5.", "eos"),
        ({"text": "So 5.", "counted": 4}, "So 5.", "eos"),
        ({"text": "So 5.", "counted": 12}, "So 5.", "stop"),
        ({"text": "So 5."}, "So 5.", "stop"),
        ({"text": "So 5.", "finish_reason": "length"}, "So 5.", "length"),
        ({"text": "", "stop_reason": None}, "", "eos"),
    ],
)
def test_why_it_ended(llama: LanguageModel, reply: dict[str, Any], text: str, reason: str) -> None:
    done = read(llama, **reply)
    assert (done.text, done.stop_reason) == (text, reason)
    assert llama.decode(list(done.token_ids)).startswith(text)


def test_without_stop_strings_only_the_end_token_stops(llama: LanguageModel) -> None:
    reply = Reply.model_validate({"choices": [{"text": "So 5.", "finish_reason": "stop"}]})
    assert read_reply(llama, llama.encode(PROMPT), reply, 50, (), "q").stop_reason == "eos"


def test_token_ids_win_over_the_text(llama: LanguageModel) -> None:
    single = [token for letter in "So 5." for token in ids(llama, letter)]
    assert single != ids(llama, "So 5.")
    assert list(read(llama, "So 5.", token_ids=[*single, 0], stop_reason=None).token_ids) == single


def test_token_ids_end_where_the_stop_begins(llama: LanguageModel) -> None:
    given = ids(llama, "So 5.\n\nQuestion:")
    done = read(llama, "So 5.", token_ids=given, stop_reason=STOP[0])
    assert (done.text, done.stop_reason) == ("So 5.", "stop")
    assert llama.decode(list(done.token_ids)).startswith("So 5.")
    assert len(done.token_ids) < len(given)


def test_a_character_that_was_cut_off_is_kept_as_its_tokens(llama: LanguageModel) -> None:
    cut = [*ids(llama, "So "), *ids(llama, "é")[:1]]
    assert llama.decode(cut).endswith("\ufffd"), "half a character"
    done = read(llama, "So ", "length", len(cut), token_ids=cut)
    assert list(done.token_ids) == cut


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"text": "So \ufffd"}, "holds a piece of a character; use a server that gives token ids"),
        ({"text": "So \ud800"}, r"does not survive the tokenizer here \('So \\ud800' at its end\)"),
        ({"text": "So 6.", "token_ids": "So 5."}, "token ids do not decode to its text here; serve the very model"),
        ({"text": "So", "token_ids": [70_000]}, "gives token ids that the model here has not got"),
        ({"text": "So", "prompt_token_ids": [1, 2]}, "splits the prompt into other tokens than here"),
    ],
)
def test_what_does_not_agree_names_the_question(llama: LanguageModel, reply: dict[str, Any], message: str) -> None:
    if isinstance(reply.get("token_ids"), str):
        reply = reply | {"token_ids": ids(llama, reply["token_ids"])}
    with pytest.raises(InputError, match=rf"^question 'q7': .*{message}"):
        read(llama, **reply)


def test_text_that_the_tokenizer_changes_is_an_error(llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    real = llama.encode
    monkeypatch.setattr(LanguageModel, "encode", lambda _, text, special=True, **__: real(text.replace("  ", " ")))
    with pytest.raises(
        InputError, match=r"^question 'q7': the server's text does not survive .*\('So  5' at its end\)"
    ):
        read(llama, "So  5")


def test_a_server_that_breaks_off_is_no_completion(llama: LanguageModel) -> None:
    with pytest.raises(EnvironmentFault, match=r"broke off after 9 of 50 tokens.*--max-model-len"):
        read(llama, "So 5.", "length", counted=9)


def test_special_tokens_before_a_prompt_are_put_there_by_the_server(
    llama: LanguageModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenizers.processors import TemplateProcessing

    copy = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    copy.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", copy.eos_token_id)]
    )
    monkeypatch.setattr(llama, "tokenizer", copy)
    assert llama.encode("So")[0] == copy.eos_token_id
    assert prompt_text(llama, llama.encode("So 5")) == ("So 5", True)
    assert prompt_text(llama, llama.encode("So 5", False)) == ("So 5", False)
    assert list(read(llama, "So 36.").token_ids) == ids(llama, "So 36.")


def test_a_prompt_without_a_text_is_told(llama: LanguageModel) -> None:
    letters = [token for letter in "Question" for token in ids(llama, letter)]
    with pytest.raises(CotlensError, match="use a server that takes token ids"):
        prompt_text(llama, letters)
