"""Completions over real sockets: the same as the local engine's, whatever the server knows and in what order it is."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from cotlens import LanguageModel, generate
from cotlens.config import GenerateConfig, PromptConfig
from cotlens.data import make_template
from cotlens.errors import ConfigError, EnvironmentFault, InputError
from cotlens.generate.answering import Task, answer, ask
from cotlens.generate.server import Server, complete_by_server, connect, find_model
from cotlens.types import Completion

Serve = Callable[..., Any]


def settings(server: Any, **more: Any) -> GenerateConfig:
    return GenerateConfig(server=server.url, **more)


def complete(
    server: Any, lm: LanguageModel, prompts: list[str] | tuple[str, ...], count: int = 12, stop: tuple[str, ...] = ()
) -> list[Completion]:
    ids = [lm.encode(prompt) for prompt in prompts]
    done = dict(complete_by_server(connect(lm, settings(server)), lm, ids, count, stop))
    return [done[index] for index in range(len(prompts))]


def says(text: str, finish_reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {"text": text, "finish_reason": finish_reason} | more


def test_tokens_text_and_end_are_those_of_the_local_engine(
    serve: Serve, make_lm: Callable[[str], LanguageModel], prompts: tuple[str, ...]
) -> None:
    lm = make_lm("llama")
    free = generate(lm, prompts, max_new_tokens=12, stop=())
    lm.__dict__["stop_ids"] = frozenset({0, free[1].token_ids[4]})
    stop = (lm.decode(list(free[3].token_ids[2:4]))[-2:],)  # begins within a token
    expected = generate(lm, prompts, max_new_tokens=12, stop=stop)
    assert {done.stop_reason for done in expected} == {"stop", "eos", "length"}
    assert complete(serve(lm=lm), lm, prompts, stop=stop) == expected


def test_a_request_is_greedy_and_asks_for_the_length_and_the_stops(serve: Serve, llama: LanguageModel) -> None:
    server = serve()
    complete(server, llama, ["Question: A box"], count=7, stop=("\n\n",))
    sent = server.asked[-1]
    assert sent["prompt"] == llama.encode("Question: A box")
    expected = {"model": "tiny", "temperature": 0, "max_tokens": 7, "stop": ["\n\n"], "return_token_ids": True}
    assert sent.items() >= (expected | {"repetition_penalty": 1.0}).items()
    assert "logprobs" not in sent


@pytest.mark.parametrize(
    ("kind", "takes_ids", "gives_ids", "extras", "probes"),
    [("vllm", True, True, True, 1), ("openai", True, False, False, 2), ("text", False, True, True, 3)],
)
def test_how_the_server_is_asked_is_found_out(
    serve: Serve, llama: LanguageModel, kind: str, takes_ids: bool, gives_ids: bool, extras: bool, probes: int
) -> None:
    server = serve(kind)
    assert connect(llama, settings(server, batch_size=5)) == Server(
        server.url, "tiny", takes_ids, gives_ids, extras, at_once=5
    )
    assert len(server.asked) == probes


def test_a_server_that_counts_ids_as_something_else_gets_text(serve: Serve, llama: LanguageModel) -> None:
    server = serve()
    server.faults.extend([lambda _: (200, {"choices": [says("x")], "usage": {"prompt_tokens": 99}})] * 2)
    assert not connect(llama, settings(server)).takes_ids


def test_other_tokens_for_a_text_are_told(serve: Serve, llama: LanguageModel, caplog: pytest.LogCaptureFixture) -> None:
    server = serve("text")
    server.faults.extend([400, 400, lambda _: (200, {"choices": [says("x")], "usage": {"prompt_tokens": 99}})])
    connect(llama, settings(server))
    assert "splits them into other tokens than the model here" in caplog.text


def test_a_prompt_goes_as_its_exact_text_where_ids_are_not_taken(serve: Serve, llama: LanguageModel) -> None:
    server = serve("text")
    server.texts["pens?"] = says("So 3 * 12 = 36.", usage={"completion_tokens": 20})
    [done] = complete(server, llama, ["How many pens?"])
    assert server.asked[-1]["prompt"] == "How many pens?"
    assert (done.text, done.stop_reason) == ("So 3 * 12 = 36.", "eos")
    assert list(done.token_ids) == llama.encode("So 3 * 12 = 36.", special_tokens=False)


def test_completions_may_come_in_any_order(serve: Serve, llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    server = serve()
    ready = connect(llama, settings(server))
    server.delay = lambda number: 1.0 if number == 2 else 0.0
    ids = [llama.encode(prompt) for prompt in prompts]
    arrived = list(complete_by_server(ready, llama, ids, 6, ()))
    expected = generate(llama, prompts, max_new_tokens=6, stop=())
    assert [expected[index] for index, _ in arrived] == [done for _, done in arrived]
    assert len({index for index, _ in arrived}) == 4
    # The first to arrive at the server is answered last.
    slow = server.asked[1]["prompt"]
    assert ids[arrived[-1][0]] == slow


def test_no_more_requests_at_a_time_than_allowed(serve: Serve, llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    server = serve()
    ready = connect(llama, settings(server, batch_size=3))
    server.delay = lambda _: 0.05
    many = [llama.encode(prompt) for prompt in prompts] * 3
    assert len(list(complete_by_server(ready, llama, many, 2, ()))) == 12
    assert server.most_waiting == 3


def test_no_prompts_need_no_server(llama: LanguageModel) -> None:
    assert list(complete_by_server(Server("http://127.0.0.1:9/v1", "x", True, True, True), llama, [], 5, ())) == []


def test_those_before_a_failed_one_are_still_given(serve: Serve, llama: LanguageModel) -> None:
    server = serve("openai")
    server.texts |= {"one?": says("It is 1."), "two?": says("\ufffd"), "three?": says("It is 3.")}
    ready = connect(llama, settings(server))
    first = len(server.asked) + 1
    server.delay = lambda number: 0.3 if number == first else 0.0
    ids = [llama.encode(text) for text in ("Is it one?", "Is it two?", "Is it three?")]
    done = complete_by_server(ready, llama, ids, 6, (), ["question 'a'", "question 'b'", "question 'c'"])
    given = []
    with pytest.raises(InputError, match=r"question 'b': the server's text does not survive"):
        given.extend(index for index, _ in done)
    assert 0 in given
    assert 1 not in given


def test_whoever_stops_listening_does_not_wait(serve: Serve, llama: LanguageModel, prompts: tuple[str, ...]) -> None:
    server = serve()
    ready = connect(llama, settings(server))
    server.faults.extend([None, *[lambda _: server.released.wait(60) and (500, "")] * 3])
    done = complete_by_server(ready, llama, [llama.encode(prompt) for prompt in prompts], 4, ())
    next(done)
    started = time.monotonic()
    done.close()
    assert time.monotonic() - started < 5


def test_answers_are_graded_as_the_engines_and_asked_twice(serve: Serve, llama: LanguageModel) -> None:
    server = serve("openai")
    template = make_template("zero_shot")
    prompts = ask(llama, template, ["How many pens?", "How many eggs?"], PromptConfig())
    server.texts[prompts[0].text] = says("So 3 * 12 is what we need.", "length")
    server.texts[template.elicit] = says(" 36 pens.")
    server.texts[prompts[1].text] = says("The answer is 2.")
    config = settings(server, answer_tokens=4)
    counts: list[int] = []
    [answers] = answer(llama, [Task(prompts)], template.elicit, config, counts.append, server=connect(llama, config))
    assert [(found.stated, found.strict) for found in answers] == [(" 36 pens.", 36), (None, 2)]
    assert server.asked[-1]["max_tokens"] == 4
    assert sum(counts) == 2


def test_the_model_is_the_only_one_offered_or_the_one_named(serve: Serve) -> None:
    server = serve()
    assert find_model(settings(server)) == "tiny"
    server.models = ["base", "tuned"]
    with pytest.raises(ConfigError, match=r"offers these models: base, tuned; name one as generate\.server_model"):
        find_model(settings(server))
    assert find_model(settings(server, server_model="tuned")) == "tuned"
    with pytest.raises(EnvironmentFault, match=r"no model 'tiny' \(generate\.server_model\); it offers base, tuned"):
        find_model(settings(server, server_model="tiny"))


def test_a_server_without_a_list_is_told_the_model(serve: Serve) -> None:
    server = serve()
    server.models = None
    assert find_model(settings(server, server_model="tiny")) == "tiny"
    with pytest.raises(ConfigError, match="none that it names"):
        find_model(settings(server))


def test_a_model_that_is_gone_is_named(serve: Serve, llama: LanguageModel) -> None:
    server = serve()
    ready = connect(llama, settings(server))
    server.models = ["another"]
    with pytest.raises(EnvironmentFault, match=r"HTTP 404: The model `tiny` does not exist.*asked for is 'tiny'"):
        list(complete_by_server(ready, llama, [[5]], 4, ()))
