"""What holds for every variant alike: the form of the prompt, shots, their order, and how a variant is found."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cotlens.data import VARIANTS, build_prompt, make_template
from cotlens.data.variants import Variant, find_variant
from cotlens.errors import InputError

FEW_SHOT = [name for name in VARIANTS if not name.startswith("zero_shot")]
QUESTION = "A cat has 3 kittens and then 4 more. How many kittens has it?"
CUE = "Let's think step by step\n"

each_set = pytest.mark.parametrize("demonstrations", ["everyday", "workshop", "journey"])
each_variant = pytest.mark.parametrize("variant", list(VARIANTS))
each_few_shot = pytest.mark.parametrize("variant", FEW_SHOT)


def blocks(variant: str, demonstrations: str, **settings: int) -> list[str]:
    """The demonstrations' texts."""
    return build_prompt(variant, QUESTION, demonstrations=demonstrations, **settings).split("\n\n")[:-1]


@each_set
@each_variant
def test_whitespace_is_regular_and_nothing_is_left_to_fill_in(variant, demonstrations):
    prompt = build_prompt(variant, QUESTION, demonstrations=demonstrations)
    assert prompt.isascii()
    assert not re.search(r"\n\n\n|  |[ \t]\n|\n[ \t]|[\r\t{}]|\br\d", prompt)
    assert prompt.count("\n\n") == (8 if variant in FEW_SHOT else 0)


@each_set
@each_few_shot
@pytest.mark.parametrize("shots", range(9))
def test_so_many_shots_are_shown_and_fewer_are_the_first_of_more(variant, shots, demonstrations):
    assert blocks(variant, demonstrations, shots=shots) == blocks(variant, demonstrations)[:shots]
    assert len(blocks(variant, demonstrations, shots=shots)) == shots


@each_variant
def test_eight_shots_of_the_first_set_are_the_default(variant):
    assert build_prompt(variant, QUESTION) == build_prompt(variant, QUESTION, 8, "everyday", None)


def test_without_shots_all_variants_are_zero_shot_ones():
    assert {build_prompt(name, QUESTION, shots=0) for name in FEW_SHOT} == {f"Question: {QUESTION}\n{CUE}"}
    assert build_prompt("zero_shot_cot", QUESTION) == f"Question: {QUESTION}\n{CUE}"
    assert build_prompt("zero_shot", QUESTION) == f"Question: {QUESTION}\n"


def test_zero_shot_variants_alone_ask_for_the_answer_afterwards():
    elicit = {name for name in VARIANTS if make_template(name).elicit}
    assert elicit == {"zero_shot", "zero_shot_cot"}
    assert make_template("zero_shot").elicit == "\nTherefore, the answer is"


@settings(max_examples=50)
@given(st.text(max_size=80), st.sampled_from(list(VARIANTS)), st.integers(0, 8))
def test_any_question_stands_at_the_end_as_it_is(question, variant, shots):
    cue = "" if variant == "zero_shot" else CUE
    assert build_prompt(variant, question, shots).endswith(f"Question: {question}\n{cue}")


@each_variant
def test_demonstrations_do_not_depend_on_the_question(variant):
    cue = VARIANTS[variant].cue
    one, other = build_prompt(variant, "One?"), build_prompt(variant, "Another one?")
    assert one.removesuffix(f"One?\n{cue}") == other.removesuffix(f"Another one?\n{cue}")


@each_set
@each_few_shot
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_an_order_seed_puts_the_same_demonstrations_in_another_order(variant, demonstrations, seed):
    plain, shuffled = blocks(variant, demonstrations), blocks(variant, demonstrations, order_seed=seed)
    assert shuffled != plain
    assert sorted(shuffled) == sorted(plain)
    assert shuffled == blocks(variant, demonstrations, order_seed=seed)
    assert shuffled[:3] == blocks(variant, demonstrations, order_seed=seed, shots=3)


@each_set
def test_an_order_seed_is_the_same_order_for_every_variant(demonstrations):
    orders = set()
    for variant in FEW_SHOT:
        plain = blocks(variant, demonstrations)
        orders.add(tuple(plain.index(block) for block in blocks(variant, demonstrations, order_seed=7)))
    assert len(orders) == 1


def test_order_seeds_give_many_orders():
    assert len({build_prompt("cot", QUESTION, order_seed=seed) for seed in range(20)}) == 20


@pytest.mark.parametrize("shots", [-1, 9, 100])
def test_more_shots_than_demonstrations_are_refused(shots):
    with pytest.raises(InputError, match=f"shots is {shots}; give 0 to 8"):
        build_prompt("cot", QUESTION, shots)


@pytest.mark.parametrize(
    ("misspelt", "hint"),
    [
        ("equation-only", "did you mean 'equation_only'?"),
        ("incorect_label", "did you mean 'incorrect_label'?"),
        ("zeroshot_cot", "did you mean 'zero_shot_cot'?"),
        ("zzz", "known: add_only, answer_only, cot, "),
    ],
)
def test_a_misspelt_variant_gets_the_nearest_name(misspelt, hint):
    with pytest.raises(InputError) as caught:
        build_prompt(misspelt, QUESTION)
    assert str(caught.value).startswith(f"variant {misspelt!r} is not known (your own text is file:PATH); {hint}")


def test_a_new_variant_is_one_entry(monkeypatch):
    shout = Variant("no solution at all", lambda demo, place: [f"{place}: {len(demo.steps)} steps!"])
    monkeypatch.setitem(VARIANTS, "shout", shout)
    assert find_variant("shout") is shout
    first, second = blocks("shout", "everyday", shots=2)
    assert (first.splitlines()[2:], second.splitlines()[2:]) == (["0: 3 steps!"], ["1: 3 steps!"])
    assert make_template("shout").demonstrations == 8
