"""The command line as a user meets it: real processes, their exit codes and their one line."""

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from cotlens import RunConfig, build_prompt, open_run
from cotlens.pipeline import STAGES, run_pipeline

SETTINGS = {
    "problems": {"limit": 3},
    "prompt": {"variants": ["cot", "text_only"], "shots": 1},
    "generate": {"max_new_tokens": 6},
    "discover": {"top_k": 4},
    "project": {"top_n": 5},
    "analyze": {"bootstrap": 20, "control_draws": 2},
    "intervene": {"draws": 1, "control_draws": 1},
}


VERBS = [*STAGES, "demo", "run", "show", "validate", "neuron", "trace", "prompts", "rescore", "figures"]


def cotlens(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cotlens.cli", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> Path:
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    file.write_text(yaml.safe_dump(SETTINGS | {"model": {"name": str(llama_folder), "device": "cpu"}}))
    return file


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, llama_folder: Path) -> Path:
    config = RunConfig.model_validate(SETTINGS | {"model": {"name": str(llama_folder), "device": "cpu"}})
    return run_pipeline(config, tmp_path_factory.mktemp("runs") / "tiny").path


def test_help_lists_every_verb() -> None:
    done = cotlens("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in done.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, cotlens.cli as c\n"
        "sys.argv = ['cotlens', '--help']\n"
        "try: c.main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'polars', 'pydantic', 'altair', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_show_imports_no_torch(run_dir: Path) -> None:
    code = (
        "import sys, cotlens.cli as c\n"
        f"sys.argv = ['cotlens', 'show', {str(run_dir)!r}]\n"
        "try: c.main()\nexcept SystemExit as e: assert e.code == 0, e.code\n"
        "assert not {'torch', 'transformers', 'altair'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_run_then_show(run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = cotlens("run", run_file, "--out", out)
    assert first.returncode == 0, first.stderr
    assert "Accuracy by prompt variant" in first.stdout
    assert "Answering questions" in first.stderr
    assert "Answering questions" not in first.stdout
    shown = cotlens("show", out, "--json")
    found = json.loads(shown.stdout)
    assert set(found["stages"].values()) == {"done"}
    assert [row["variant"] for row in found["accuracy"]] == ["cot", "text_only"]
    assert Path(found["report"]).exists()


def test_a_stage_verb_changes_its_own_settings_only(run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cotlens("run", run_file, "--out", out, "--limit", "2").returncode == 0
    assert cotlens("analyze", out, "--set", "analyze.bootstrap=30").returncode == 0
    assert open_run(out).config.analyze.bootstrap == 30
    refused = cotlens("analyze", out, "--set", "discover.top_k=2")
    assert refused.returncode == 2
    assert "changes settings under analyze.* only" in refused.stderr


def test_other_settings_are_refused_and_new_run_starts_beside(run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cotlens("run", run_file, "--out", out, "--limit", "1").returncode == 0
    refused = cotlens("run", run_file, "--out", out, "--limit", "2")
    assert refused.returncode == 2
    assert "problems.limit: 1 -> 2" in refused.stderr
    assert cotlens("run", run_file, "--out", out, "--limit", "2", "--new-run").returncode == 0
    assert open_run(tmp_path / "out-2").completions().height == 4


def test_validate_a_file_and_a_run(run_file: Path, run_dir: Path) -> None:
    assert "valid" in cotlens("validate", run_file).stdout
    assert "all intact" in cotlens("validate", run_dir).stdout


def test_validate_names_a_prompt_that_is_too_long(run_file: Path) -> None:
    done = cotlens("validate", run_file, "--set", "generate.max_new_tokens=1950")
    assert (done.returncode, done.stdout) == (2, "")
    assert "variant 'cot', question 'mini-" in done.stderr
    assert "exceeds the context of 2048 tokens" in done.stderr


def test_validate_says_so_if_there_is_no_model_to_check_lengths_for(run_file: Path) -> None:
    done = cotlens("validate", run_file, "--set", "model.name=/nowhere")
    assert done.returncode == 0
    assert "/nowhere: no such file or folder (so the lengths of the prompts were not checked)" in done.stderr


def test_validate_names_a_damaged_part(run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cotlens("run", run_file, "--out", out, "--limit", "1").returncode == 0
    (out / "neurons.parquet").write_bytes(b"")
    done = cotlens("validate", out)
    assert done.returncode == 2
    assert "neurons.parquet" in done.stderr


def test_neuron_and_trace_speak_json(llama_folder: Path) -> None:
    neuron = json.loads(cotlens("neuron", llama_folder, "L1N7", "--top-n", "3", "--json").stdout)
    assert neuron["neuron"] == "L1N7"
    assert len(neuron["promoted"]) == len(neuron["suppressed"]) == 3
    trace = json.loads(cotlens("trace", llama_folder, "5 * 4 = 20", "--top-k", "2", "--json").stdout)
    assert "".join([trace["steps"][0]["read"], *(step["next"] for step in trace["steps"])]) == "5 * 4 = 20"
    assert {len(step["neurons"]) for step in trace["steps"]} == {2}


def test_a_trace_becomes_a_page(llama_folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "trace.html"
    done = cotlens("trace", llama_folder, "5 * 4 <b> = 20", "--logit-lens", "--html", page)
    assert done.stdout.startswith(f"{page}: ")
    html = page.read_text(encoding="utf-8")
    assert "5 * 4 &lt;b&gt; = 20" in html
    assert html.count('<th scope="row">layer ') == 3
    assert not any(path.suffix == ".tmp" for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["neuron", "smollm2-135", "L1N1"], 3, "did you mean 'smollm2-135m'"),
        (["neuron", "/nowhere", "L1N1"], 3, "/nowhere: no such file or folder"),
        (["neuron", "{model}", "12,345"], 2, "write layer and index as L12N345"),
        (["neuron", "{model}", "L99N0"], 2, "layer 99 is out of range"),
        (["neuron", "{model}", "L0N0", "--norm", "x"], 2, "give none or gamma"),
        (["neuron", "{model}", "L0N0", "--dtype", "float8"], 2, "dtype 'float8' is not known"),
        (["trace", "{model}", ""], 2, "at least two"),
        (
            ["trace", "{model}", "ab cd", "--top-k", "999"],
            2,
            "--top-k 999: {model} has 48 neurons per layer",
        ),
        (["trace", "{model}", "a, " * 1500], 2, "tokens long; {model} reads at most 2048"),
        (["trace", "{model}", "ab cd", "--html", "no/such/folder/x.html"], 2, "there is no folder no/such/folder"),
        (["run", "{tmp}/none.yaml"], 2, "none.yaml: no such file"),
        (["run", "{tmp}"], 2, "a folder, not a file"),
        (
            ["run", "{file}", "--set", "prompt.variants=[cto]"],
            2,
            "variant 'cto' is not known (your own text is file:PATH); did you mean 'cot'",
        ),
        (
            ["run", "{file}", "--set", "discover.topk=3"],
            2,
            "unknown key 'discover.topk'; did you mean 'discover.top_k'",
        ),
        (["run", "{file}", "--set", "problems.source=gsm8k.jsonl"], 2, "gsm8k.jsonl: no such file"),
        (["run", "{file}", "--set", "discover.top_k=49", "--out", "{tmp}/k"], 2, "top_k is 49"),
        (["run", "{file}", "--limit", "0"], 2, "problems.limit"),
        (["run", "{file}", "--limt", "3"], 2, "No such option: --limt"),
        (["run", "{file}", "--out", "{file}"], 2, "not a folder"),
        (["show", "{tmp}"], 2, "not a run directory"),
        (["shwo"], 2, "shwo"),
    ],
)
def test_a_mistake_gets_one_line_and_its_exit_code(
    words: list[str], code: int, message: str, tmp_path: Path, llama_folder: Path, run_file: Path
) -> None:
    places = {"{model}": str(llama_folder), "{tmp}": str(tmp_path), "{file}": str(run_file)}
    for name, value in places.items():
        words, message = [word.replace(name, value) for word in words], message.replace(name, value)
    done = cotlens(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    [line] = [line for line in done.stderr.splitlines() if line.startswith("cotlens: ")]
    assert message in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            "neuron {model} L0N0 --top-n 401",
            2,
            "--top-n 401: the vocabulary of {model} has 400 tokens, so give",
        ),
        ("neuron {model} L0N0 --top-n 0", 2, "--top-n 0: the vocabulary of {model} has 400 tokens"),
        ("neuron {model} L0N48", 2, "neuron 48 is out of range"),
        ("neuron {model} L0N0 --dtype float8", 2, "dtype 'float8' is not known"),
        ("neuron {model} L0N0 --device gpu", 2, "device 'gpu' is not known; use cpu, cuda"),
        ("concepts --model {model} --device gpu", 2, "device 'gpu' is not known"),
        ("trace {model} ab --top-k 49", 2, "--top-k 49: {model} has 48 neurons per layer, so give 1 to 48"),
        ("trace {model} ab --top-k 0", 2, "--top-k 0: {model} has 48 neurons per layer"),
        ("trace {model} ab --device cuda:x", 2, "device 'cuda:x' is not known"),
        ("search {model} --token-id 400", 2, "--token-id 400: out of range; {model} has 0 to 399"),
        ("search {model} --token-id -1", 2, "--token-id -1: out of range"),
        ("search {model} --token-id 5 --top-k 145", 2, "--top-k 145: {model} has 144 neurons, so give 1 to 144"),
        ("search {model} plus --top-k 145", 2, "--top-k 145: {model} has 144 neurons"),
        ("search {model} plus --dtype half", 2, "dtype 'half' is not known"),
        ("atlas {model} --out {tmp}/a.parquet --top-n 401", 2, "--top-n 401: the vocabulary of {model} has 400 tokens"),
        ("atlas {model} --out {tmp}/a.csv", 2, "a.csv: an atlas is a Parquet file"),
        ("atlas {model} --out {tmp}/none/a.parquet", 2, "there is no folder"),
        ("atlas {model} --out /proc/a.parquet", 3, "/proc/a.parquet: can't be written"),
        ("run {file} --device gpu --out {tmp}/run", 2, "device 'gpu' is not known"),
        (
            "run {file} --set project.top_n=401 --out {tmp}/run",
            2,
            "top_n 401: the vocabulary of {model} has 400",
        ),
    ],
)
def test_what_the_model_can_not_do_is_told_before_torch_is_imported(
    words: str, code: int, message: str, tmp_path: Path, llama_folder: Path, run_file: Path
) -> None:
    places = {"model": llama_folder, "tmp": tmp_path, "file": run_file}
    asked = (
        "import sys, cotlens.cli as c\n"
        f"sys.argv = ['cotlens', *{words.format(**places).split()!r}]\n"
        f"try: c.main()\nexcept SystemExit as e: assert e.code == {code}, e.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert message.format(**places) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = cotlens("show", tmp_path, "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


#: One variant, two questions at a time, so that parts are stored while others are still to be answered.
TWO_BY_TWO = [
    "--set=prompt.variants=[cot]", "--set=problems.limit=6", "--set=generate.max_new_tokens=100",
    "--set=generate.batch_size=2", "--set=generate.part_size=2",
]  # fmt: skip


def stored_answers(out: Path) -> dict[str, bytes]:
    """What the first stage has stored so far, by name; the prompts' text left out."""
    record = open_run(out).manifest.stages.get("generate") if (out / "manifest.json").exists() else None
    parts = [name for name in (record.parts if record else ()) if not name.startswith("prompts/")]
    return {name: (out / name).read_bytes() for name in parts}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, run_file: Path) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    assert cotlens("run", run_file, "--out", out, *TWO_BY_TWO).returncode == 0
    return stored_answers(out)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_generating_stops_it_soon_and_the_same_command_goes_on(
    run_file: Path, tmp_path: Path, uninterrupted: dict[str, bytes], number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    words = ["run", str(run_file), "--out", str(out), *TWO_BY_TWO]
    process = subprocess.Popen(
        [sys.executable, "-m", "cotlens.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while process.poll() is None and not any(name.startswith("completions/") for name in stored_answers(out)):
            time.sleep(0.02)
        process.send_signal(number)
        started = time.monotonic()
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert time.monotonic() - started < 10
    assert (process.returncode, "Traceback" in said) == (code, False), said
    [command] = [line.partition("go on with: ")[2] for line in said.splitlines() if "go on with: " in line]
    assert not (out / "run.lock").exists()
    first = stored_answers(out)
    assert 0 < len(first) < len(uninterrupted)

    assert shlex.split(command) == ["cotlens", *words]
    again = cotlens(*shlex.split(command)[1:])
    assert again.returncode == 0, again.stderr
    assert stored_answers(out) == uninterrupted
    assert first.items() <= uninterrupted.items()


def test_a_full_disk_is_an_environment_fault_and_keeps_what_was_finished(run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    full = cotlens("run", run_file, "--out", out, preexec_fn=small_files)
    assert full.returncode == 3, full.stderr
    assert "can't be written" in full.stderr
    kept = {name for record in open_run(out).manifest.stages.values() for name in record.parts}
    assert kept
    assert cotlens("validate", out).returncode == 0
    assert cotlens("run", run_file, "--out", out).returncode == 0


def test_a_second_process_is_refused_by_name(run_file: Path, run_dir: Path) -> None:
    (run_dir / "run.lock").write_text(json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "since": "now"}))
    try:
        done = cotlens("analyze", run_dir)
    finally:
        (run_dir / "run.lock").unlink()
    assert done.returncode == 2
    assert f"process {os.getpid()}" in done.stderr


def test_prompts_lists_all_variants_with_their_lengths(llama_folder: Path) -> None:
    done = cotlens("prompts", "--model", llama_folder, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row for row in json.loads(done.stdout)["variants"]}
    assert len(rows) == 14
    assert rows["cot"]["shots"] == 8
    assert rows["cot"]["equations"] == rows["add_only"]["equations"] == 13
    assert rows["cot"]["tokens"] > rows["equation_only"]["tokens"] > rows["zero_shot"]["tokens"] > 0
    table = cotlens("prompts")
    assert table.returncode == 0
    assert all(f"{name} " in table.stdout for name in rows)


def test_prompts_names_the_variants_that_a_users_set_does_not_allow(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    step = {"sentence": "So {equation} pens.", "expression": "3 + 4", "result": 7}
    file.write_text(yaml.safe_dump([{"question": "How many pens?", "steps": [step], "answer": 7}]))
    done = cotlens("prompts", "--set", f"prompt.demonstrations={file}", "--set", "prompt.shots=1")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("add_only ")]
    assert "left out: " in line


def test_prompts_prints_the_exact_text() -> None:
    done = cotlens("prompts", "text_only", "--question", "How many pens?", "--set", "prompt.shots=3")
    assert done.stdout == build_prompt("text_only", "How many pens?", shots=3)


def test_prompts_shows_how_two_variants_differ() -> None:
    done = cotlens("prompts", "--diff", "cot", "text_only", "--set", "prompt.shots=1")
    assert done.returncode == 0
    assert "-So the gardeners planted 21 - 15 = 6 pear trees." in done.stdout.splitlines()
    assert "+So the gardeners planted 6 pear trees." in done.stdout.splitlines()
    assert "The two prompts are the same" in cotlens("prompts", "--diff", "cot", "cot").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cto"], "variant 'cto' is not known (your own text is file:PATH); did you mean 'cot'?"),
        (["--diff", "cot", "file:none.txt"], "none.txt: no such file"),
        (["cot", "--chat"], "--chat needs the tokenizer of a model; name it with --model"),
        (["cot", "--set", "prompt.shots=9"], "prompt.shots"),
        (["cot", "--set", "prompt.demonstrations=evryday"], "did you mean 'everyday'?"),
        (["cot", "--set", "model.dtype=float16"], "changes settings under prompt.* only"),
        (["--diff", "cot"], "requires 2 arguments"),
    ],
)
def test_wrong_words_to_prompts_are_one_line(words: list[str], expected: str) -> None:
    done = cotlens("prompts", *words)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_rescore_says_that_nothing_changed(run_dir: Path) -> None:
    done = cotlens("rescore", run_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "9 completions graded again; nothing changed.\n"
    assert json.loads(cotlens("rescore", run_dir, "--json").stdout)["changes"] == []
    missing = cotlens("rescore", run_dir / "nothing")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


def test_chat_is_a_flag_of_run(run_file: Path, tmp_path: Path) -> None:
    done = cotlens("run", run_file, "--out", tmp_path / "run", "--chat")
    assert done.returncode == 2
    assert "the model's tokenizer has no chat template; leave out --chat (prompt.chat)" in done.stderr
