import contextlib
import gc
import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from pyarrow import parquet

from cotlens import LanguageModel, RunConfig, load_config, top_neurons
from cotlens.capture import RANKERS, Passage, memory, readers
from cotlens.config import DiscoverConfig
from cotlens.discover import discover_stage
from cotlens.errors import ConfigError, EnvironmentFault, InputError, NonFiniteError
from cotlens.model.shared_prefix import Prefix, compute_prefix
from cotlens.store import RunWriter
from cotlens.types import Silent, TopNeurons

discover = importlib.import_module("cotlens.discover")


def recompute(lm: LanguageModel, ids: list[int], prompt_length: int, k: int) -> TopNeurons:
    """Straight from the definition: keep every coefficient of a plain forward, score each, sort each."""
    kept: list[torch.Tensor] = []
    handles = [
        ffn.down_projection.register_forward_hook(lambda _m, inputs, _o: kept.append(inputs[0][0].detach().clone()))
        for ffn in lm.ffn
    ]
    with torch.inference_mode():
        lm.model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    steps = len(ids) - prompt_length
    shape = (steps, lm.n_layers, k)
    neuron, coefficient, score = np.zeros(shape, np.int32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for step in range(steps):
        for layer, ffn in enumerate(lm.ffn):
            m = kept[layer][prompt_length - 1 + step]
            scores = [abs(float(m[i])) * float(ffn.value_vectors[i].norm()) for i in range(ffn.width)]
            best = sorted(range(ffn.width), key=lambda i: (-scores[i], i))[:k]
            neuron[step, layer] = best
            coefficient[step, layer] = m[best].numpy()
            score[step, layer] = [scores[i] for i in best]
    return TopNeurons(neuron, coefficient, score)


@pytest.mark.parametrize("prompt_length", [1, 9])
def test_equals_a_recomputation_from_the_definition(lm: LanguageModel, prompt_length: int) -> None:
    ids = lm.encode("Question: A box holds 12 pens. So 3 boxes hold 3 * 12 = 36 pens.")
    found = top_neurons(lm, ids, prompt_length, top_k=6)
    expected = recompute(lm, ids, prompt_length, 6)
    assert found.steps == len(ids) - prompt_length
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-4)
    np.testing.assert_array_equal(found.neuron, expected.neuron)
    np.testing.assert_allclose(found.coefficient, expected.coefficient, rtol=1e-4, atol=1e-6)


def test_arrays_have_the_promised_types_and_order(llama: LanguageModel) -> None:
    found = top_neurons(llama, list(range(1, 12)), prompt_length=4, top_k=5)
    assert found.neuron.shape == found.coefficient.shape == found.score.shape == (7, 3, 5)
    assert (found.neuron.dtype, found.coefficient.dtype, found.score.dtype) == (np.int32, np.float32, np.float32)
    assert (np.diff(found.score, axis=2) <= 0).all()
    assert (found.coefficient < 0).any(), "coefficients are signed"


def test_a_later_token_changes_no_earlier_step(llama: LanguageModel) -> None:
    short = top_neurons(llama, [5, 6, 7, 8], prompt_length=2, top_k=5)
    long = top_neurons(llama, [5, 6, 7, 8, 9, 10], prompt_length=2, top_k=5)
    np.testing.assert_array_equal(short.neuron, long.neuron[:2])


def test_one_token_after_a_prompt_of_one_is_one_step(llama: LanguageModel) -> None:
    assert top_neurons(llama, [5, 6], prompt_length=1).steps == 1


