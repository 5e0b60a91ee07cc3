"""Every benchmark on the tiny Llama: what it compares is the same work, and its rows say so."""

import importlib
import re

import pytest
from benchmarks.measures import b1_generation, b2_discovery, b3_projection, b4_published, b5_memory, b6_startup, b8_gpu
from benchmarks.plan import Plan
from benchmarks.rows import Row


def by_peer(rows: list[Row]) -> dict[str, Row]:
    return {row.beside: row for row in rows}


def test_b1_compares_the_same_texts_and_keeps_them(plan: Plan) -> None:
    rows = by_peer(list(b1_generation.run(plan)))
    generate = [row for name, row in rows.items() if name.startswith("transformers generate, batch")]
    assert len(generate) == 2
    assert all(row.note == "same text 3 of 3" for row in generate)
    (best,) = (row for row in generate if row.goal is not None)
    assert best.theirs == min(row.theirs for row in generate if row.theirs)
    assert rows["lm-evaluation-harness, its transformers backend"].note == "not measured: no environment with the peers"
    assert rows["transformers generate_batch (continuous)"].note == "not measured: left out"
    assert plan.completions is not None
    assert len(plan.completions) == 3
    assert plan.generation_s == best.ours


def test_b2_finds_what_plain_hooks_find(plan: Plan) -> None:
    rows = by_peer(list(b2_discovery.run(plan)))
    assert rows["plain hooks that keep every coefficient"].note.startswith("coefficients agree within")
    steps = sum(len(one["token_ids"]) for one in plan.need_completions())
    assert f"same top-K at {3 * steps} of {3 * steps}" in rows["plain hooks that keep every coefficient"].note
    hooks = rows["the same forward passes without hooks"]
    assert hooks.ours
    assert hooks.theirs
    assert hooks.ours < rows["B1's own time"].ours  # the passes are a part of the stage
    assert rows["nnsight, inputs of the down projections"].theirs is None


def test_b2_says_if_a_peer_finds_something_else(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("benchmarks.peers.keep_everything")
    monkeypatch.setattr(module, "value_norms", lambda model: [1 / norm for norm in real(model)])
    real = importlib.import_module("benchmarks.peers.ranking").value_norms
    note = by_peer(list(b2_discovery.run(plan)))["plain hooks that keep every coefficient"].note
    same, places = re.search(r"same top-K at (\d+) of (\d+)", note).groups()
    assert int(same) < int(places) / 2


def test_b3_projects_the_neurons_of_the_product(plan: Plan) -> None:
    plan.layers = 2
    rows = list(b3_projection.run(plan))
    assert [row.work for row in rows if row.beside.startswith("the bare product")] == [
        f"project {2 * 48} neurons, both ends, {dtype}" for dtype in ("float32", "bfloat16")
    ]
    assert rows[-1].ours is not None
    assert 0.8 < rows[-1].ours <= 1


def test_b4_generates_the_same_tokens_without_a_cache(plan: Plan) -> None:
    plan.short = True
    (row,) = b4_published.run(plan)
    assert row.note.endswith("2 there; the same tokens")
    assert row.ours
    assert row.theirs


def test_b5_repeats_the_completions(plan: Plan) -> None:
    (row,) = b5_memory.run(plan)
    assert row.work == "peak memory of discovery, 12 questions"
    assert row.ours_mib
    assert row.theirs_mib


def test_b6_asks_a_finished_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan.short = True
    asked: list[list[str]] = []
    monkeypatch.setattr(b6_startup, "_seconds", lambda command: asked.append(command) or 0.1)
    rows = list(b6_startup.run(plan))
    assert [row.met for row in rows] == [True, True]
    assert asked[-1][-2] == "show"
    assert (plan.scratch / "finished" / "report.html").exists()


def test_b8_has_draws_on_any_device_and_the_rest_on_a_gpu(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(b8_gpu, "has_gpu", lambda: False)
    monkeypatch.setattr(b8_gpu, "MANY_DRAWS", 3)
    together, skipped = b8_gpu.run(plan)
    questions = min(4, plan.questions)
    assert together.work == f"3 control draws on {questions} questions in one run"
    assert together.note.startswith(f"same text {3 * questions}/{3 * questions}")
    assert skipped.note == "skipped: no CUDA device here"
    capture, draws = b8_gpu.measure(plan, "cpu")
    assert capture.beside == "decoding alone"
    assert capture.ours
    assert (draws.work, draws.beside) == ("3 control draws", "1 control draws")
    assert draws.ratio is not None
