"""``python -m benchmarks [B1 B2 ...] [--short] [--json FILE]``: prints a Markdown table of one run on this machine."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.measures import (
    b1_generation,
    b2_discovery,
    b3_projection,
    b4_published,
    b5_memory,
    b6_startup,
    b7_explorer,
    b8_gpu,
)
from benchmarks.plan import PEERS_PYTHON, Plan, shorten
from benchmarks.rows import HEADER, Row, line
from benchmarks.worker import PeerFailedError, say
from cotlens.model.embedded import embedded_folder

MODEL = "smollm2-135m"

#: Their goals are for the whole work; on little of it what is done once weighs too much.
OF_FULL_LENGTH = ("B1", "B2", "B4")

BENCHES: dict[str, Callable[[Plan], Iterator[Row]]] = {
    module.NAME: module.run
    for module in (b1_generation, b2_discovery, b3_projection, b4_published, b5_memory, b6_startup, b7_explorer, b8_gpu)
}


def main(words: list[str] | None = None) -> int:
    asked = _parse(words)
    with tempfile.TemporaryDirectory(prefix="cotlens-bench-") as scratch:
        plan = make_plan(asked, Path(scratch))
        machine = describe()
        plan.measure_machine()
        machine |= {
            "fp32_gflops": round(plan.bare.gflops),
            "bf16_gflops": round(plan.bare_bf16_gflops),
            "copy_gb_s": round(plan.bare.copy_gb_s, 1),
        }
        print(introduction(plan, machine), flush=True)
        if asked.profile:
            from benchmarks import operations

            print(operations.by_phase(plan), end="\n\n", flush=True)
            print(operations.table(plan))
        elif asked.scaling:
            from benchmarks import scaling

            print(scaling.run(plan, asked.chart))
        else:
            rows = measure(plan, asked.benches or list(BENCHES))
            if asked.json:
                asked.json.write_text(
                    json.dumps({"machine": machine, "rows": [one.as_record() for one in rows]}, indent=1)
                )
            return 1 if any(row.note.startswith("FAILED") for row in rows) else 0
    return 0


def measure(plan: Plan, names: list[str]) -> list[Row]:
    """Run the benchmarks ``names``; every row is printed as soon as it is there."""
    print(HEADER, flush=True)
    rows: list[Row] = []
    for name in names:
        started = time.perf_counter()
        say(f"{name} ...")
        try:
            if rows:  # again, since what else runs on the machine changes
                plan.measure_machine()
            for row in BENCHES[name](plan):
                rows.append(replace(row, goal=None) if plan.short and name in OF_FULL_LENGTH else row)
                print(line(rows[-1]), flush=True)
        except PeerFailedError as error:
            rows.append(Row(name, "", None, "", None, note=f"FAILED: {error}"))
            print(line(rows[-1]), flush=True)
        say(f"{name}: {time.perf_counter() - started:.0f} s")
    return rows


def make_plan(asked: argparse.Namespace, scratch: Path) -> Plan:
    folder = Path(asked.model) if Path(asked.model).is_dir() else embedded_folder(asked.model)
    plan = Plan(asked.model, folder, scratch, peers_python=str(PEERS_PYTHON) if PEERS_PYTHON.exists() else None)
    plan.wait_s, plan.device = asked.wait, asked.device
    return shorten(plan) if asked.short else plan


def introduction(plan: Plan, machine: dict[str, Any]) -> str:
    where = f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gib']} GiB"
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "transformers"))
    where += f"; measured on {plan.accelerator}" if plan.accelerator else ""
    peers = "with peers" if plan.peers_python else "without the peers that need .venv-bench (make bench makes it)"
    return (
        f"{where}; {versions}; load average {machine['load_average']} at the start; {peers}.\n"
        f"Bare figures: {machine['fp32_gflops']} GFLOP/s fp32, {machine['bf16_gflops']} bf16, copies "
        f"{machine['copy_gb_s']} GB/s (read and written). Model {Path(plan.model).name}, problems {plan.problems}, "
        f"{plan.shots} demonstrations.\n"
    )


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benches", nargs="*", choices=[[], *BENCHES], metavar="BENCH", help=", ".join(BENCHES))
    parser.add_argument("--short", action="store_true", help="little of everything, in under three minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument(
        "--wait", type=float, default=0, metavar="S", help="wait up to S seconds for a quiet machine, each time"
    )
    parser.add_argument("--scaling", action="store_true", help="over questions, batch size and length, as a chart")
    parser.add_argument("--chart", type=Path, default=Path(__file__).parent / "scaling.svg", help="where that goes")
    parser.add_argument(
        "--profile", action="store_true", help="where the time of B1 goes, by phase and by kind of operation"
    )
    parser.add_argument("--device", default="cpu", help="where models run: cpu, cuda, or cuda:1; cpu unless given")
    parser.add_argument("--model", default=MODEL, help=f"another model, as a checkpoint folder; {MODEL} unless given")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
