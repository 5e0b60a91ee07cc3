import pytest

from cotlens import LanguageModel, generate
from cotlens.generate.stopping import StopRule


def rule(lm: LanguageModel, *stop: str, most: int = 50) -> StopRule:
    return StopRule(lm, stop, most)


def test_goes_on_before_any_stop(llama: LanguageModel) -> None:
    assert rule(llama, "Question:").check(llama.encode("The answer is 5. Quest")) is None


def test_a_stop_string_ends_the_text_and_its_tokens_do_not_count(llama: LanguageModel) -> None:
    kept = llama.encode("The answer is 5.")
    stopped = rule(llama, "\n\nQuestion:").check(kept + llama.encode("\n\nQuestion:"))
    assert stopped is not None
    assert (stopped.text, stopped.reason) == ("The answer is 5.", "stop")
    assert list(stopped.token_ids) == kept


def test_a_token_that_straddles_the_stop_is_kept_and_its_text_is_cut(llama: LanguageModel) -> None:
    long = next(token for token in range(300, 400) if len(llama.token_text(token)) > 2)
    ids = [*llama.encode("x"), long, *llama.encode("y")]
    stop = llama.token_text(long)[-1] + "y"  # begins within the second token
    stopped = rule(llama, stop).check(ids)
    assert stopped is not None
    assert stopped.text == "x" + llama.token_text(long)[:-1]
    assert list(stopped.token_ids) == ids[:2]


def test_the_earliest_of_several_stops_counts(llama: LanguageModel) -> None:
    stopped = rule(llama, "zz", "b", "a").check(llama.encode("xx a b zz"))
    assert stopped is not None
    assert stopped.text == "xx "


def test_the_end_token_stops_and_does_not_count(llama: LanguageModel) -> None:
    ids = llama.encode("done")
    stopped = rule(llama).check([*ids, 0])
    assert stopped is not None
    assert (list(stopped.token_ids), stopped.text, stopped.reason) == (ids, "done", "eos")


def test_the_length_stops(llama: LanguageModel) -> None:
    ids = llama.encode("abc")
    stopped = rule(llama, most=len(ids)).check(ids)
    assert stopped is not None
    assert (stopped.text, stopped.reason) == ("abc", "length")


def test_an_empty_stop_string_is_ignored(llama: LanguageModel) -> None:
    assert rule(llama, "").check(llama.encode("abc")) is None


@pytest.mark.parametrize("count", [1, 4])
def test_generated_text_is_cut_at_a_stop_that_the_model_writes(llama: LanguageModel, count: int) -> None:
    free = generate(llama, ["Question: A box"], max_new_tokens=30, stop=())[0]
    stop = llama.decode(list(free.token_ids[6 : 6 + count]))
    cut = free.text.index(stop)
    done = generate(llama, ["Question: A box"], max_new_tokens=30, stop=(stop,))[0]
    assert done.text == free.text[:cut]
    assert done.stop_reason == "stop"
    assert free.token_ids[: len(done.token_ids)] == done.token_ids


def test_told_to_go_on_the_tokens_pass_the_end_and_the_text_does_not(llama: LanguageModel) -> None:
    kept = llama.encode("The answer is 5.")
    ids = [*kept, 0, *llama.encode("The answer is 7."), 0]
    onward = StopRule(llama, (), len(ids), stop_at_end=False)
    assert all(onward.check(ids[:count]) is None for count in range(1, len(ids)))
    stopped = onward.check(ids)
    assert stopped is not None
    assert (list(stopped.token_ids), stopped.text, stopped.reason) == (ids, "The answer is 5.", "eos")


def test_told_to_go_on_a_text_without_an_end_ends_at_the_length(llama: LanguageModel) -> None:
    ids = llama.encode("abc")
    stopped = StopRule(llama, (), len(ids), stop_at_end=False).check(ids)
    assert stopped is not None
    assert (list(stopped.token_ids), stopped.text, stopped.reason) == (ids, "abc", "length")


def test_told_to_go_on_a_stop_string_still_stops_and_an_earlier_end_cuts_the_text(llama: LanguageModel) -> None:
    first, second = llama.encode("one"), llama.encode("two")
    ids = [*first, 0, *second, *llama.encode("STOP")]
    stopped = StopRule(llama, ("STOP",), 99, stop_at_end=False).check(ids)
    assert stopped is not None
    assert (list(stopped.token_ids), stopped.text, stopped.reason) == ([*first, 0, *second], "one", "eos")


def test_generation_goes_on_after_the_end_token_if_told_to(make_lm) -> None:
    lm = make_lm("llama")
    free = generate(lm, ["Question: A box"], max_new_tokens=12, stop=())[0]
    lm.stop_ids = frozenset({free.token_ids[4]})  # a token that the model does write
    place = free.token_ids.index(free.token_ids[4])
    ended = generate(lm, ["Question: A box"], max_new_tokens=12, stop=())[0]
    assert (ended.token_ids, ended.stop_reason) == (free.token_ids[:place], "eos")
    onward = generate(lm, ["Question: A box"], max_new_tokens=12, stop=(), stop_at_end=False)[0]
    assert onward.token_ids == free.token_ids, "the end token and all that comes after it are kept"
    assert (onward.text, onward.stop_reason) == (ended.text, "eos")
