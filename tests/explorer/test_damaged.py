"""A run that is damaged, or not finished: what there is is shown, what is missing is said, nothing fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.explorer.conftest import PAGES, client_of

from cotlens.explorer.app import create_app
from cotlens.explorer.opened import RunFolder


def _parts(folder: Path) -> list[str]:
    manifest = json.loads((folder / "manifest.json").read_text())
    return [name for stage in manifest["stages"].values() for name in stage["parts"]]


def _statuses(folder: Path) -> dict[str, int]:
    client = client_of(folder)
    asked = [*PAGES, "/api/overview", "/api/completions/cot/q0/steps/0", "/api/neurons/L1N0", "/figures/accuracy.json"]
    return {address: client.get(address).status_code for address in asked}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "empty", "other"])
def test_no_damage_makes_a_page_fail(copied: Path, damage: str) -> None:
    for name in _parts(copied):
        path = copied / name
        data = bytearray(path.read_bytes())
        if damage == "missing":
            path.unlink()
        elif damage == "flipped":
            data[len(data) // 2] ^= 0x55
            path.write_bytes(data)
        else:
            path.write_bytes({"truncated": bytes(data[: len(data) // 2]), "empty": b"", "other": b"PAR1" * 40}[damage])
    statuses = _statuses(copied)
    assert set(statuses.values()) <= {200, 404}, statuses
    assert statuses["/"] == 200


@pytest.mark.parametrize(
    "name", ["analysis/accuracy.parquet", "neurons.parquet", "concepts.parquet", "tokens/0.parquet"]
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 0x55
    (copied / name).write_bytes(data)
    client = client_of(copied)
    page = client.get("/")
    assert page.status_code == 200
    completion = client.get("/completion/cot/q0")
    assert completion.status_code == 200
    assert "Ann has 4 pens" in completion.text
    shown = page.text + completion.text + client.get("/neurons").text + client.get("/concepts").text
    assert name in shown or name.startswith("tokens/")


def test_a_file_of_another_length_is_told_at_once(copied: Path) -> None:
    (copied / "activations/0.parquet").write_bytes(b"short")
    text = client_of(copied).get("/").text
    assert "activations/0.parquet: 5 bytes, expected" in text


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1}', "[]", '{"schema_version": 2}', "\x00"])
def test_a_damaged_manifest_is_an_error_card(copied: Path, text: str) -> None:
    (copied / "manifest.json").write_text(text)
    client = client_of(copied)
    for address in PAGES:
        answer = client.get(address)
        assert answer.status_code in (200, 404)
        assert "card error" in answer.text
    assert client.get("/api/overview").status_code == 404


def test_a_run_that_disappears_is_an_error_card(copied: Path) -> None:
    client = client_of(copied)
    assert client.get("/").status_code == 200
    (copied / "manifest.json").unlink()
    assert "not a run directory" in client.get("/").text


@pytest.mark.parametrize("last", ["generate", "discover", "project", "label", "analyze"])
def test_a_half_finished_run_shows_what_there_is(copied: Path, last: str) -> None:
    _cut(copied, last)
    statuses = _statuses(copied)
    assert set(statuses.values()) <= {200, 404}
    client = client_of(copied)
    assert "not run" in client.get("/").text
    assert "Ann has 4 pens" in client.get("/completions").text
    if last == "generate":
        assert "stage &#39;discover&#39; has not run" in client.get("/completion/cot/q0").text
        assert "stage &#39;project&#39; has not run" in client.get("/neurons").text
    else:
        assert "data-grid" in client.get("/completion/cot/q0").text


def test_a_run_that_goes_on_is_seen_without_a_restart(copied: Path) -> None:
    whole = (copied / "manifest.json").read_text()
    _cut(copied, "discover")
    client = client_of(copied)
    assert "has not run" in client.get("/neurons").text
    (copied / "manifest.json").write_text(whole)
    os.utime(copied / "manifest.json", (1, 1))
    assert "L1N0" in client.get("/neurons").text


def test_links_out_of_the_run_are_not_followed(copied: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.parquet"
    secret.write_bytes((copied / "completions/0.parquet").read_bytes())
    (copied / "completions/0.parquet").unlink()
    (copied / "completions/0.parquet").symlink_to(secret)
    client = client_of(copied)
    assert "leads out of the run directory" in client.get("/").text
    assert "Ann has 4 pens" not in client.get("/completions").text
    assert client.get("/completion/cot/q0").status_code == 404


def test_names_out_of_the_run_are_not_read(copied: Path, tmp_path: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    parts = manifest["stages"]["project"]["parts"]
    secret = tmp_path / "secret.parquet"
    secret.write_bytes((copied / "neurons.parquet").read_bytes())
    parts["../secret.parquet"] = parts.pop("neurons.parquet")
    (copied / "manifest.json").write_text(json.dumps(manifest))
    client = client_of(copied)
    assert "../secret.parquet: leads out" in client.get("/").text
    assert client.get("/api/neurons").status_code == 404


@pytest.mark.parametrize("name", ["manifest.json", "judgements.jsonl", "report.html"])
def test_files_read_by_name_may_not_be_links_out(copied: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((copied / name).read_bytes() if (copied / name).exists() else b"secret")
    (copied / name).unlink(missing_ok=True)
    (copied / name).symlink_to(outside)
    client = client_of(copied)
    assert client.get("/report").status_code == 404
    text = client.get("/neuron/L1N0").text + client.get("/").text
    if name == "manifest.json":
        assert "leads out of the run directory" in text
    if name != "report.html":
        assert "5 of 20 tokens" not in text


def test_a_folder_behind_a_link_is_a_run_like_any(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(copied)
    assert client_of(tmp_path / "latest").get("/completion/cot/q0").status_code == 200


def test_an_old_run_says_what_it_lacks(run_of: Callable[..., Path]) -> None:
    client = client_of(run_of(stored_tokens=False, effects=False))
    assert "This run stores no token texts" in client.get("/completion/cot/q0").text
    assert client.get("/interventions").status_code == 200
    assert "analysis/effects.parquet" in client.get("/interventions").text


def test_a_run_without_labels_or_activations_is_shown(run_of: Callable[..., Path]) -> None:
    client = client_of(run_of(labelled=False, recorded=False))
    assert all(client.get(address).status_code in (200, 404) for address in PAGES)
    assert (
        "no activations are recorded" in client.get("/completion/cot/q0").text
        or "No active neurons" in client.get("/completion/cot/q0").text
    )
    assert "No neuron was confirmed for any concept" in client.get("/concepts").text


def test_the_index_is_made_while_pages_wait_no_longer_than_a_moment(copied: Path) -> None:
    folder = RunFolder(copied)
    create_app([folder])
    assert folder.now().index().summary(1, 0).hits > 0


def _cut(folder: Path, last: str) -> None:
    """Only the stages up to ``last`` have run."""
    manifest = json.loads((folder / "manifest.json").read_text())
    names = list(manifest["stages"])
    manifest["stages"] = {name: manifest["stages"][name] for name in names[: names.index(last) + 1]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
