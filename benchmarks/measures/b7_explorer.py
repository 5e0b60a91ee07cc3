"""B7: the explorer on a large run: making its index, and every page and query."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.plan import Plan
from benchmarks.rows import Row, disturbance, together
from benchmarks.worker import Measured, say

NAME = "B7"
INDEX_S = 60
MEMORY_MIB = 1024
PAGE_MS = 200
#: Bytes on disk for each row of activations, index and all else included.
_DISK = 230
_TIMES = 5


def run(plan: Plan) -> Iterator[Row]:
    sizes, folder, cache = plan.explored, plan.scratch / "synthetic", plan.scratch / "explorer-cache"
    what = f"{sizes.rows / 1e6:g} million rows of activations"
    needed, free = _DISK * sizes.rows / 1e9, shutil.disk_usage(plan.scratch).free / 1e9
    if free < needed:
        note = f"not measured: needs {needed:.0f} GB on disk, {free:.0f} GB are free"
        yield Row(NAME, f"explorer, {what}", None, "", None, note=note)
        return
    try:
        say(f"a run of {what}")
        plan.measure_one(plan.slow_worker("synthetic:prepare", out=str(folder), sizes=asdict(sizes)))
        yield from _index(plan, folder, cache, what)
        yield from _pages(plan, folder, cache)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(cache, ignore_errors=True)


def _index(plan: Plan, folder: Path, cache: Path, what: str) -> Iterator[Row]:
    made = plan.measure_one(plan.slow_worker("explorer:prepare_index", run=str(folder), cache=str(cache)))
    size, used = made.facts["index_bytes"] / 2**20, made.facts["processor_s"]
    note = together(f"{used:.0f} s of processor time, {size:.0f} MiB on disk", disturbance(made))
    yield Row(NAME, f"index of {what}", made.seconds, "what is allowed", INDEX_S, "s", 1.0, "share", note=note)
    yield Row(NAME, "peak memory of that", made.peak_mib, "what is allowed", MEMORY_MIB, "MiB", 1.0, "share")


def _pages(plan: Plan, folder: Path, cache: Path) -> Iterator[Row]:
    places = {"run": str(folder), "cache": str(cache), "times": 1 if plan.short else _TIMES}
    neurons = pl.read_parquet(folder / "neurons.parquet", columns=["layer", "neuron", "hits"])
    busiest = neurons.sort("hits", "layer", "neuron", descending=[True, False, False]).row(0)
    asked = plan.measure_one(plan.ours("explorer:prepare_queries", neuron=busiest[:2], **places))
    for name, taken in asked.facts["ms"].items():
        yield _answer(f"query: {name}", taken, asked)
    served = plan.measure_one(plan.slow_worker("explorer:prepare_pages", addresses=_addresses(busiest), **places))
    for address, taken in served.facts["ms"].items():
        yield _answer(address, taken, served)
    yield Row(NAME, "peak memory of the server", served.facts["server_mib"], "what is allowed", MEMORY_MIB, "MiB", 1.0,
              "share", note=f"listened after {served.facts['ready_s']:.1f} s, the index being there")  # fmt: skip


def _answer(what: str, taken: list[float], measured: Measured) -> Row:
    first, median = taken
    note = together(f"the first time {first:.0f} ms", disturbance(measured))
    return Row(NAME, what, median, "what is allowed", PAGE_MS, "ms", 1.0, "share", note=note)


def _addresses(neuron: tuple[Any, ...]) -> list[str]:
    """Every page, with the filters that ask most of it, and every query of the JSON."""
    completion, name = "cot/synthetic-00000", f"L{neuron[0]}N{neuron[1]}"
    pages = [
        "",
        "completions",
        "completions?variant=cot&correct=yes&sort=steps&page=3",
        f"completion/{completion}",
        f"completion/{completion}?step=30&concept=add&beside=text_only",
        f"neuron/{name}",
        "neurons",
        "neurons?token=plus&match=contains&sort=hits",
        "neurons?concept=any&min_hits=100&sort=value_norm",
        "concepts",
        "compare?a=cot&b=text_only",
        "interventions",
        "figures/accuracy.svg",
    ]
    queries = [
        "overview",
        "completions",
        f"completions/{completion}",
        f"completions/{completion}/activity",
        f"completions/{completion}/steps/30",
        "neurons",
        "neurons?token=plus&match=contains",
        f"neurons/{name}",
        "concepts",
        "compare?a=cot&b=text_only",
        "figures",
    ]
    return [*(f"/{page}" for page in pages), *(f"/api/{query}" for query in queries)]
