import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from cotlens import LanguageModel, project, write_atlas
from cotlens.atlas import atlas_metadata
from cotlens.errors import EnvironmentFault, InputError, NonFiniteError


class Recorder:
    def __init__(self) -> None:
        self.told: list[object] = []

    def begin(self, what: str, total: int) -> None:
        self.told.append((what, total))

    def advance(self, items: int) -> None:
        self.told.append(items)


@pytest.mark.parametrize("norm", ["none", "gamma"])
def test_it_holds_the_projection_of_every_neuron(lm: LanguageModel, tmp_path: Path, norm: str) -> None:
    write_atlas(lm, tmp_path / "a.parquet", top_n=5, norm=norm)
    table, found = pl.read_parquet(tmp_path / "a.parquet"), project(lm, top_n=5, norm=norm)
    assert (
        table.columns
        == (
            "layer neuron value_norm promoted suppressed promoted_ids promoted_logits promoted_probs suppressed_ids "
            "suppressed_logits norm"
        ).split()
    )
    for name in ("layer", "neuron", "promoted_ids", "suppressed_ids"):
        np.testing.assert_array_equal(np.array(table[name].to_list()), getattr(found, name))
        assert table[name].dtype in (pl.Int32, pl.List(pl.Int32))
    for name in ("promoted_logits", "promoted_probs", "suppressed_logits"):
        np.testing.assert_allclose(np.array(table[name].to_list()), getattr(found, name), rtol=1e-5, atol=1e-6)
        assert table[name].dtype == pl.List(pl.Float32)
    assert table["promoted"].to_list() == [[lm.token_text(i) for i in row] for row in found.promoted_ids]
    assert table["suppressed"].to_list() == [[lm.token_text(i) for i in row] for row in found.suppressed_ids]
    norms = np.concatenate([ffn.value_norms().numpy() for ffn in lm.ffn])
    np.testing.assert_allclose(table["value_norm"], norms)
    assert set(table["norm"]) == {norm}


def test_each_layer_is_a_row_group_and_the_file_says_what_it_is(llama: LanguageModel, tmp_path: Path) -> None:
    progress = Recorder()
    told = write_atlas(llama, str(tmp_path / "a.parquet"), 3, fingerprint="abc", progress=progress)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [48, 48, 48]
    assert atlas_metadata(tmp_path / "a.parquet") == told
    assert told | {"cotlens": ""} == {
        "format": 1, "cotlens": "", "model": "tiny-llama", "fingerprint": "abc", "dtype": "float32", "norm": "none",
        "top_n": 3, "layers": 3, "neurons": 144,
    }  # fmt: skip
    assert progress.told == [("project", 144), 48, 48, 48]
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert (tmp_path / "a.parquet").stat().st_mode & 0o777 == 0o644


def test_texts_that_no_file_can_hold_are_escaped_and_ids_are_exact(
    make_lm: Callable[[str], LanguageModel], tmp_path: Path
) -> None:
    lm = make_lm("llama")
    texts = ["\ud800", "\x00", "</script>\u202e", "x" * 100_000]
    lm.token_text = lambda token_id: texts[int(token_id) % 4]  # type: ignore[method-assign]
    write_atlas(lm, tmp_path / "a.parquet", top_n=20)
    table = pl.read_parquet(tmp_path / "a.parquet")
    ids, shown = table["promoted_ids"].explode(), table["promoted"].explode()
    assert shown.to_list() == [["\\ud800", *texts[1:]][i % 4] for i in ids]
    np.testing.assert_array_equal(table["promoted_ids"].to_list(), project(lm).promoted_ids)


@pytest.mark.parametrize("error", [KeyboardInterrupt, NonFiniteError, OSError])
def test_one_that_fails_leaves_nothing_and_an_older_one_as_it_was(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    write_atlas(llama, tmp_path / "old.parquet", top_n=2)
    before = (tmp_path / "old.parquet").read_bytes()

    def fail(lm: LanguageModel, neurons: list[tuple[int, int]], *rest: object) -> object:
        if neurons[0][0] == 2:
            raise error("stop")
        return project(lm, neurons, *rest)

    monkeypatch.setattr(sys.modules["cotlens.atlas"], "project", fail)
    for name in ("old.parquet", "new.parquet"):
        with pytest.raises(EnvironmentFault if error is OSError else error):
            write_atlas(llama, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["old.parquet"]
    assert (tmp_path / "old.parquet").read_bytes() == before


def test_broken_weights_are_named_and_nothing_is_left(make_lm: Callable[[str], LanguageModel], tmp_path: Path) -> None:
    lm = make_lm("llama")
    lm.ffn[1].down_projection.weight.data[0, 5] = float("nan")
    with pytest.raises(NonFiniteError, match="layer 1: "):
        write_atlas(lm, tmp_path / "a.parquet")
    assert not list(tmp_path.iterdir())


def test_an_atlas_replaces_an_atlas_and_nothing_else(llama: LanguageModel, tmp_path: Path) -> None:
    for top_n in (2, 3):
        write_atlas(llama, tmp_path / "a.parquet", top_n)
    assert pl.read_parquet(tmp_path / "a.parquet")["promoted"].list.len().unique().to_list() == [3]
    table = pl.DataFrame({"mine": [1]})
    table.write_parquet(tmp_path / "mine.parquet")
    (tmp_path / "text.parquet").write_text("no Parquet")
    (tmp_path / "folder.parquet").mkdir()
    for name in ("mine.parquet", "text.parquet", "folder.parquet"):
        with pytest.raises(InputError, match="exists and is no atlas; remove it, or give another name"):
            write_atlas(llama, tmp_path / name)
    assert_frame_equal(pl.read_parquet(tmp_path / "mine.parquet"), table)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.csv", {}, "a.csv: an atlas is a Parquet file; give a name that ends in .parquet"),
        ("none/a.parquet", {}, "there is no folder .*none"),
        ("a.parquet", {"top_n": 401}, "top_n is 401"),
    ],
)
def test_bad_input_is_named(
    llama: LanguageModel, tmp_path: Path, name: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_atlas(llama, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_written_is_an_environment_fault(
    llama: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(EnvironmentFault, match=r"a.parquet: can't be written: Permission denied"):
        write_atlas(llama, tmp_path / "a.parquet")