@pytest.mark.parametrize(
    ("ids", "prompt_length", "message"),
    [
        ([5], 1, "at least one more must follow"),
        ([5, 6], 2, "at least one more must follow"),
        ([5, 6], 0, "at least one token"),
        ([5, 400], 1, "out of range"),
        ([5, -1], 1, "out of range"),
    ],
)
def test_bad_token_ids_are_named(llama: LanguageModel, ids: list[int], prompt_length: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        top_neurons(llama, ids, prompt_length)


VARIANTS = ("cot", "equation_only")
#: What all prompts of a variant begin with.
SHARED = {"cot": list(range(50, 74)), "equation_only": list(range(90, 102))}


def completions(variant: str, questions: int, steps: int, first: int = 0) -> pl.DataFrame:
    """Stored completions of one length; questions differ in two tokens, completions in all."""
    rows = []
    for question in range(first, first + questions):
        prompt = [*SHARED[variant], 2 + question, 7, 8]
        rows.append(
            (
                variant,
                f"q{question:03d}",
                len(prompt),
                [*prompt, *((question * 31 + t * 7) % 390 for t in range(steps))],
            )
        )
    schema = {"variant": pl.String, "question_id": pl.String, "prompt_length": pl.Int32, "token_ids": pl.List(pl.Int32)}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(correct=pl.int_range(pl.len()) % 2 == 0)


@contextlib.contextmanager
def stored(path: Path, frames: dict[str, pl.DataFrame], **discover: object) -> Iterator[RunWriter]:
    """A run whose completions are there and whose discovery is to be done."""
    with RunWriter.open(path, RunConfig.model_validate({"discover": {"top_k": 6, **discover}})) as run:
        run.begin("generate", "key")
        for name, frame in frames.items():
            run.add_frame("generate", f"completions/{name}.parquet", frame)
        run.finish("generate", 0.0)
        run.begin("discover", "key")
        yield run


def two_variants(parts: int = 2, questions: int = 3, steps: int = 5) -> dict[str, pl.DataFrame]:
    return {
        f"{variant}-{part:04d}": completions(variant, questions, steps, first=part * questions)
        for variant in VARIANTS
        for part in range(parts)
    }


@pytest.mark.parametrize("ranker", RANKERS)
def test_a_run_finds_what_each_text_alone_shows(llama: LanguageModel, tmp_path: Path, ranker: str) -> None:
    frames = two_variants()
    with stored(tmp_path / "run", frames, ranker=ranker) as run:
        discover_stage(run, llama, Silent())
        found = run.activations()
    texts = pl.concat(frames.values())
    assert found.select("variant", "question_id").unique(maintain_order=True).rows() == [
        *texts.select("variant", "question_id").rows()
    ]
    for variant, question, prompt_length, ids, _ in texts.rows():
        rows = found.filter(variant=variant, question_id=question)
        expected = top_neurons(llama, ids, prompt_length, 6, ranker)
        assert rows["token_id"].to_list() == np.repeat(ids[prompt_length:], 3).tolist()
        assert rows["step"].to_list() == np.repeat(np.arange(5), 3).tolist()
        shape = (5, 3, 6)
        np.testing.assert_allclose(np.stack(rows["score"]).reshape(shape), expected.score, rtol=2e-3, atol=2e-4)
        assert (np.stack(rows["neuron"]).reshape(shape) == expected.neuron).mean() > 0.98


def test_the_prefix_is_computed_once_per_variant(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[list[int]] = []

    def counting(lm: LanguageModel, ids: Sequence[int]) -> Prefix:
        computed.append(list(ids))
        return compute_prefix(lm, ids)

    monkeypatch.setattr(discover, "compute_prefix", counting)
    with stored(tmp_path / "run", two_variants(parts=4)) as run:
        discover_stage(run, llama, Silent())
    assert computed == [SHARED["cot"], SHARED["equation_only"]]


def test_a_variant_that_is_done_needs_no_prefix(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(tmp_path / "run", two_variants()) as run:
        discover_stage(run, llama, Silent())
        whole = run.activations()
        for name in ("activations/equation_only-0001.parquet", "activations/equation_only-0000.parquet"):
            del run.manifest.stages["discover"].parts[name]
        monkeypatch.setattr(run, "add_frame", recording(run, names := []))
        discover_stage(run, llama, Silent())
        assert names == ["activations/equation_only-0000.parquet", "activations/equation_only-0001.parquet"]
        assert (
            run.activations()
            .sort("variant", "question_id", "step", "layer")
            .equals(whole.sort("variant", "question_id", "step", "layer"))
        )


def recording(run: RunWriter, names: list[str]) -> Callable[..., None]:
    original = run.add_frame

    def add_frame(stage: str, name: str, frame: pl.DataFrame, rows_together: int | None = None) -> None:
        names.append(name)
        original(stage, name, frame, rows_together)

    return add_frame


def test_a_completion_can_be_read_without_the_whole_part(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discover, "ROWS_TOGETHER", 10)
    with stored(tmp_path / "run", {"cot-0000": completions("cot", 3, 4)}) as run:
        discover_stage(run, llama, Silent())
        written = parquet.read_metadata(run.path / "activations" / "cot-0000.parquet")
    assert [written.row_group(group).num_rows for group in range(written.num_row_groups)] == [10, 10, 10, 6]


def test_prompts_that_share_nothing_have_no_prefix(llama: LanguageModel, tmp_path: Path) -> None:
    frame = completions("cot", 2, 4).with_columns(
        token_ids=pl.Series([[5, 6, 7, 8, 9, 10], [6, 6, 7, 8, 9, 10]]), prompt_length=pl.Series([2, 1], dtype=pl.Int32)
    )
    with stored(tmp_path / "run", {"cot-0000": frame}) as run:
        discover_stage(run, llama, Silent())
        assert run.activations().group_by("question_id").len().sort("question_id")["len"].to_list() == [12, 15]


def test_questions_without_a_completion_are_left_out_and_counted(llama: LanguageModel, tmp_path: Path) -> None:
    seen: list[int] = []

    class Counting(Silent):
        def begin(self, what: str, total: int) -> None:
            assert (what, total) == ("discover", 6)

        def advance(self, items: int) -> None:
            seen.append(items)

    frames = {"cot-0000": completions("cot", 3, 0), "cot-0001": completions("cot", 3, 4, first=3)}
    with stored(tmp_path / "run", frames, questions="correct") as run:
        discover_stage(run, llama, Counting())
        assert run.activations()["question_id"].unique().sort().to_list() == ["q003", "q005"]
    assert sum(seen) == 6


def bytes_alive() -> int:
    """Of all tensors, tables, results and texts that can be reached."""
    kinds = (torch.Tensor, pl.DataFrame, TopNeurons, Passage)
    alive = [thing for thing in gc.get_objects() if type(thing) in kinds]
    tensors = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive if type(t) is torch.Tensor}
    tables = sum(table.estimated_size() for table in alive if type(table) is pl.DataFrame)
    found = [top for top in alive if type(top) is TopNeurons]
    results = sum(top.neuron.nbytes + top.coefficient.nbytes + top.score.nbytes for top in found)
    texts = sum(8 * len(passage.token_ids) for passage in alive if type(passage) is Passage)
    return sum(tensors.values()) + tables + results + texts


def test_memory_is_flat_in_the_number_of_questions(llama: LanguageModel, tmp_path: Path) -> None:
    def peak(parts: int) -> int:
        """Bytes alive when a part is written, at most, less what was there before."""
        frames = two_variants(parts, questions=4, steps=12)
        with stored(tmp_path / f"run-{parts}", frames) as run:
            frames.clear()
            original, before, found = run.add_frame, bytes_alive(), []

            def add_frame(stage: str, name: str, frame: pl.DataFrame, rows_together: int | None = None) -> None:
                found.append(bytes_alive() - before)
                original(stage, name, frame, rows_together)

            run.add_frame = add_frame  # type: ignore[method-assign]
            discover_stage(run, llama, Silent())
        assert len(found) == 2 * parts
        return max(found)

    few, many = peak(1), peak(4)
    assert few > 20_000, "the tables of a part are seen"
    assert many < 1.1 * few


def test_results_do_not_depend_on_the_size_of_parts(llama: LanguageModel, tmp_path: Path) -> None:
    found = []
    for parts, questions in ((1, 6), (2, 3), (6, 1)):
        with stored(tmp_path / str(parts), two_variants(parts, questions)) as run:
            discover_stage(run, llama, Silent())
            found.append(run.activations())
    for other in found[1:]:
        assert other.drop("neuron", "coefficient", "score").equals(found[0].drop("neuron", "coefficient", "score"))
        np.testing.assert_allclose(np.stack(other["score"]), np.stack(found[0]["score"]), rtol=1e-4, atol=1e-6)


def test_a_demand_that_can_not_be_met_is_told_before_anything_is_computed(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10_000)
    monkeypatch.setattr(discover, "compute_prefix", lambda *_: pytest.fail("too late"))
    with (
        stored(tmp_path / "run", two_variants()) as run,
        pytest.raises(EnvironmentFault, match=r"discover: needs about .* MiB .* 0 MiB are free on cpu; use"),
    ):
        discover_stage(run, llama, Silent())


def test_the_demand_is_logged_in_one_line(
    llama: LanguageModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cotlens")
    with stored(tmp_path / "run", two_variants()) as run:
        discover_stage(run, llama, Silent())
    [line] = [record.getMessage() for record in caplog.records if "needs about" in record.getMessage()]
    assert "prefix" in line
    assert "free on cpu" in line


@pytest.mark.parametrize("ranker", RANKERS)
def test_a_batch_that_does_not_fit_is_halved(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranker: str
) -> None:
    with stored(tmp_path / "whole", two_variants(), ranker=ranker) as run:
        discover_stage(run, llama, Silent())
        whole = run.activations()
    sizes = limit_batches(monkeypatch, most=1)
    with stored(tmp_path / "halved", two_variants(), ranker=ranker) as run:
        discover_stage(run, llama, Silent())
        halved = run.activations()
    assert sizes[:5] == [3, 1, 2, 1, 1]
    keys = ["variant", "question_id", "step", "token_id", "layer"]
    assert halved.select(keys).equals(whole.select(keys))
    np.testing.assert_allclose(np.stack(halved["score"]), np.stack(whole["score"]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_text_that_does_not_fit_alone_is_named(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    limit_batches(monkeypatch, 0, error)
    with (
        stored(tmp_path / "run", two_variants()) as run,
        pytest.raises(EnvironmentFault, match=r"question q000 alone, variant 'cot', 32 tokens; use .*max_new_tokens"),
    ):
        discover_stage(run, llama, Silent())


def limit_batches(
    monkeypatch: pytest.MonkeyPatch, most: int, error: type[Exception] = torch.OutOfMemoryError
) -> list[int]:
    """Let every reader run out of memory with more than ``most`` texts; the sizes it was asked for."""
    sizes: list[int] = []
    for reader in (readers._ForwardReader, readers._GradientReader):

        def read(self, prefix, passages, original=reader.read):
            sizes.append(len(passages))
            if len(passages) > most:
                raise error("out of memory")
            return original(self, prefix, passages)

        monkeypatch.setattr(reader, "read", read)
    return sizes


def test_other_errors_are_not_taken_for_lack_of_memory(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(readers._ForwardReader, "read", fail)
    with stored(tmp_path / "run", two_variants()) as run, pytest.raises(RuntimeError, match="shapes do not match"):
        discover_stage(run, llama, Silent())


@pytest.mark.parametrize("ranker", RANKERS)
def test_values_that_are_not_finite_name_layer_variant_and_questions(
    make_lm: Callable[[str], LanguageModel], tmp_path: Path, ranker: str
) -> None:
    lm = make_lm("llama")
    with torch.no_grad():
        lm.model.model.layers[1].mlp.up_proj.weight[3] = float("nan")
    with (
        stored(tmp_path / "run", two_variants(), ranker=ranker) as run,
        pytest.raises(NonFiniteError, match=r"layer 1: .*variant 'cot', among the questions q000, q001, q002"),
    ):
        discover_stage(run, lm, Silent())


def test_the_configuration_knows_every_ranker() -> None:
    for ranker in RANKERS:
        assert load_config(overrides=[f"discover.ranker={ranker}"]).discover.ranker == ranker
    with pytest.raises(
        ConfigError, match=r"discover\.ranker: .*'norm', 'signed', 'dla', 'logprob' or 'grad', got 'dal'"
    ):
        load_config(overrides=["discover.ranker=dal"])
    known = set(DiscoverConfig.model_fields["ranker"].annotation.__args__)
    assert known == set(RANKERS)
