"""What differs between any two variants, in words, and that all else is equal byte for byte.

A prompt is taken apart with regular expressions made from the demonstration files, without the code under test. Each
part has its words in a table; where two variants have the same words, the parts must be the same.
"""

import itertools
import re
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import pytest
import yaml

from cotlens.data.arithmetic import evaluate
from cotlens.data.prompts import build_prompt
from cotlens.data.variants import VARIANTS

SETS = ("everyday", "workshop", "journey")
QUESTION = "A cat has 3 kittens and then 4 more. How many kittens has it?"
CUE = "Let's think step by step"
HEADINGS = ("What we know:", "What follows:")

# What each part of the prompt is like. Where None stands, another part says that there is no such thing.
COT = {
    "demonstrations": "eight",
    "cue": "step by step",
    "questions": "the set's",
    "sentences": "the set's",
    "numbers in sentences": "the question's",
    "equations": "at each step that calculates",
    "operators": "all four",
    "operands": "the question's",
    "results": "right",
    "answer": "right",
    "order": "as the story goes",
    "additions": "none",
}
NO_SENTENCES = {"sentences": "none", "numbers in sentences": None}
NO_EQUATIONS = {"equations": "none", "operators": None, "operands": None}
ONLY_THE_ANSWER = NO_SENTENCES | NO_EQUATIONS | {"results": None, "order": None}
OTHER_NUMBERS = {"numbers in sentences": "others", "operands": "others", "results": "right for others"}
NO_DEMONSTRATIONS = dict.fromkeys(COT) | {"demonstrations": "none"}


def _about(doing: str, sign: str) -> dict[str, str | None]:
    """Demonstrations of their own that use one operator."""
    parts = ("questions", "sentences", "numbers in sentences", "operands", "results", "answer")
    return dict.fromkeys(parts, f"those of {doing}") | {"operators": f"only {sign}"}


CHANGED: dict[str, dict[str, str | None]] = {
    "cot": {},
    "equation_only": NO_SENTENCES,
    "text_only": NO_EQUATIONS,
    "incorrect_label": {"results": "wrong numbers", "answer": "the last wrong number"},
    "incorrect_ood_label": {"results": "words", "answer": "the last word"},
    "add_only": _about("adding", "+"),
    "mult_only": _about("multiplying", "*"),
    "answer_only": ONLY_THE_ANSWER,
    "repeat_question": ONLY_THE_ANSWER | {"additions": "the question again"},
    "recall_then_infer": {"order": "facts first", "additions": "headings"},
    "shuffled_steps": {"order": "shuffled"},
    "irrelevant_operands": OTHER_NUMBERS | {"answer": "right for others"},
    "zero_shot": NO_DEMONSTRATIONS | {"cue": "none"},
    "zero_shot_cot": NO_DEMONSTRATIONS | {"cue": "step by step"},
}
WORDS = {variant: COT | changed for variant, changed in CHANGED.items()}
PAIRS = list(itertools.combinations(WORDS, 2))


def differences(one: str, other: str) -> dict[str, str]:
    """The parts in which two variants differ, with the words for both."""
    return {
        part: f"{ours} | {theirs}"
        for (part, ours), theirs in zip(WORDS[one].items(), WORDS[other].values(), strict=True)
        if ours and theirs and ours != theirs
    }


def in_words(one: str, other: str) -> str:
    listed = ", ".join(f"{part} ({words})" for part, words in differences(one, other).items())
    return f"{one} and {other} differ in: {listed}; all else is equal"


# Taking a prompt apart, and putting it together.

TERM = r"(?:\d+|[a-z]+)"
EXPRESSION = rf"(?P<expression>{TERM}(?: [-+*/] {TERM})+) = "
RESULT = rf"(?P<result>{TERM})"
EQUATION_ALONE = re.compile(rf"{EXPRESSION}{RESULT}\.")
ANSWER = re.compile(rf"The answer is ({TERM})\.")
PLACE = "{equation}"


class Sentence(NamedTuple):
    """A step of a demonstration file; its ``prose`` has ``#`` for each number, and the place of the equation."""

    prose: str
    pattern: re.Pattern[str]
    calculates: bool


class Line(NamedTuple):
    """A line of a solution, and the step of the story that it tells; ``prose`` is empty for an equation alone."""

    step: int
    prose: str
    numbers: tuple[str, ...]
    expression: str
    result: str


class Shown(NamedTuple):
    """A demonstration as a prompt shows it; ``additions`` are lines of no step, each with its place."""

    question: str
    cue: str
    lines: tuple[Line, ...]
    additions: tuple[tuple[int, str], ...]
    answer: str


@cache
def _stories(demonstrations: str) -> dict[str, list[Sentence]]:
    """The steps of every demonstration of the set, by its question."""
    text = resources.files("cotlens.data").joinpath("demonstration_sets", f"{demonstrations}.yaml").read_text()
    return {
        demo["question"]: [_sentence(step["sentence"], "expression" in step) for step in demo["steps"]]
        for demos in yaml.safe_load(text).values()
        for demo in demos
    }


