"""Templates and prompts: the place of every part, and one cue in whatever tokenizer."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cotlens import LanguageModel
from cotlens.config import PromptConfig
from cotlens.data import VARIANTS, Prompt, build_prompt, make_template
from cotlens.data.demonstrations import Demonstration, load_demonstrations
from cotlens.data.prompts import Section, solution_lines

QUESTION = "A cat has 3 kittens and then 4 more. How many kittens has it?"
CUE = "Let's think step by step\n"
SETS = ("everyday", "workshop", "journey")
FEW_SHOT = [name for name in VARIANTS if not name.startswith("zero_shot")]

each_set = pytest.mark.parametrize("demonstrations", SETS)
each_variant = pytest.mark.parametrize("variant", list(VARIANTS))


def asked(variant: str, question: str = QUESTION, **settings: object) -> Prompt:
    return make_template(variant, PromptConfig(**settings)).ask(question)


def texts(prompt: Prompt, part: str) -> list[str]:
    return [prompt.text[section.start : section.end] for section in prompt.sections if section.part == part]


def demonstrations_of(variant: str, name: str) -> tuple[Demonstration, ...]:
    return load_demonstrations(name, variant if variant in ("add_only", "mult_only") else "mixed")


# Sections.


@each_set
@each_variant
def test_sections_hold_the_questions_the_cues_and_the_solutions(variant, demonstrations):
    prompt = asked(variant, demonstrations=demonstrations)
    shown = demonstrations_of(variant, demonstrations) if variant in FEW_SHOT else ()
    assert texts(prompt, "question") == [*(demo.question for demo in shown), QUESTION]
    assert texts(prompt, "cue") == ([] if variant == "zero_shot" else [CUE] * (len(shown) + 1))
    solutions = texts(prompt, "solution")
    assert len(solutions) == len(shown)
    for demo, solution in zip(shown, solutions, strict=True):
        assert re.search(rf"^Question: {re.escape(demo.question)}\n{CUE}{re.escape(solution)}\n\n", prompt.text, re.M)
        assert re.search(r"(^|\n)The answer is \w+\.$", solution)


@each_set
@each_variant
def test_what_is_left_between_sections_is_the_frame(variant, demonstrations):
    prompt = asked(variant, demonstrations=demonstrations)
    rest, end = "", 0
    for section in prompt.sections:
        assert end <= section.start < section.end
        rest += f"{prompt.text[end : section.start]}|"
        end = section.end
    demonstration, open_cue = "Question: |\n||\n\n", "\n|" if VARIANTS[variant].cue else ""
    assert rest == f"{demonstration * (8 if variant in FEW_SHOT else 0)}Question: |{open_cue}"
    assert prompt.text[end:] == ("\n" if variant == "zero_shot" else "")


@each_variant
def test_sections_count_the_demonstrations_as_they_are_shown(variant):
    for options in ({}, {"shots": 3}, {"order_seed": 4}):
        prompt = asked(variant, **options)
        numbers = [section.demonstration for section in prompt.sections]
        shown = options.get("shots", 8) if variant in FEW_SHOT else 0
        ending = [None] if variant == "zero_shot" else [None, None]
        assert numbers == [*(number for number in range(shown) for _ in range(3)), *ending]
        assert make_template(variant, PromptConfig(**options)).demonstrations == shown


@settings(max_examples=50)
@given(st.text(max_size=60), st.sampled_from(list(VARIANTS)))
def test_the_question_asked_has_its_own_section_whatever_it_is(question, variant):
    prompt = asked(variant, question, shots=1)
    own = [section for section in prompt.sections if section.demonstration is None]
    assert [prompt.text[s.start : s.end] for s in own if s.part == "question"] == ([question] if question else [])
    assert own[-1].part == ("cue" if VARIANTS[variant].cue else "question") if own else question == ""


def test_one_template_asks_many_questions_and_build_prompt_gives_its_text():
    template = make_template("cot", PromptConfig(shots=2))
    prompts = [template.ask(question) for question in ("One?", "And another one?")]
    assert [prompt.text for prompt in prompts] == [build_prompt("cot", q, 2) for q in ("One?", "And another one?")]
    assert all(prompt.special_tokens for prompt in prompts)
    assert prompts[0].sections[:6] == prompts[1].sections[:6] == template.head.sections


def test_sections_can_be_stored_as_json():
    section = Section(0, 4, "question", None)
    assert json.loads(json.dumps(section._asdict())) == {
        "start": 0,
        "end": 4,
        "part": "question",
        "demonstration": None,
    }


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("The answer is 5.", []),
        ("So 3 + 2 = 5.\n\n  \nthe answer is 5.\nThen the answer is 6.", ["So 3 + 2 = 5.", "Then the answer is 6."]),
        ("  The Answer is 5.\nThe answers differ.", ["The answers differ."]),
    ],
)
def test_lines_of_a_solution_are_those_that_are_neither_empty_nor_the_answers(text, lines):
    assert solution_lines(text) == lines


# The cue.


@each_set
@each_variant
def test_the_cue_is_the_same_in_every_demonstration_and_before_the_completion(variant, demonstrations):
    prompt = build_prompt(variant, QUESTION, demonstrations=demonstrations)
    assert prompt.endswith(f"?\n{VARIANTS[variant].cue}")
    assert len(re.findall(f"^{re.escape(CUE)}", prompt, re.MULTILINE)) == (
        9 if variant in FEW_SHOT else len(VARIANTS[variant].cue) // len(CUE)
    )


def cue_tokens(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[list[int]]:
    """The ids of the tokens that hold any character of a cue, for each cue."""
    encoded = tokenizer(prompt.text, return_offsets_mapping=True)
    tokens = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
    return [
        [token for token, (start, end) in tokens if start < section.end and section.start < end]
        for section in prompt.sections
        if section.part == "cue"
    ]


#: How Llama 3 and Qwen split a text before they merge characters; GPT-2's way is that of the shared tokenizer.
NEWER_SPLIT = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def newer_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that has seen these very prompts, so that it merges whatever its way of splitting lets it."""
    bpe = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(NEWER_SPLIT), behavior="isolated")
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, bytewise])
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([build_prompt(variant, QUESTION) for variant in VARIANTS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


@each_set
@pytest.mark.parametrize("variant", FEW_SHOT)
def test_the_cue_has_the_same_tokens_wherever_it_stands(variant, demonstrations, tokenizer, newer_tokenizer):
    check_cue(tokenizer, variant, demonstrations)
    check_cue(newer_tokenizer, variant, demonstrations)


@pytest.mark.embedded
@each_set
@pytest.mark.parametrize("variant", FEW_SHOT)
def test_the_cue_has_the_same_tokens_in_the_embedded_model(variant, demonstrations, smollm2: LanguageModel):
    check_cue(smollm2.tokenizer, variant, demonstrations)


def check_cue(tokenizer: PreTrainedTokenizerBase, variant: str, demonstrations: str) -> None:
    for question in (QUESTION, "How many", 'He asks: "How many?"', "Is it 5"):
        found = cue_tokens(tokenizer, asked(variant, question, demonstrations=demonstrations))
        assert len(found) == 9
        assert all(ids == found[0] for ids in found)
        assert tokenizer.decode(found[0]) == CUE
        assert found[0] == tokenizer(CUE)["input_ids"]
