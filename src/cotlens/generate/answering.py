"""Prompts answered and graded: one completion each, and a second, short one where the first states no answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cotlens.config import GenerateConfig
from cotlens.data.answers import extract_answer, grade, until_next_question
from cotlens.data.prompts import Prompt
from cotlens.generate.asking import ask, new_tokens
from cotlens.generate.engine import Intervention, OnProgress, complete
from cotlens.generate.lengths import check_lengths
from cotlens.generate.server import Server, complete_by_server
from cotlens.generate.stopping import StopRule
from cotlens.model.language_model import LanguageModel
from cotlens.types import Completion

__all__ = ["Answer", "Task", "answer", "ask", "new_tokens"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion with what was read from it; ``stated`` is the second completion, if there was one."""

    completion: Completion
    stated: str | None
    strict: Decimal | None
    flexible: Decimal | None


@dataclass(frozen=True, slots=True)
class Task:
    """Prompts whose answers are needed together, and the edits under which they are answered."""

    prompts: Sequence[Prompt]
    intervention: Intervention = ()
    names: Sequence[str] | None = None
    """What a message calls each prompt."""


def answer(
    lm: LanguageModel,
    tasks: Sequence[Task],
    elicit: str,
    config: GenerateConfig,
    on_progress: OnProgress | None = None,
    prefix_length: int | None = None,
    server: Server | None = None,
) -> Iterator[list[Answer]]:
    """Complete every prompt greedily, and grade the completions; the tasks share batches and end in their order.

    With ``elicit`` the completions that state no answer are continued once more after that text (Kojima et al., 2022).
    Of the prompts' common beginning the first ``prefix_length`` tokens are shared, all of it when that is None. With
    ``server`` the completions come from there, and no task may have an intervention.

    Raises:
        InputError: a prompt that does not fit in the model's context, found before anything is generated.
        NonFiniteError: the logits are not finite, under an intervention or without; the message names the prompt.
        EnvironmentFault: the server fails.
    """
    encoded = [lm.encode(prompt.text, prompt.special_tokens) for task in tasks for prompt in task.prompts]
    names = [name for task in tasks for name in task.names or ()] or None
    check_lengths(lm, encoded, new_tokens(lm, elicit, config), names)
    interventions = [task.intervention for task in tasks for _ in task.prompts]
    if server is None:
        rule = StopRule(lm, config.stop, config.max_new_tokens, config.stop_at_end)
        completed = complete(lm, encoded, rule, config.batch_size, interventions, prefix_length, names)
    else:
        assert not any(interventions), "a server runs the model as it is"
        completed = complete_by_server(server, lm, encoded, config.max_new_tokens, config.stop, names)
    done: dict[int, Completion] = {}
    end = 0
    for task in tasks:
        places = range(end, end := end + len(task.prompts))
        while not all(place in done for place in places):
            place, completion = next(completed)
            done[place] = completion
            if on_progress is not None:
                on_progress(1)
        yield _grade(lm, task, [done.pop(place) for place in places], elicit, config, server)


def _grade(
    lm: LanguageModel,
    task: Task,
    completions: Sequence[Completion],
    elicit: str,
    config: GenerateConfig,
    server: Server | None,
) -> list[Answer]:
    open_ones = [
        place for place, done in enumerate(completions) if elicit and extract_answer(done.text, "strict") is None
    ]
    again = [
        lm.encode(f"{task.prompts[place].text}{until_next_question(completions[place].text)}{elicit}",
                  task.prompts[place].special_tokens)
        for place in open_ones
    ]  # fmt: skip
    names = [task.names[place] for place in open_ones] if task.names else None
    if server is None:
        interventions = [task.intervention] * len(again)
        rule = StopRule(lm, config.stop, config.answer_tokens)
        second = complete(lm, again, rule, config.batch_size, interventions, names=names)
    else:
        second = complete_by_server(server, lm, again, config.answer_tokens, config.stop, names)
    stated = {open_ones[place]: completion.text for place, completion in second}
    return [
        Answer(done, stated.get(place), *grade(done.text, stated.get(place))) for place, done in enumerate(completions)
    ]
