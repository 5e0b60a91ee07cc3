"""Every command and every piece of Python in README, docs and examples runs."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cotlens import load_config
from cotlens.pipeline import validate

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, block)
        for page in PAGES
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)
    ]


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for _, block in blocks("bash") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


def test_make_has_every_target_that_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        word
        for page in PAGES
        for word in re.findall(r"make (demo|test|lint|bench|docs|setup|clean)\b", page.read_text())
    }
    assert named >= {"demo", "test", "lint", "bench", "docs"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_ci_runs_what_the_readme_tells() -> None:
    assert re.findall(r"^make .*", (ROOT / ".ci/run").read_text(), flags=re.MULTILINE) == ["make lint", "make test"]


@pytest.fixture(scope="module")
def small(llama_folder: Path) -> list[str]:
    """Settings under which any run file is quick."""
    return [
        f"--set=model.name={llama_folder}", "--set=problems.source=mini", "--set=problems.limit=2",
        "--set=generate.max_new_tokens=4", "--set=prompt.shots=1", "--set=discover.top_k=5",
        "--set=intervene.control_draws=1", "--set=label.min_layer=0",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the example for a user's own model."""
    run = tmp_path_factory.mktemp("finished") / "run"
    example = ["run", str(ROOT / "examples/own-model.yaml"), "--out", str(run), *small]
    assert cotlens(example, run.parent).returncode == 0
    return run


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("cotlens ")])
def test_every_cotlens_command_works(
    command: str, tmp_path: Path, llama_folder: Path, small: list[str], finished: Path
) -> None:
    words = shlex.split(command)[1:]
    run = tmp_path / "run"
    entry = {"id": "plain", "name": "plain", "seeds": ["a", "b"], "question": "Plain?"}
    (tmp_path / "my-concepts.yaml").write_text(yaml.safe_dump([entry]))
    if words[0] == "run":
        words = ["run", str(ROOT / words[1]), "--out", str(run), *small]
    elif {"runs/own", "runs/demo"} & set(words):
        shutil.copytree(finished, run)
        words = [str(run) if word.startswith("runs/") else word for word in words]
    elif words[0] == "prompts":
        (tmp_path / "my-prompt.txt").write_text("Question: 1 + 1?\nThe answer is 2.\n")
    elif words[0] == "atlas":
        words[1] = str(llama_folder)  # every neuron of the embedded model takes a minute
    elif words[0] == "validate" and not words[1].startswith("--"):
        words[1] = str(ROOT / words[1])
    if words[0] == "view" and "--static" not in words:
        served_until_interrupted(words, tmp_path)
        return
    done = cotlens(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.embedded
@pytest.mark.parametrize(("page", "code"), [found for found in blocks("python") if "import cotlens" in found[1]])
def test_every_piece_of_python_runs(page: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, page, "exec"), {})


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_valid(file: Path) -> None:
    config = load_config(file, overrides=["problems.source=mini"])
    assert len(validate(config)) == config.problems.limit


@pytest.mark.parametrize(("page", "block"), blocks("yaml"))
def test_every_yaml_block_is_valid(page: str, block: str, tmp_path: Path) -> None:
    from cotlens.concepts import load_concepts

    file = tmp_path / "block.yaml"
    file.write_text(block)
    if isinstance(yaml.safe_load(block), list):
        assert load_concepts(str(file))
    else:
        validate(load_config(file))


def test_the_public_names_are_all_there() -> None:
    import cotlens

    assert sorted(cotlens.__all__) == cotlens.__all__
    for name in cotlens.__all__:
        assert getattr(cotlens, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cotlens.nothing


def test_functions_win_over_modules_of_their_name() -> None:
    code = (
        "import cotlens.pipeline, cotlens.discover, cotlens.intervene.stage, cotlens.project, cotlens.generate.engine\n"
        "import cotlens\n"
        "assert all(callable(f) for f in (cotlens.generate, cotlens.project, cotlens.intervene))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def cotlens(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cotlens.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)


def served_until_interrupted(words: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "cotlens.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
