"""Runs with every kind of prompt on a tiny model: all variants, users' own texts, conversations."""

import json
from pathlib import Path

import polars as pl
import pytest

from cotlens import LanguageModel, RunConfig, load_model, open_run
from cotlens.data import VARIANTS, make_template
from cotlens.data.variants import ELICIT
from cotlens.errors import InputError, RunMismatchError
from cotlens.generate.stage import part_name
from cotlens.pipeline import run_pipeline, validate
from cotlens.store import Run

CHAT = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def own_prompt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "my prompt.txt"
    file.write_text("Question: 1 and 2?\nThink’s first\n1 + 2 = 3\nThe answer is 3.\n", encoding="utf-8")
    return file


def make_config(folder: Path, variants: list[str], **prompt: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name": str(folder), "device": "cpu"},
            "problems": {"limit": 3},
            "prompt": {"variants": variants, "shots": 2, **prompt},
            "generate": {"max_new_tokens": 5, "answer_tokens": 3, "part_size": 2},
            "discover": {"top_k": 3},
            "project": {"top_n": 5},
            "analyze": {"bootstrap": 10, "control_draws": 1},
            "intervene": {"variant": variants[0], "draws": 1, "control_draws": 1},
        }
    )


@pytest.fixture(scope="module")
def everything(llama_folder: Path, own_prompt: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = make_config(llama_folder, [*VARIANTS, f"file:{own_prompt}"])
    return run_pipeline(config, tmp_path_factory.mktemp("runs") / "all")


def test_every_variant_has_its_rows_and_the_report_is_made(everything: Run) -> None:
    counted = everything.completions().group_by("variant").agg(pl.len()).rows()
    assert dict(counted) == dict.fromkeys(everything.config.prompt.variants, 3)
    assert everything.is_done("report")


def test_the_manifest_tells_each_prompts_length(everything: Run) -> None:
    prompts = everything.manifest.prompts
    assert list(prompts) == list(everything.config.prompt.variants)
    for variant, told in prompts.items():
        template = make_template(variant, everything.config.prompt)
        assert (told["demonstrations"], told["lines"], told["equations"]) == (
            template.demonstrations,
            template.lines,
            template.equations,
        )
        rows = everything.completions().filter(variant=variant)
        assert told["mean_tokens"] == pytest.approx(rows["prompt_length"].mean(), abs=0.05)
        assert told["two_stage"] == variant.startswith("zero_shot")


def test_stored_tokens_are_those_of_prompt_and_completion(everything: Run) -> None:
    tokens = everything.tokens()
    for row in everything.completions().iter_rows(named=True):
        of_variant = tokens.filter(variant=row["variant"])
        shared = of_variant.filter(pl.col("question_id").is_null())
        own = pl.concat([shared, of_variant.filter(question_id=row["question_id"])])
        assert own["position"].to_list() == list(range(len(row["token_ids"])))
        assert own["token_id"].to_list() == row["token_ids"]
        written = own.filter(part="completion")
        assert "".join(written["text"]).startswith(row["text"])
        assert written.is_empty() or written["position"].min() == row["prompt_length"]


def test_the_stored_prompt_text_is_what_the_model_read(everything: Run) -> None:
    lm = load_model(everything.config.model.name, device="cpu")
    for variant in everything.config.prompt.variants:
        first = everything.completions().filter(variant=variant).row(0, named=True)
        text = (everything.path / f"prompts/{part_name(variant)}.txt").read_text(encoding="utf-8")
        assert lm.decode(first["token_ids"][: first["prompt_length"]]) == text


def test_a_users_own_prompt_keeps_its_name_and_its_cue(everything: Run, own_prompt: Path) -> None:
    name = f"file:{own_prompt}"
    assert part_name(name).startswith("file-my_prompt")
    assert (everything.path / f"completions/{part_name(name)}-0001.parquet").exists()
    tokens = everything.tokens().filter(pl.col("variant") == name, pl.col("part") == "cue")
    asked = tokens.filter(pl.col("demonstration").is_null(), pl.col("question_id").is_not_null())
    assert "Think’s first" in "".join(asked.filter(question_id=asked["question_id"][0])["text"])


def test_only_zero_shot_variants_state_their_answer_afterwards(everything: Run) -> None:
    asked_again = everything.completions().filter(pl.col("stated").is_not_null())
    assert set(asked_again["variant"]) == {"zero_shot", "zero_shot_cot"}


def test_a_users_prompt_that_changed_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("Answer this: {question}")
    config = make_config(llama_folder, ["cot", f"file:{file}"])
    assert make_template(f"file:{file}").elicit == ELICIT
    run_pipeline(config, tmp_path / "run", only="generate")
    file.write_text("Now answer this: {question}")
    with pytest.raises(RunMismatchError, match="or the prompts, are not those"):
        run_pipeline(config, tmp_path / "run")


def test_labels_can_be_made_again_when_the_prompt_file_is_gone(llama_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("Answer this: {question}")
    config = make_config(llama_folder, ["cot", f"file:{file}"])
    run_pipeline(config, tmp_path / "run", only="label")
    file.unlink()
    run_pipeline(config, tmp_path / "run", only="label")
    with pytest.raises(InputError, match=r"p\.txt: no such file"):
        validate(config)


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory: pytest.TempPathFactory, llama: LanguageModel) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-chat"
    llama.model.save_pretrained(folder)
    llama.tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


@pytest.mark.parametrize(("layout", "turns"), [("turns", 5), ("message", 1)])
def test_a_conversation_has_the_same_content(chat_folder: Path, tmp_path: Path, layout: str, turns: int) -> None:
    config = make_config(chat_folder, ["cot", "zero_shot"], chat=True, chat_layout=layout)
    run = run_pipeline(config, tmp_path / "run", only="generate")
    text = (run.path / "prompts/cot.txt").read_text()
    assert text.count("</s>") == turns
    assert text.endswith("</s><assistant>")
    plain = make_template("cot", config.prompt).ask(run.completions()["question"][0])
    for section in plain.sections:
        assert plain.text[section.start : section.end].strip() in text
    parts = run.tokens().filter(variant="cot").group_by("part", "demonstration").agg(pl.len()).rows()
    shown = {(part, demonstration) for part, demonstration, _ in parts}
    assert shown >= {(part, number) for part in ("question", "cue", "solution") for number in (0, 1)}
    assert (run.config.prompt.chat, run.config.prompt.chat_layout) == (True, layout)
    assert "chat_template.jinja" in run.manifest.model["files"]


def test_another_chat_template_is_another_model(chat_folder: Path, tmp_path: Path) -> None:
    config = make_config(chat_folder, ["cot"], chat=True)
    run_pipeline(config, tmp_path / "run", only="generate")
    (chat_folder / "chat_template.jinja").write_text(CHAT.replace("</s>", "<end>"))
    try:
        with pytest.raises(RunMismatchError, match="the weights, tokenizer or chat template of"):
            run_pipeline(config, tmp_path / "run")
    finally:
        (chat_folder / "chat_template.jinja").write_text(CHAT)


def test_chat_without_a_template_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no chat template; leave out --chat"):
        run_pipeline(make_config(llama_folder, ["cot"], chat=True), tmp_path / "run")


def test_other_demonstrations_and_another_order_are_other_prompts(llama_folder: Path, tmp_path: Path) -> None:
    seen = {
        json.dumps(make_template("cot", make_config(llama_folder, ["cot"], **prompt).prompt).ask("?").text)
        for prompt in ({}, {"demonstrations": "workshop"}, {"demonstrations": "journey"}, {"order_seed": 3})
    }
    assert len(seen) == 4
    config = make_config(llama_folder, ["cot"])
    run_pipeline(config, tmp_path / "run", only="generate")
    other = make_config(llama_folder, ["cot"], demonstrations="workshop")
    with pytest.raises(RunMismatchError, match=r"prompt\.demonstrations: 'everyday' -> 'workshop'"):
        run_pipeline(other, tmp_path / "run")
    assert open_run(tmp_path / "run").config == config
