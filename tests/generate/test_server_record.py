"""A run whose completions come from a server: recorded, compared with the model here, resumed, and not mixed up."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cotlens import LanguageModel, RunConfig, open_run
from cotlens.errors import EnvironmentFault, RunMismatchError
from cotlens.generate import server_connection
from cotlens.pipeline import run_pipeline
from cotlens.store import Run

Serve = Callable[..., Any]
KEY = "sk-5e4c8a71-very-secret-key"


@pytest.fixture
def config(llama_folder: Path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": {"name": str(llama_folder), "device": "cpu"},
            "problems": {"limit": 5},
            "prompt": {"variants": ["cot", "zero_shot"], "shots": 1},
            "generate": {"max_new_tokens": 8, "answer_tokens": 4, "part_size": 3},
            "discover": {"top_k": 6},
            "project": {"top_n": 10},
            "analyze": {"bootstrap": 50, "control_draws": 3},
            "intervene": {"draws": 1, "control_draws": 1},
        }
    )


def at(config: RunConfig, server: Any, **more: Any) -> RunConfig:
    return config.model_copy(
        update={"generate": type(config.generate).model_validate(
            config.generate.model_dump() | {"server": server.url} | more
        )}
    )  # fmt: skip


def generate(config: RunConfig, out: Path) -> Run:
    return run_pipeline(config, out, only="generate")


def test_completions_are_those_of_the_model_here(serve: Serve, config: RunConfig, tmp_path: Path) -> None:
    server = serve()
    here, there = generate(config, tmp_path / "here"), generate(at(config, server), tmp_path / "there")
    assert there.completions().equals(here.completions())
    assert there.tokens().equals(here.tokens())
    assert there.manifest.stages["generate"].key != here.manifest.stages["generate"].key
    assert here.manifest.generator == {}
    assert there.manifest.generator == {
        "server": server.url,
        "server_model": "tiny",
        "local_model": config.model.name,
        "prompts_sent_as": "token ids",
        "completions_read_from": "token ids",
        "spot_check": {"tokens": 8, "same": True, "first_difference": None},
    }


def test_interventions_stay_here(serve: Serve, config: RunConfig, tmp_path: Path) -> None:
    server = serve()
    generate(at(config, server), tmp_path / "run")
    asked = len(server.asked)
    finished = run_pipeline(at(config, server), tmp_path / "run")
    assert finished.is_done("intervene")
    assert len(server.asked) == asked


def test_other_weights_on_the_server_are_told(
    serve: Serve, config: RunConfig, tmp_path: Path, make_lm: Callable[[str], LanguageModel],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    run = generate(at(config, serve(lm=make_lm("qwen2"))), tmp_path / "run")
    [line] = [line for line in caplog.messages if "part at token" in line]
    found = run.manifest.generator["spot_check"]
    assert not found["same"]
    assert f"part at token {found['first_difference'] + 1} of 8" in line


def test_engine_and_server_do_not_mix_in_one_run(serve: Serve, config: RunConfig, tmp_path: Path) -> None:
    server = serve()
    generate(config, tmp_path / "run")
    with pytest.raises(RunMismatchError, match=rf"generate\.server: None -> '{server.url}'"):
        run_pipeline(at(config, server), tmp_path / "run")
    assert not server.asked
    assert generate(at(config, server), tmp_path / "run").manifest.generator["server_model"] == "tiny"
    assert generate(config, tmp_path / "run").manifest.generator == {}


def test_a_run_goes_on_where_its_server_left_it(
    serve: Serve, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, out = serve(), tmp_path / "run"
    whole = generate(at(config, server), tmp_path / "whole")
    monkeypatch.setattr(server_connection, "TRIES", 2)
    server.faults.extend([None] * 7)  # probe, spot check, five questions of the first variant
    server.faults.extend([500] * 40)
    with pytest.raises(EnvironmentFault, match="HTTP 500"):
        generate(at(config, server), out)
    kept = open_run(out).manifest.stages["generate"].parts.keys()
    assert "completions/cot-0001.parquet" in kept
    server.faults.clear()
    server.asked.clear()
    resumed = generate(at(config, server), out)
    assert resumed.completions().equals(whole.completions())
    assert resumed.manifest.generator == whole.manifest.generator
    assert len(server.asked) == 11, "the probe, and the second variant's two requests per question"


def test_a_server_that_changed_its_model_is_refused(
    serve: Serve, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, out = serve(), tmp_path / "run"
    monkeypatch.setattr(server_connection, "TRIES", 1)
    server.faults.extend([*[None] * 7, *[500] * 40])
    with pytest.raises(EnvironmentFault):
        generate(at(config, server), out)
    server.faults.clear()
    server.models = ["another"]
    with pytest.raises(RunMismatchError, match=r"began with 'tiny', and http.* now serves 'another'"):
        generate(at(config, server), out)


@pytest.fixture
def run_file(tmp_path: Path, config: RunConfig) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.model_dump_json(exclude_none=True))))
    return file


def cotlens(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cotlens.cli", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | variables,
    )  # fmt: skip


def test_the_flag_asks_the_server_and_the_verb_asks_again(serve: Serve, run_file: Path, tmp_path: Path) -> None:
    server, out = serve(), tmp_path / "out"
    done = cotlens("run", run_file, "--out", out, "--generator", server.url.removesuffix("/v1"))
    assert done.returncode == 0, done.stderr
    assert open_run(out).config.generate.server == server.url
    other = serve()
    done = cotlens("generate", out, "--generator", other.url)
    assert done.returncode == 0, done.stderr
    assert open_run(out).manifest.generator["server"] == other.url
    assert len(other.asked) == len(server.asked)


def test_no_byte_of_the_key_is_shown_or_stored(serve: Serve, run_file: Path, tmp_path: Path) -> None:
    server, out = serve(), tmp_path / "out"
    server.faults.extend([None, *[(500, {"error": {"message": f"bad key {KEY}"}})] * 2, None, None])
    server.faults.extend([(401, {"error": {"message": f"bad key {KEY}"}})] * 40)
    done = cotlens("run", run_file, "--out", out, "--generator", server.url, "--debug", COTLENS_GENERATOR_KEY=KEY)
    assert done.returncode == 3
    assert "HTTP 401: the API key is not right for it; set COTLENS_GENERATOR_KEY" in done.stderr
    assert set(server.keys) == {f"Bearer {KEY}"}
    stored = b"".join(file.read_bytes() for file in out.rglob("*") if file.is_file())
    assert KEY not in done.stdout + done.stderr
    assert KEY.encode() not in stored


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        (["--generator", "http://me:pa55w0rd@127.0.0.1:9"], {}),
        (["--generator", "http://me:pa55/w0rd@127.0.0.1:9"], {}),
        (["--set", "generate.server=http://me:pa55w0rd@127.0.0.1:9"], {}),
        (["--set", "generate=http://me:pa55w0rd@127.0.0.1:9"], {}),
        (["--set", "generate.servr=http://me:pa55w0rd@127.0.0.1:9"], {}),
        (["--set", "=http://me:pa55w0rd@127.0.0.1:9"], {}),
        ([], {"COTLENS_GENERATE__SERVER": "http://me:pa55w0rd@127.0.0.1:9"}),
    ],
)
def test_a_password_in_a_url_is_refused_and_not_shown(
    run_file: Path, tmp_path: Path, words: list[str], variables: dict[str, str]
) -> None:
    done = cotlens("run", run_file, "--out", tmp_path / "out", *words, "--debug", **variables)
    assert done.returncode == 2
    assert "pa55" not in done.stdout + done.stderr
    assert "w0rd" not in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_not_there_ends_the_run_before_weights_load(run_file: Path, tmp_path: Path) -> None:
    done = cotlens("run", run_file, "--out", tmp_path / "out", "--generator", "http://127.0.0.1:9")
    assert done.returncode == 3
    [line] = [line for line in done.stderr.splitlines() if line.startswith("cotlens: ")]
    assert "http://127.0.0.1:9/v1: no connection" in line


@pytest.mark.parametrize("state", ["silent from the start", "silent", "busy"])
def test_ctrl_c_does_not_wait_for_the_server(serve: Serve, run_file: Path, tmp_path: Path, state: str) -> None:
    server, out = serve(), tmp_path / "out"
    stall = (lambda _: server.released.wait(60) and (500, "")) if state != "busy" else 503
    begun = 0 if state == "silent from the start" else 2
    server.faults.extend([*[None] * begun, *[stall] * 200])
    words = ["run", str(run_file), "--out", str(out), "--generator", server.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "cotlens.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while len(server.asked) <= begun:
        time.sleep(0.05)
    time.sleep(1.5)  # it waits for an answer, or for its next try
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert time.monotonic() - started < 10
    assert process.returncode == 130, said
    assert f"go on with: cotlens run {run_file} --out {out} --generator {server.url}" in said
