"""B7 on a tiny run: its rows, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.measures import b7_explorer
from benchmarks.ours.synthetic import write_run
from benchmarks.ours.synthetic_tables import Sizes
from benchmarks.plan import Plan
from benchmarks.rows import Row

from cotlens import open_run
from cotlens.store import damaged_parts

TINY = Sizes(rows=3000, layers=4, width=60, top_k=6, vocabulary=300, part_size=3)


def test_a_synthetic_run_is_one_that_can_be_read(tmp_path: Path) -> None:
    written = write_run(tmp_path / "run", TINY)
    run = open_run(tmp_path / "run")
    rows = run.activations()
    assert written["rows"] == rows.height >= TINY.rows
    assert damaged_parts(run) == []
    assert rows["neuron"].list.n_unique().unique().to_list() == [TINY.top_k]
    assert rows["neuron"].list.max().max() < TINY.width  # type: ignore[operator]
    assert (rows["score"].list.diff().list.max() <= 0).all()
    assert rows.select("variant", "question_id", "step").unique().height * TINY.layers == rows.height
    hits = run.neurons().select("layer", "neuron", "hits")
    assert hits["hits"].sum() == rows.height * TINY.top_k
    assert run.concepts().join(hits, on=["layer", "neuron"]).height == run.concepts().height
    assert run.analysis("frequencies").height


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    sums = []
    for name in ("a", "b"):
        write_run(tmp_path / name, TINY)
        parts = [part for record in open_run(tmp_path / name).manifest.stages.values() for part in record.parts.items()]
        sums.append({name: part.sha256 for name, part in parts})
    assert sums[0] == sums[1]


def test_a_large_one_has_the_tables_of_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.ours.synthetic._ANALYSED", 2000)
    write_run(tmp_path / "run", TINY)
    run = open_run(tmp_path / "run")
    assert run.analysis("failures").height == run.completions().height
    assert run.analysis("layers").height
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_every_page_and_query_is_asked(plan: Plan) -> None:
    pytest.importorskip("fastapi")
    plan.short, plan.explored = True, TINY
    rows = list(b7_explorer.run(plan))
    assert all(row.ours for row in rows)
    assert {row.unit for row in rows} == {"s", "MiB", "ms"}
    asked = [row.work for row in rows if row.work.startswith("/")]
    assert "/compare?a=cot&b=text_only" in asked
    assert any(one.startswith("/api/completions/cot/") for one in asked)
    assert [row for row in rows if row.unit == "ms"] == [row for row in rows if row.theirs == b7_explorer.PAGE_MS]
    assert not list(plan.scratch.iterdir())


def test_it_says_if_the_disk_is_too_small(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6})())
    [row] = list[Row](b7_explorer.run(plan))
    assert row.note == "not measured: needs 9 GB on disk, 0 GB are free"
