"""Judges and concepts at the command line: real processes, their exit codes and their one line."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from tests.judge_server import fail, serve_judge
from tests.labelled_run import make_projected_run

CONCEPT = {"id": "colour", "name": "colour", "seeds": ["red", "blue"], "question": "Colours?"}


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    return kept | {"COTLENS_CACHE": str(folder / "cache")}


def cotlens(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cotlens.cli", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=120, cwd=folder, env=environment(folder),
    )  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_projected_run(tmp_path_factory.mktemp("runs") / "run").path


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--judge", "openai/gpt-4o"], 4, "export OPENAI_API_KEY="),
        (["--judge", "anthropic/claude-haiku-4-5"], 4, "export ANTHROPIC_API_KEY="),
        (["--judge", "opnai/gpt-4o"], 2, "did you mean 'openai'"),
        (["--judge", "lexicon", "--judge", "lexicon"], 2, "a judge is named twice"),
        (["--judge", "openai/x", "--max-cost-usd", "1"], 2, "price of openai/x is not known"),
        (["--judge", "openai/x", "--judge-base-url", "ftp://x"], 2, "expected a URL such as"),
        (["--judge-base-url", "http://a/v1", "--judge-base-url", "http://b/v1"], 2, "write JUDGE=URL for each"),
        (["--judge", "openai/x", "--judge-base-url", "openai/y=http://a/v1"], 2, "'openai/y' is no judge of this run"),
        (["--judge", "openai/x", "--judge", "anthropic/y", "--judge-base-url", "http://a/v1"], 2, "one URL for judges"),
        (["--judge", "openai/x", "--judge", "anthropic/y", "--judge-api-key", "sk-one"], 2, "one key for judges"),
        (
            ["--judge", "openai/x", "--judge-api-key", "sk-\u00e9"],
            4,
            "--judge-api-key holds characters that no key has",
        ),
        (["--judge", "azure/x"], 2, "AZURE_OPENAI_ENDPOINT"),
        (["--judge", "mock/none.yaml"], 2, "none.yaml: no such file"),
        (["--judge", "hf/no-such-model-here"], 3, "no-such-model-here"),
        (["--concepts", "none.yaml"], 2, "none.yaml: no such file"),
        (["--price-in", "1"], 2, "prices of both"),
        (["--open"], 2, "can't name concepts"),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(
    words: list[str], code: int, message: str, run_dir: Path, tmp_path: Path
) -> None:
    done = cotlens(tmp_path, "label", run_dir, *words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("cotlens: ")]
    assert message in line
    assert "Traceback" not in done.stderr
    if code == 4:
        assert f"go on with: cotlens label {run_dir}" in line


def test_a_dry_run_tells_the_price_without_a_key(run_dir: Path, tmp_path: Path) -> None:
    words = ("label", run_dir, "--judge", "openai/gpt-4o", "--judge", "lexicon", "--dry-run")
    found = json.loads(cotlens(tmp_path, *words, "--json").stdout)
    assert found["judges"][0]["calls"] == found["questions"]["all"]
    assert 0 < found["about_usd"] < found["at_most_usd"]
    assert "Nothing was asked" in cotlens(tmp_path, *words, "--ask-again").stdout


def test_labels_from_a_server_on_this_machine(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run").path
    with serve_judge() as server:
        words = ("label", run, "--judge", "openai/local", "--judge", "lexicon", "--judge-base-url", f"{server.url}/v1")
        done = cotlens(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        calls = len(server.requests)
        assert calls > 20
        found = json.loads(cotlens(tmp_path, *words, "--json").stdout)
        assert len(server.requests) == calls, "what is done is not asked again"
    for part in ("How far the judge can be trusted", "yes on random neurons", "openai/local and lexicon", "kappa"):
        assert part in done.stdout
    assert re.search(r"lexicon +candidates confirmed +12 +100\.0% ", done.stdout)
    assert re.search(r"Candidates confirmed\s+concept.*\nadd +9 of 9, .*to 100\.0% +9 of 9, ", done.stdout)
    assert re.search(r"\nsubtract +0 of 3, 0\.0% to .* 3 of 3, ", done.stdout)
    measures = {row["measure"] for row in found["reliability"]}
    assert measures >= {"random", "shuffled", "retest", "kappa", "yield"}


def test_a_signal_ends_a_wait_within_seconds_and_says_how_to_go_on(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run").path
    with serve_judge() as server:
        server.rule = fail(429, "slow down", {"Retry-After": "100"})
        words = ["label", str(run), "--judge", "openai/local", "--judge-base-url", f"{server.url}/v1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "cotlens.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
        while not server.requests:
            time.sleep(0.02)
        time.sleep(0.3)
        started = time.monotonic()
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert time.monotonic() - started < 10
    assert process.returncode == 143
    assert "429: slow down; waiting 100.0 s" in said
    assert "go on with: cotlens label" in said
    assert not (run / "run.lock").exists()


def test_concepts_are_listed_and_checked(tmp_path: Path) -> None:
    listed = json.loads(cotlens(tmp_path, "concepts", "--json").stdout)
    assert [row["id"] for row in listed["concepts"]][:2] == ["add", "subtract"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump([CONCEPT | {"negatives": ["moods"], "description": "Hues."}]))
    [mine] = json.loads(cotlens(tmp_path, "concepts", "mine.yaml", "--json").stdout)["concepts"]
    assert (mine["negatives"], mine["description"]) == (["moods"], "Hues.")
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump([CONCEPT | {"sedes": ["x"]}]))
    bad = cotlens(tmp_path, "concepts", "bad.yaml")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert "sedes: Extra inputs are not permitted; did you mean 'seeds'" in bad.stderr
    table = cotlens(tmp_path, "concepts").stdout
    assert "Do these tokens express addition" in table
    assert "7 concepts, all valid" in table


def test_concepts_are_tried_on_a_run_and_on_a_model(run_dir: Path, tmp_path: Path, llama_folder: Path) -> None:
    on_run = json.loads(cotlens(tmp_path, "concepts", "--run", run_dir, "--json").stdout)
    assert on_run["passing"]["add"] == {"signed": 9, "neurons": 9}
    assert on_run["questions"] == 12
    letters = CONCEPT | {"seeds": ["a", "e", "i", "o", "s", "t"]}
    (tmp_path / "letters.yaml").write_text(yaml.safe_dump([letters]))
    on_model = json.loads(cotlens(tmp_path, "concepts", "letters.yaml", "--model", llama_folder, "--json").stdout)
    assert on_model["signed_neurons"] == 2 * 2 * 48, "two of three layers are labelled"
    assert 0 < on_model["passing"]["colour"]["neurons"] <= on_model["passing"]["colour"]["signed"]
    both = cotlens(tmp_path, "concepts", "--model", "x", "--run", run_dir)
    assert (both.returncode, both.stderr) == (2, "cotlens: give --model or --run, not both\n")


def test_a_file_can_not_act_on_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        yaml.safe_dump([CONCEPT | {"question": "\x1b[2J\u202eevil?"}], allow_unicode=False)
    )
    shown = cotlens(tmp_path, "concepts", "bad.yaml").stdout
    assert "\\x1b[2J\\u202eevil?" in shown
    assert not set(shown) & {"\x1b", "\u202e"}


def test_judges_are_listed_with_their_keys(tmp_path: Path) -> None:
    table = cotlens(tmp_path, "concepts", "--judges").stdout
    for part in ("openai/MODEL", "OPENAI_API_KEY, not set", "hf/MODEL", "none needed"):
        assert part in table
