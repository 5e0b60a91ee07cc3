"""Prompts that are too long are refused before any weight is read."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cotlens import LanguageModel, RunConfig
from cotlens.config import ProblemsConfig
from cotlens.data import load_problems, make_template
from cotlens.errors import InputError, ModelNotFoundError
from cotlens.generate.asking import Asked
from cotlens.pipeline import run_pipeline
from cotlens.prompt_lengths import check_prompt_lengths
from cotlens.types import Problem

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]\n{% endif %}"
)
Config = Callable[..., RunConfig]


@pytest.fixture
def make_config(llama_folder: Path) -> Config:
    def make(variants: tuple[str, ...] = ("cot", "text_only"), chat: bool = False, **generate: object) -> RunConfig:
        return RunConfig.model_validate(
            {
                "model": {"name": str(llama_folder), "device": "cpu"},
                "problems": {"limit": 4},
                "prompt": {"variants": list(variants), "shots": 2, "chat": chat},
                "generate": generate,
                "intervene": {"variant": variants[0]},
            }
        )

    return make


@pytest.fixture(autouse=True)
def _weights_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from cotlens.model import load

    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights are read"))


def longest(config: RunConfig, lm: LanguageModel, problems: list[Problem]) -> tuple[int, str]:
    """Tokens of the longest prompt, what else is generated for it included, and what messages call it."""
    asked = [Asked.of(config, lm, variant, problems) for variant in config.prompt.variants]
    each = [
        (len(ids) + one.new_tokens, name) for one in asked for ids, name in zip(one.encoded, one.names(), strict=True)
    ]
    return max(each)


@pytest.mark.parametrize("variants", [("cot", "text_only"), ("zero_shot_cot",)])
def test_the_last_token_that_fits_is_let_through_and_no_more(
    make_config: Config, llama: LanguageModel, variants: tuple[str, ...]
) -> None:
    config = make_config(variants, max_new_tokens=1)
    problems = load_problems(config.problems)
    tokens, name = longest(config, llama, problems)
    room = llama.context_length - tokens + 1
    check_prompt_lengths(make_config(variants, max_new_tokens=room), problems)
    with pytest.raises(InputError, match=rf"^{name}: the prompt has \d+ tokens; .* exceeds the context of 2048 tokens"):
        check_prompt_lengths(make_config(variants, max_new_tokens=room + 1), problems)


def test_a_run_is_refused_before_weights_are_read(make_config: Config, tmp_path: Path) -> None:
    rows = [{"id": f"x{times}", "question": "How many? " * times, "answer": "#### 1"} for times in (1, 1500)]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {name: name for name in ("id", "question", "answer")}
    source = {"source": str(tmp_path / "long.jsonl"), "fields": fields}
    config = make_config().model_copy(update={"problems": ProblemsConfig.model_validate(source)})
    with pytest.raises(InputError, match=r"^variant 'cot', question 'x1500': the prompt has \d+ tokens"):
        run_pipeline(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_frame_of_a_chat_template_counts(
    make_config: Config, llama: LanguageModel, llama_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "chat")
    tokenizer = copy.deepcopy(llama.tokenizer)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    plain = make_config(max_new_tokens=1)
    problems = load_problems(plain.problems)
    room = llama.context_length - longest(plain, llama, problems)[0] + 1
    check_prompt_lengths(make_config(max_new_tokens=room), problems)
    chat = make_config(chat=True, max_new_tokens=room)
    chat = chat.model_copy(update={"model": chat.model.model_copy(update={"name": str(folder)})})
    with pytest.raises(InputError, match="exceeds the context of 2048 tokens"):
        check_prompt_lengths(chat, problems)


def test_what_is_to_be_skipped_is_no_error_unless_nothing_is_left(make_config: Config) -> None:
    problems = load_problems(make_config().problems)
    long = Problem("long", "How many pens " * 800, problems[0].gold)
    with pytest.raises(InputError, match="question 'long'"):
        check_prompt_lengths(make_config(), [*problems, long])
    check_prompt_lengths(make_config(too_long="skip"), [*problems, long])
    with pytest.raises(InputError, match="no question fits in the model's context of 2048 tokens under every variant"):
        check_prompt_lengths(make_config(too_long="skip"), [long])
    with pytest.raises(InputError, match="no question fits"):
        check_prompt_lengths(make_config(too_long="skip", max_new_tokens=2048), problems)


def test_a_model_that_is_not_there_is_told(make_config: Config) -> None:
    config = make_config()
    config = config.model_copy(update={"model": config.model.model_copy(update={"name": "/nowhere"})})
    with pytest.raises(ModelNotFoundError, match="/nowhere"):
        check_prompt_lengths(config, load_problems(config.problems))


def test_short_prompts_need_neither_tokenizer_nor_torch(make_config: Config, tmp_path: Path) -> None:
    config = make_config(("equation_only",), max_new_tokens=20)
    problem = load_problems(config.problems)[0]
    text = make_template("equation_only", config.prompt).ask(problem.question).text
    assert len(text) < 2000, "a prompt of fewer bytes than the context has tokens"
    (tmp_path / "config.json").write_text(config.model_dump_json())
    code = (
        "import sys\n"
        "from cotlens.config import RunConfig\n"
        "from cotlens.data import load_problems\n"
        "from cotlens.prompt_lengths import check_prompt_lengths\n"
        f"config = RunConfig.model_validate_json(open({str(tmp_path / 'config.json')!r}).read())\n"
        "check_prompt_lengths(config, load_problems(config.problems))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