def _sentence(text: str, calculates: bool) -> Sentence:
    pattern = re.sub(r"\d+", r"(\\d+)", re.escape(text)).replace(re.escape(PLACE), f"(?:{EXPRESSION})?{RESULT}")
    return Sentence(re.sub(r"\d+", "#", text), re.compile(pattern), calculates)


def _read_line(text: str, story: list[Sentence], told: set[int]) -> Line:
    """Which step of the story ``text`` tells; of equations alone, the next that calculates."""
    open_steps = [(number, sentence) for number, sentence in enumerate(story) if number not in told]
    if alone := EQUATION_ALONE.fullmatch(text):
        step = next(number for number, sentence in open_steps if sentence.calculates)
        return Line(step, "", (), alone["expression"], alone["result"])
    for step, sentence in open_steps:
        if found := sentence.pattern.fullmatch(text):
            named = sentence.pattern.groupindex.values()
            numbers = tuple(group for place, group in enumerate(found.groups(), start=1) if place not in named)
            equation = found.groupdict()
            return Line(step, sentence.prose, numbers, equation.get("expression") or "", equation.get("result") or "")
    raise AssertionError(f"{text!r} is none of the demonstration's sentences")


def _read_block(block: str, demonstrations: str) -> Shown:
    asked, *rest = block.split("\n")
    question = asked.removeprefix("Question: ")
    assert asked == f"Question: {question}"
    cue = rest.pop(0) if rest[0] == CUE else ""
    answer = ANSWER.fullmatch(rest.pop())
    assert answer
    lines: list[Line] = []
    additions: list[tuple[int, str]] = []
    for place, text in enumerate(rest):
        if text == question or text in HEADINGS:
            additions.append((place, text))
        else:
            lines.append(_read_line(text, _stories(demonstrations)[question], {line.step for line in lines}))
    return Shown(question, cue, tuple(lines), tuple(additions), answer[1])


@cache
def take_apart(variant: str, demonstrations: str) -> dict[str, Any]:
    """The parts of a prompt, each for all demonstrations. Steps stand in the story's order, whatever is shown."""
    *blocks, last = build_prompt(variant, QUESTION, demonstrations=demonstrations).split("\n\n")
    shown = [_read_block(block, demonstrations) for block in blocks]
    cue = last.removeprefix(f"Question: {QUESTION}\n")
    assert last == f"Question: {QUESTION}\n{cue}"
    assert {f"{demo.cue}\n" for demo in shown} <= {cue}
    told = [sorted(demo.lines) for demo in shown]
    calculated = [[line for line in lines if line.expression] for lines in told]
    expressions = [_with_references(lines) for lines in calculated]
    return {
        "demonstrations": len(shown),
        "cue": cue,
        "questions": [demo.question for demo in shown],
        "sentences": [[(line.step, line.prose) for line in lines if line.prose] for lines in told],
        "numbers in sentences": [[line.numbers for line in lines if line.numbers] for lines in told],
        "equations": [[line.step for line in lines] for lines in calculated],
        "operators": [[terms[1::2] for terms in demo] for demo in expressions],
        "operands": [[terms[::2] for terms in demo] for demo in expressions],
        "results": [[line.result for line in lines if line.result] for lines in told],
        "answer": [demo.answer for demo in shown],
        "order": [_order([line.step for line in demo.lines]) for demo in shown],
        "additions": [demo.additions for demo in shown],
    }


def _with_references(lines: list[Line]) -> list[list[str]]:
    """The terms of each expression; ``r1`` for the result that the first one shows, and so on."""
    names = {line.result: f"r{number}" for number, line in reversed(list(enumerate(lines, start=1)))}
    return [
        [names[term] if term in {line.result for line in lines[:number]} else term for term in line.expression.split()]
        for number, line in enumerate(lines)
    ]


def _order(steps: list[int]) -> str | list[int]:
    """The steps in the order in which they are told, if it is not the story's."""
    return steps if steps != sorted(steps) else "as the story goes" if steps else ""


def put_together(parts: dict[str, Any]) -> str:
    """A prompt from its parts alone."""
    text = ""
    for demo in range(parts["demonstrations"]):
        lines = _write_lines(*(parts[part][demo] for part in PARTS_OF_LINES))
        if parts["order"][demo] not in ("", "as the story goes"):
            lines = [lines[sorted(parts["order"][demo]).index(step)] for step in parts["order"][demo]]
        for place, addition in parts["additions"][demo]:
            lines.insert(place, addition)
        answer = f"The answer is {parts['answer'][demo]}."
        text += f"Question: {parts['questions'][demo]}\n{parts['cue']}" + "\n".join([*lines, answer]) + "\n\n"
    return f"{text}Question: {QUESTION}\n{parts['cue']}"


PARTS_OF_LINES = ("sentences", "numbers in sentences", "equations", "operators", "operands", "results")


