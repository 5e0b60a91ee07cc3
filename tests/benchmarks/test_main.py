"""The command, the scaling and the profile."""

import json
from pathlib import Path

import pytest
from benchmarks.machine import describe
from benchmarks.plan import Plan, shared_length, shorten
from benchmarks.rows import HEADER, Row
from benchmarks.worker import Measured, PeerFailedError, Worker

from benchmarks import __main__ as command
from benchmarks import machine as machine_module
from benchmarks import operations, scaling


@pytest.fixture
def _on_the_tiny_model(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "make_plan", lambda asked, scratch: plan)


@pytest.mark.usefixtures("_on_the_tiny_model")
def test_rows_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(plan: Plan) -> list[Row]:
        raise PeerFailedError("cotlens generate: out of memory")

    monkeypatch.setitem(command.BENCHES, "B1", broken)
    monkeypatch.setitem(command.BENCHES, "B2", lambda plan: [Row("B2", "discover", 1.0, "floor", 2.0)])
    file = tmp_path / "found.json"
    assert command.main(["B1", "B2", "--json", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: cotlens generate: out of memory" in printed
    assert "| B2 | discover | 1 s | floor | 2 s | 2.00 |" in printed
    found = json.loads(file.read_text())
    assert [row["bench"] for row in found["rows"]] == ["B1", "B2"]
    assert found["machine"]["cores"] >= 1


@pytest.mark.usefixtures("_on_the_tiny_model")
def test_the_short_mode_judges_no_times(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("B1", "B6"):
        row = Row(name, "work", 1.0, "peer", 2.0, goal=5.0)
        monkeypatch.setitem(command.BENCHES, name, lambda plan, row=row: [row])
    plan.short = True
    assert [row.met for row in command.measure(plan, ["B1", "B6"])] == [None, False]
    plan.short = False
    assert [row.met for row in command.measure(plan, ["B1", "B6"])] == [False, False]


def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["B9"])
    assert "B1" in capsys.readouterr().err


def test_the_short_mode_does_less_of_everything(plan: Plan) -> None:
    whole = Plan(plan.model, plan.folder, plan.scratch)
    short = shorten(Plan(plan.model, plan.folder, plan.scratch))
    assert short.questions < whole.questions
    assert short.new_tokens < whole.new_tokens
    assert short.layers == 1
    assert short.peer("transformers_generate:continuous", slow=True).absent == "left out of the short mode"
    assert whole.peer("transformers_generate:continuous", slow=True).absent == ""
    assert whole.foreign("lens:generate").absent == "no environment with the peers"


def test_problems_come_from_a_file_if_one_is_named(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"question": f"How much is {n} plus 1?", "answer": f"#### {n + 1}"} for n in range(2)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("COTLENS_GSM8K", str(file))
    assert "How much is 1 plus 1?" in plan.prompts(2)[1]
    with pytest.raises(SystemExit, match="has 2 problems; 3 are needed"):
        plan.prompts(3)


def test_what_rows_share_is_their_common_beginning() -> None:
    assert shared_length([[1, 2, 3], [1, 2, 4, 5], [1, 2]]) == 2
    assert shared_length([]) == 0


def test_scaling_measures_all_three_and_draws_them(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "QUESTIONS", (8, 12))
    monkeypatch.setattr(scaling, "BATCHES", (1, 2))
    plan.short = True
    table = scaling.run(plan, tmp_path / "chart.svg")
    svg = (tmp_path / "chart.svg").read_text()
    assert svg.startswith("<svg")
    assert "tokens of a question" in svg
    assert "discover" in svg
    for over in ("questions", "batch size", "tokens of a question"):
        assert f"| {over} |" in table
    lengths = [int(row.split("|")[2]) for row in table.splitlines() if "tokens of a question" in row]
    assert lengths[0] < lengths[1] < lengths[2]


def test_a_question_is_made_longer_and_the_rest_is_kept() -> None:
    prompt = "Question: one?\nThe answer is 1.\n\nQuestion: two and more?\nLet's think\n"
    assert scaling.lengthen(prompt, 2) == (
        "Question: one?\nThe answer is 1.\n\nQuestion: two and more? two and more?\nLet's think\n"
    )


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::cat", "copies"),
        ("aten::silu", "element by element"),
        ("aten::argmax", "choice of tokens"),
        ("aten::something_new", "other operators"),
    ],
)
def test_operators_have_kinds(operator: str, kind: str) -> None:
    assert operations.kind_of(operator) == kind


def test_the_profile_adds_up_to_the_whole_time(plan: Plan) -> None:
    text = operations.render({"aten::mm": (2.0, 5), "aten::addmm": (1.0, 5), "aten::cat": (0.5, 1)}, 5.0)
    assert "| matrix products | 3.00 | 60% | 10 | mm, addmm |" in text
    assert "| outside operators (Python, dispatch) | 1.50 | 30% | - |  |" in text
    assert "matrix products" in operations.table(plan)


def test_the_profile_tells_the_phases_beside_their_floors(plan: Plan) -> None:
    text = operations.by_phase(plan)
    assert text.startswith(HEADER)
    for words in ("reading the shared prefix", "reading the questions", "decoding, 3 steps", "outside the model"):
        assert words in text
    assert plan.completions


def test_models_and_bare_figures_are_where_the_device_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def measure_one(self: Plan, worker: Worker, repetitions: int = 1) -> Measured:
        asked.append(worker.job)
        facts = {"fp32_gflops": 50.0, "bf16_gflops": 400.0, "copy_gb_s": 2000.0, "accelerator": "NVIDIA H200"}
        return Measured.of([{"seconds": 1.0, "peak_mib": 1.0, "before_mib": 1.0, "others": 0.0, **facts}])

    monkeypatch.setattr(Plan, "measure_one", measure_one)
    plan = command.make_plan(command._parse(["B1", "--device", "cuda", "--model", str(tmp_path)]), tmp_path)
    plan.measure_machine()
    plan.measure_one(plan.ours("generation:prepare", **plan.generation_job()))
    assert [job["device"] for job in asked] == ["cuda", "cuda"]
    assert plan.peer("published:discover").job["device"] == "cuda"
    machine = describe() | {"fp32_gflops": 50, "bf16_gflops": 400, "copy_gb_s": 2000}
    assert "; measured on NVIDIA H200" in command.introduction(plan, machine)
    assert command.make_plan(command._parse(["--model", str(tmp_path)]), tmp_path).job()["device"] == "cpu"


def test_the_processor_has_figures_and_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "_PRODUCT", (8, 8, 16))
    monkeypatch.setattr(machine_module, "_COPY_BYTES", 4096)
    found = machine_module.prepare({"device": "cpu"})()
    assert found["accelerator"] == ""
    assert all(found[name] > 0 for name in ("fp32_gflops", "bf16_gflops", "copy_gb_s"))
