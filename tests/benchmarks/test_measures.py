"""Every benchmark on the tiny Llama: what it compares is the same work, and its rows say so."""

import importlib
import re
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks.measures import b1_generation, b2_discovery, b3_projection, b4_published, b5_memory, b6_startup, b8_gpu
from benchmarks.ours.decoding import captured
from benchmarks.ours.phases import timed_phases
from benchmarks.plan import Plan
from benchmarks.rows import Row

from cotlens import LanguageModel, generate, top_neurons
from cotlens.model.shared_prefix import RowBatch


def by_peer(rows: list[Row]) -> dict[str, Row]:
    return {row.beside: row for row in rows}


def test_b1_compares_the_same_texts_and_keeps_them(plan: Plan) -> None:
    plan.repetitions = 2
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
    assert best.work == "generate, 3 questions of mini, 4 tokens each"


def test_b1_says_how_long_each_phase_takes_beside_its_floor(plan: Plan) -> None:
    rows = {row.work: row for row in b1_generation.run(plan)}
    phases = {name.removeprefix("of that, "): row for name, row in rows.items() if name.startswith("of that, ")}
    prefix, questions, decoding, rest = phases.values()
    shared, own = plan.shared_length(), sum(plan.suffix_lengths())
    assert list(phases)[:3] == [
        f"reading the shared prefix, {shared} tokens", f"reading the questions, {own} tokens", "decoding, 3 steps",
    ]  # fmt: skip
    assert [row.beside for row in phases.values()] == ["floor"] * 3 + [""]
    assert all(row.ours for row in phases.values())
    assert prefix.theirs + questions.theirs + decoding.theirs == pytest.approx(  # type: ignore[operator]
        by_peer(list(rows.values()))["floor: multiplications and weights"].theirs
    )
    assert rest.theirs is None


def test_b1_names_the_questions_of_a_file(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTLENS_GSM8K", str(tmp_path / "test.jsonl"))
    assert plan.asked == "3 questions of GSM8K (test.jsonl)"


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
    bound, published = b4_published.run(plan)
    assert published.note.endswith("2 there; the same tokens")
    assert published.ours
    assert published.theirs
    assert bound.ours == published.ours
    assert bound.beside == "floor: multiplications and weights"
    assert 0 < bound.theirs < published.theirs  # type: ignore[operator]


def test_b4_takes_the_discovery_of_b2(plan: Plan) -> None:
    list(b2_discovery.run(plan))
    assert plan.discovery
    bound, _ = b4_published.run(plan)
    assert plan.generation_s
    assert bound.ours == (plan.generation_s + plan.discovery.seconds) / 12


def test_b5_repeats_the_completions(plan: Plan) -> None:
    flat, bound = b5_memory.run(plan)
    assert flat.work == "peak memory of discovery, 12 questions"
    assert flat.ours_mib
    assert flat.theirs_mib
    assert bound.ours == flat.ours
    assert 0 < bound.theirs < 1  # type: ignore[operator]


def test_b6_asks_a_finished_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan.short = True
    asked: list[list[str]] = []
    monkeypatch.setattr(b6_startup, "_seconds", lambda command: asked.append(command) or 0.1)
    rows = list(b6_startup.run(plan))
    assert [row.met for row in rows] == [True, True]
    assert asked[-1][-2] == "show"
    assert (plan.scratch / "finished" / "report.html").exists()


def test_b8_finds_the_same_texts_in_one_run_and_says_both_ratios(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(b8_gpu, "has_gpu", lambda: False)
    monkeypatch.setattr(b8_gpu, "MANY_DRAWS", 3)
    separate, one, capture = b8_gpu.run(plan)
    assert separate.work == one.work == "3 control draws on 3 questions in one run, cpu"
    assert (separate.beside, separate.note) == ("3 runs", "same text 9 of 9")
    assert one.beside == "one draw, the median"
    assert one.ratio == pytest.approx(separate.ours / one.theirs)  # type: ignore[operator]
    assert 1 < separate.theirs / one.theirs < 9  # type: ignore[operator]
    tokens = sum(len(one["token_ids"]) for one in plan.need_completions())
    assert capture.work == "decode with top-20 capture, 3 questions, cpu"
    assert capture.note.startswith(f"captured at {tokens} tokens")
    assert capture.ratio
    assert {row.goal for row in (separate, one, capture)} == {None}


def test_b8_says_if_texts_differ(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("benchmarks.ours.draws")
    made = iter([*range(2), *range(10, 12)])
    noise = module.noise
    monkeypatch.setattr(module, "noise", lambda lm, draw: noise(lm, next(made)))
    plan.short = True
    monkeypatch.setattr(b8_gpu, "FEW_DRAWS", 2)
    separate, *_ = b8_gpu.draws_in_one_run(plan, "cpu")
    same = re.fullmatch(r"same text (\d) of 6", separate.note)
    assert same
    assert int(same[1]) < 6


def test_on_a_gpu_b8_has_goals(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(b8_gpu, "has_gpu", lambda: True)
    monkeypatch.setattr(b8_gpu, "MANY_DRAWS", 2)
    job = Plan.job
    monkeypatch.setattr(Plan, "job", lambda self, **more: job(self, **more) | {"device": "cpu"})
    separate, one, capture = b8_gpu.run(plan)
    assert [row.goal for row in (separate, one, capture)] == [None, 3.0, 1.05]
    assert separate.work.endswith(", cuda")


def test_what_is_captured_while_decoding_is_what_discovery_finds(llama: LanguageModel) -> None:
    prompt = llama.encode("How many pens are 3 pens and 4 pens?")
    with captured(llama) as passes:
        [done] = generate(llama, [prompt], max_new_tokens=5, stop=())
    assert [top.steps for top in passes] == [1] * 5
    found = top_neurons(llama, [*done.prompt_ids, *done.token_ids], len(done.prompt_ids))
    assert np.array_equal(np.concatenate([top.neuron for top in passes]), found.neuron)
    assert not any(ffn.down_projection._forward_pre_hooks for ffn in llama.ffn)
    assert not llama.model._forward_pre_hooks
    assert not llama.model._forward_hooks


def test_the_phases_add_up_to_the_whole_and_leave_the_engine_as_it_was(llama: LanguageModel) -> None:
    before = RowBatch.begin, RowBatch.append
    started = time.perf_counter()
    with timed_phases() as phases:
        generate(llama, [f"How many pens are {n} pens?" for n in range(3)], max_new_tokens=4, stop=())
    whole = time.perf_counter() - started
    assert all(seconds > 0 for seconds in phases.seconds.values())
    assert sum(phases.seconds.values()) == pytest.approx(whole, rel=0.1)
    assert (RowBatch.begin, RowBatch.append) == before