def _write_lines(
    sentences: Any, numbers: list[Any], equations: list[int], operators: list[Any], operands: list[Any], results: Any
) -> list[str]:
    """The lines of a solution, in the story's order."""
    prose = dict(sentences) or dict.fromkeys(equations, f"{PLACE}.")
    left = [number for line in numbers for number in line]
    written = []
    found = iter(results)
    for step, line in prose.items():
        if PLACE in line:
            result = next(found)
            if step in equations:
                terms = operands[equations.index(step)]
                signs = [*operators[equations.index(step)], f"= {result}"]
                values = [results[int(term[1:]) - 1] if re.fullmatch(r"r\d", term) else term for term in terms]
                result = " ".join(f"{value} {sign}" for value, sign in zip(values, signs, strict=True))
            line = line.replace(PLACE, result)
        written.append(re.sub("#", lambda _: left.pop(0), line))
    return written


# The tests.

each_set = pytest.mark.parametrize("demonstrations", SETS)
each_variant = pytest.mark.parametrize("variant", list(WORDS))


def test_the_table_has_every_variant_and_thus_91_pairs():
    assert list(WORDS) == list(VARIANTS)
    assert len(PAIRS) == 91


@each_set
@each_variant
def test_the_parts_are_all_there_is_to_a_prompt(variant, demonstrations):
    parts = take_apart(variant, demonstrations)
    assert put_together(parts) == build_prompt(variant, QUESTION, demonstrations=demonstrations)


@each_set
@each_variant
def test_a_part_is_there_exactly_if_the_table_has_words_for_it(variant, demonstrations):
    parts = take_apart(variant, demonstrations)
    for part, words in WORDS[variant].items():
        value = parts[part]
        assert (any(value) if isinstance(value, list) else bool(value)) == (words not in (None, "none")), part


SIGNS = {"all four": set("+-*/"), "only +": {"+"}, "only *": {"*"}, None: set()}
IN_WORDS = {"two": "2", "three": "3", "four": "4"}


@each_set
@pytest.mark.parametrize("variant", [name for name, words in WORDS.items() if words["demonstrations"] == "eight"])
def test_what_the_words_say_is_true(variant, demonstrations):
    words, parts, cot = WORDS[variant], take_apart(variant, demonstrations), take_apart("cot", demonstrations)
    assert {sign for demo in parts["operators"] for terms in demo for sign in terms} == SIGNS[words["operators"]]
    for demo, question in enumerate(parts["questions"]):
        results, order = parts["results"][demo], parts["order"][demo]
        asked = {IN_WORDS.get(word, word) for word in re.findall(r"\d+|[a-z]+", question.lower())}
        for part in ("numbers in sentences", "operands"):
            given = {term for terms in parts[part][demo] for term in terms} - {"r1", "r2"}
            assert given.isdisjoint(asked) if words[part] == "others" else given <= asked
        shown = [parts["operands"][demo], parts["operators"][demo], results if parts["equations"][demo] else []]
        right = [_is_right(*equation, results) for equation in zip(*shown, strict=True) if words["results"] != "words"]
        assert not any(right) if words["results"] == "wrong numbers" else all(right)
        if words["results"] in ("wrong numbers", "words"):
            assert all(result != true for result, true in zip(results, cot["results"][demo], strict=True))
            assert all(result.isalpha() for result in results) == (words["results"] == "words")
        assert not results or parts["answer"][demo] == results[-1]
        if words["order"] == "facts first":
            steps = range(len(parts["sentences"][demo]))
            facts_first = sorted(steps, key=lambda step: step in parts["equations"][demo])
            assert order == _order(facts_first)
            facts = len(steps) - len(results)
            assert parts["additions"][demo] == ((0, HEADINGS[0]), (facts + 1, HEADINGS[1]))
        assert isinstance(order, list) or words["order"] != "shuffled"
        if words["additions"] == "the question again":
            assert parts["additions"][demo] == ((0, question),)


def _is_right(terms: list[str], signs: list[str], result: str, results: list[str]) -> bool:
    values = [results[int(term[1:]) - 1] if term.startswith("r") else term for term in terms]
    expression = " ".join(word for pair in zip(values, [*signs, ""], strict=True) for word in pair)
    return evaluate(expression) == int(result)


@each_set
@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{one}-{other}" for one, other in PAIRS])
def test_two_variants_differ_in_what_the_table_says_and_in_nothing_else(one, other, demonstrations):
    ours, theirs = take_apart(one, demonstrations), take_apart(other, demonstrations)
    both = [part for part in COT if WORDS[one][part] and WORDS[other][part]]
    assert differences(one, other)
    assert [part for part in both if ours[part] != theirs[part]] == list(differences(one, other)), in_words(one, other)


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (
            "cot",
            "incorrect_label",
            "cot and incorrect_label differ in: results (right | wrong numbers), answer (right | the last wrong number)"
            "; all else is equal",
        ),
        (
            "equation_only",
            "text_only",
            "equation_only and text_only differ in: sentences (none | the set's), "
            "equations (at each step that calculates | none); all else is equal",
        ),
        (
            "zero_shot",
            "zero_shot_cot",
            "zero_shot and zero_shot_cot differ in: cue (none | step by step); all else is equal",
        ),
    ],
)
def test_differences_read_like_this(one, other, sentence):
    assert in_words(one, other) == sentence
