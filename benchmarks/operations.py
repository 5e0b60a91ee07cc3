"""``--profile``: where the time of B1 goes, by phase and by kind of operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.measures import b1_generation
from benchmarks.plan import Plan
from benchmarks.rows import table as rows_table

#: Kinds by the beginnings of torch's operator names; the first that fits.
KINDS: dict[str, tuple[str, ...]] = {
    "matrix products": ("addmm", "mm", "bmm", "baddbmm", "linear", "matmul", "mkldnn_linear", "_mkl_linear"),
    "attention": ("_scaled_dot_product", "scaled_dot_product", "_flash_attention", "_efficient_attention"),
    "copies": ("copy_", "cat", "clone", "contiguous", "_to_copy", "to", "index_select", "index", "gather", "index_put_",
               "index_copy_", "embedding", "stack", "repeat", "repeat_interleave"),
    "softmax and its parts": ("softmax", "_softmax", "exp", "exp_", "logsumexp", "logaddexp", "amax", "max", "sub_"),
    "masks": ("masked_fill", "masked_fill_", "where", "le", "ge", "lt", "gt", "eq", "ne", "bitwise_and", "logical_and"),
    "element by element": ("mul", "mul_", "add", "add_", "silu", "neg", "sub", "div", "div_", "cos", "sin", "pow"),
    "sums and norms": ("mean", "rsqrt", "sum", "rms_norm", "_fused_rms_norm", "norm", "cumsum"),
    "choice of tokens": ("argmax", "topk", "sort"),
}  # fmt: skip
OTHER = "other operators"
PYTHON = "outside operators (Python, dispatch)"


def kind_of(operator: str) -> str:
    """The kind of ``aten::NAME``."""
    name = operator.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if name in names or _begins(name, kind)), OTHER)


def _begins(name: str, kind: str) -> bool:
    return kind == "attention" and name.startswith(KINDS[kind])


def by_phase(plan: Plan) -> str:
    """The phases of one B1 beside their floors, without the profiler."""
    measured = plan.measure_one(plan.ours("generation:prepare", **plan.generation_job()))
    plan.keep_completions(measured)
    return rows_table(b1_generation.phases(plan, measured))


def table(plan: Plan) -> str:
    """Seconds and calls of each kind, over one B1 under the profiler."""
    job = plan.generation_job()
    facts = plan.measure_one(plan.ours("generation:prepare_profiled", **job)).facts
    return render(facts["operators"], facts["seconds"])


def render(operators: Mapping[str, Any], wall_s: float) -> str:
    """``operators``: for each name its own seconds and its calls."""
    kinds: dict[str, tuple[float, int, str]] = {}
    for name, (seconds, calls) in sorted(operators.items(), key=lambda item: -item[1][0]):
        kind = kind_of(name)
        before, count, names = kinds.get(kind, (0.0, 0, ""))
        shown = ", ".join(filter(None, [names, name.removeprefix("aten::")])) if names.count(",") < 3 else names
        kinds[kind] = (before + seconds, count + calls, shown)
    inside = sum(seconds for seconds, _, _ in kinds.values())
    kinds[PYTHON] = (max(0.0, wall_s - inside), 0, "")
    lines = [f"B1 under the profiler: {wall_s:.1f} s", "", "| kind | s | share | calls | the largest |"]
    lines.append("|---|---|---|---|---|")
    for kind, (seconds, calls, names) in sorted(kinds.items(), key=lambda item: -item[1][0]):
        lines.append(f"| {kind} | {seconds:.2f} | {seconds / wall_s:.0%} | {calls or '-'} | {names} |")
    return "\n".join(lines)
