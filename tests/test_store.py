import errno
import hashlib
import itertools
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cotlens import store
from cotlens.config import RunConfig, load_config
from cotlens.errors import CotlensError, EnvironmentFault, InputError, RunLockedError, RunMismatchError
from cotlens.files import content_hash, open_for_appending, read_jsonl, write_atomic
from cotlens.lock import EMPTY_LOCK_AGE_S
from cotlens.store import SCHEMA_VERSION, RunWriter, damaged_parts, open_run, read_manifest

CONFIG = RunConfig()
FRAME = pl.DataFrame({"variant": ["cot", "cot"], "question_id": ["a", "b"], "correct": [True, False]})
PART = "completions/cot-0000.parquet"


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def finished(folder) -> Path:
    """A run whose first stage is done, with two parts."""
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        run.add_frame("generate", PART, FRAME)
        run.add_frame("generate", "completions/text_only-0000.parquet", FRAME)
        run.finish("generate", 1.5)
    return folder


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def _fail(code: int):
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def _python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(store.__file__).parents[1])}
    command = [sys.executable, "-c", script, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def _write_lock(folder: Path, **holder: object) -> Path:
    folder.mkdir(exist_ok=True)
    lock = folder / "run.lock"
    lock.write_text(json.dumps({"pid": 1, "host": socket.gethostname(), "since": "2025-01-01"} | holder))
    return lock


# Writing a file whole or not at all.


def test_write_atomic_makes_and_replaces_a_file(tmp_path):
    target = tmp_path / "file"
    for data in (b"first", b"", b"second\0\xff"):
        write_atomic(target, data)
        assert target.read_bytes() == data
    assert _files(tmp_path) == {"file"}


def test_a_written_file_can_be_read_by_others(tmp_path):
    write_atomic(tmp_path / "file", b"data")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, call, code):
    target = tmp_path / "file"
    write_atomic(target, b"old")
    monkeypatch.setattr(os, call, _fail(code))
    with pytest.raises(EnvironmentFault) as caught:
        write_atomic(target, b"new")
    assert str(caught.value) == f"{target}: can't be written: {os.strerror(code)}; what was finished before is kept"
    assert target.read_bytes() == b"old"
    assert _files(tmp_path) == {"file"}


def test_a_first_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", _fail(errno.ENOSPC))
    with pytest.raises(EnvironmentFault):
        write_atomic(tmp_path / "file", b"new")
    assert _files(tmp_path) == set()


def test_all_data_are_synced_before_they_get_their_name(tmp_path, monkeypatch):
    target = tmp_path / "file"
    seen = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append(("folder" if stat.S_ISDIR(status.st_mode) else status.st_size, target.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(target, b"data")
    assert seen == [(4, False), ("folder", True)]


def test_a_folder_that_cant_be_synced_is_no_failure(tmp_path, monkeypatch):
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


@pytest.mark.parametrize("target", ["missing/file", "a file/below", "a folder", "x" * 300])
def test_a_target_that_cant_be_written_is_named(tmp_path, target):
    (tmp_path / "a file").write_bytes(b"")
    (tmp_path / "a folder" / "inner").mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match="can't be written"):
        write_atomic(tmp_path / target, b"data")
    assert _files(tmp_path) == {"a file"}


def test_a_full_disk_leaves_what_was_there_and_the_run_goes_on_when_there_is_room(finished):
    """RLIMIT_FSIZE stands in for a full disk: in this process, files can't grow beyond it."""
    before = {name: (finished / name).read_bytes() for name in _files(finished)}
    script = """
import resource, sys
from pathlib import Path
from cotlens.config import RunConfig
from cotlens.errors import EnvironmentFault
from cotlens.store import RunWriter

folder = Path(sys.argv[1])

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

with RunWriter.open(folder, RunConfig()) as run:
    limit(10_000)
    try:
        run.add_bytes("generate", "completions/large.parquet", bytes(100_000))
    except EnvironmentFault as error:
        print(error)
limit(0)
try:
    with RunWriter.open(folder, RunConfig()):
        print("opened")
except EnvironmentFault as error:
    print(error)
"""
    first, second = _python(script, finished).stdout.splitlines()
    assert first.startswith(f"{finished}/completions/large.parquet: can't be written: ")
    assert second.startswith(f"{finished}/run.lock: can't be written: ")
    assert {name: (finished / name).read_bytes() for name in _files(finished)} == before
    with RunWriter.open(finished, CONFIG) as run:
        run.add_bytes("generate", "completions/large.parquet", bytes(100_000))
    assert damaged_parts(open_run(finished)) == []


# Opening a run for writing.


def test_a_new_run_records_what_it_was_made_with(folder):
    with RunWriter.open(folder, CONFIG):
        manifest = _manifest(folder)
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert manifest["stages"] == {}
    assert RunConfig.model_validate(manifest["config"]) == CONFIG
    assert {"numpy", "polars"} <= set(manifest["packages"])


def test_missing_parents_are_made(tmp_path):
    with RunWriter.open(tmp_path / "a" / "b" / "run", CONFIG):
        pass
    assert open_run(tmp_path / "a" / "b" / "run").config == CONFIG


def test_an_existing_run_goes_on_with_its_stages_and_its_birthday(finished):
    before = read_manifest(finished)
    with RunWriter.open(finished, CONFIG) as run:
        assert run.manifest == before
        assert run.is_done("generate")


def test_other_settings_are_refused_with_their_differences_and_the_ways_out(finished):
    other = load_config(overrides=["discover.top_k=5", "model.dtype=bfloat16", "seed=3"])
    before = (finished / "manifest.json").read_bytes()
    with pytest.raises(RunMismatchError) as caught, RunWriter.open(finished, other):
        pytest.fail("opened")
    message = str(caught.value)
    assert str(finished) in message
    assert "discover.top_k: 20 -> 5; model.dtype: 'float32' -> 'bfloat16'; seed: 0 -> 3" in message
    assert "--new-run" in message
    assert "--out" in message
    assert (finished / "manifest.json").read_bytes() == before
    assert not (finished / "run.lock").exists()


def test_other_settings_may_differ_when_asked_and_are_recorded(finished):
    other = load_config(overrides=["discover.top_k=5"])
    with RunWriter.open(finished, other, may_differ=True) as run:
        assert run.is_done("generate")
    assert open_run(finished).config == other


@pytest.mark.parametrize("override", ["model.device=cpu", "generate.batch_size=3"])
def test_a_run_may_go_on_elsewhere_or_faster(finished, override):
    other = load_config(overrides=[override])
    with RunWriter.open(finished, other) as run:
        assert run.is_done("generate")
    assert open_run(finished).config == other


@pytest.mark.parametrize("name", ["thesis.tex", "photos/cat.jpg", ".git/HEAD"])
def test_a_folder_with_files_of_another_kind_is_refused_and_left_alone(folder, name):
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds files but no run \\('{name.split('/')[0]}', ...\\)"):
        RunWriter.open(folder, CONFIG).__enter__()
    assert _files(folder) == {name}


def test_an_empty_folder_is_taken(folder):
    folder.mkdir()
    with RunWriter.open(folder, CONFIG):
        pass
    assert _files(folder) == {"manifest.json"}


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_file_in_the_place_of_the_folder_is_the_users_mistake(tmp_path, below):
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / below
    with pytest.raises(InputError, match="not a folder; name another one with --out"):
        RunWriter.open(path, CONFIG).__enter__()
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_that_cant_be_written_is_a_fault_of_the_machine(folder, monkeypatch, call):
    monkeypatch.setattr(os, call, _fail(errno.EROFS))
    with pytest.raises(EnvironmentFault, match=f"{folder}: can't be .*: Read-only file system"):
        RunWriter.open(folder, CONFIG).__enter__()


def test_leftover_temporary_files_are_removed_and_nothing_else(finished):
    (finished / ".manifest.json.abc.tmp").write_text("half")
    (finished / "completions" / ".cot-0001.parquet.xyz.tmp").write_text("half")
    (finished / "notes.txt").write_text("mine")
    before = _files(finished)
    with RunWriter.open(finished, CONFIG):
        pass
    assert before - _files(finished) == {".manifest.json.abc.tmp", "completions/.cot-0001.parquet.xyz.tmp"}


def test_a_crash_before_the_first_manifest_does_not_spoil_the_folder(folder):
    folder.mkdir()
    (folder / ".manifest.json.abc.tmp").write_text("{")
    with RunWriter.open(folder, CONFIG):
        pass
    assert _files(folder) == {"manifest.json"}


# The lock.


def test_the_lock_is_held_within_and_gone_afterwards(folder):
    with RunWriter.open(folder, CONFIG):
        holder = json.loads((folder / "run.lock").read_text())
        assert holder["pid"] == os.getpid()
        assert holder["host"] == socket.gethostname()
    assert not (folder / "run.lock").exists()


@pytest.mark.parametrize("error", [ValueError, CotlensError, KeyboardInterrupt, SystemExit])
def test_the_lock_is_gone_after_an_exception(folder, error):
    with pytest.raises(error), RunWriter.open(folder, CONFIG):
        raise error
    assert not (folder / "run.lock").exists()


def test_a_run_that_a_live_process_holds_is_refused_naming_it(folder):
    with RunWriter.open(folder, CONFIG):
        with pytest.raises(RunLockedError) as caught:
            RunWriter.open(folder, CONFIG).__enter__()
        assert (folder / "run.lock").exists()
    message = str(caught.value)
    assert str(folder) in message
    assert f"in use by process {os.getpid()} on {socket.gethostname()} since " in message
    assert f"delete {folder / 'run.lock'}" in message


def test_a_process_of_another_user_counts_as_alive(folder, monkeypatch):
    lock = _write_lock(folder, pid=4242)
    monkeypatch.setattr(os, "kill", _fail(errno.EPERM))
    with pytest.raises(RunLockedError, match="process 4242"):
        RunWriter.open(folder, CONFIG).__enter__()
    assert lock.exists()


def test_asking_whether_a_process_lives_does_it_no_harm(folder, monkeypatch):
    signals = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    _write_lock(folder, pid=4242)
    with pytest.raises(RunLockedError):
        RunWriter.open(folder, CONFIG).__enter__()
    assert signals == [(4242, 0)]


def test_a_lock_of_another_machine_is_never_taken_over(folder):
    lock = _write_lock(folder, pid=_dead_pid(), host="another-machine")
    with pytest.raises(RunLockedError, match="on another-machine since 2025-01-01"):
        RunWriter.open(folder, CONFIG).__enter__()
    assert lock.exists()


def test_the_lock_of_a_dead_process_is_taken_over_with_a_warning(finished, caplog):
    pid = _dead_pid()
    lock = _write_lock(finished, pid=pid)
    with RunWriter.open(finished, CONFIG):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"{lock}: left by process {pid}, which is gone; taken over"
    ]


def test_a_killed_writer_leaves_a_run_that_can_be_taken_up(folder):
    script = """
import os, signal, sys
from pathlib import Path
from cotlens.config import RunConfig
from cotlens.store import RunWriter

with RunWriter.open(Path(sys.argv[1]), RunConfig()) as run:
    run.begin("generate", "key")
    run.add_bytes("generate", "completions/a.parquet", b"kept")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert _python(script, folder).returncode == -signal.SIGKILL
    assert (folder / "run.lock").exists()
    with RunWriter.open(folder, CONFIG) as run:
        assert run.begin("generate", "key")
        assert run.has_part("generate", "completions/a.parquet")


@pytest.mark.parametrize("content", ["", "{", '{"pid"', "[]", "7", "null", "\xff"])
def test_a_fresh_lock_that_names_nobody_may_be_just_being_written(folder, content):
    lock = _write_lock(folder)
    lock.write_text(content, encoding="latin-1")
    with pytest.raises(RunLockedError, match="in use by an unknown process"):
        RunWriter.open(folder, CONFIG).__enter__()
    assert lock.exists()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_an_old_lock_that_names_nobody_is_taken_over_with_a_warning(folder, caplog, content):
    lock = _write_lock(folder)
    lock.write_text(content)
    long_ago = time.time() - EMPTY_LOCK_AGE_S - 5
    os.utime(lock, (long_ago, long_ago))
    with RunWriter.open(folder, CONFIG):
        pass
    assert f"{lock}: names no process and is old; taken over" in caplog.text
    assert not lock.exists()


def test_of_many_that_start_at_once_exactly_one_gets_the_run(folder):
    at_once, all_tried = threading.Barrier(8), threading.Barrier(8)
    outcomes = []

    def take() -> None:
        at_once.wait()
        try:
            with RunWriter.open(folder, CONFIG):
                outcomes.append("held")
                all_tried.wait(timeout=20)
        except RunLockedError:
            outcomes.append("refused")
            all_tried.wait(timeout=20)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", *["refused"] * 7]


# Stages and their parts.


def test_a_stage_begins_once_and_is_skipped_when_done(folder):
    with RunWriter.open(folder, CONFIG) as run:
        assert run.begin("generate", "key") is True
        assert not run.is_done("generate")
        assert run.begin("generate", "key") is True
        run.finish("generate", 1.0)
        assert run.is_done("generate")
        assert run.begin("generate", "key") is False


def test_what_a_stage_has_made_is_known_after_reopening(finished):
    with RunWriter.open(finished, CONFIG) as run:
        assert run.begin("generate", "key") is False
        assert run.has_part("generate", PART)
        assert not run.has_part("generate", "completions/cot-0001.parquet")
    record = read_manifest(finished).stages["generate"]
    assert record.status == "done"
    assert record.parts[PART].rows == 2
    data = (finished / PART).read_bytes()
    assert record.parts[PART].size_bytes == len(data)
    assert record.parts[PART].sha256 == hashlib.sha256(data).hexdigest()


def test_another_key_starts_the_stage_afresh(finished):
    with RunWriter.open(finished, CONFIG) as run:
        assert run.begin("generate", "another key") is True
        assert not run.has_part("generate", PART)
    assert _manifest(finished)["stages"]["generate"]["status"] == "running"
    with pytest.raises(InputError, match="stage 'generate' has not run"):
        open_run(finished).completions()


def test_finish_adds_durations(folder):
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        run.finish("generate", 2.0)
        run.finish("generate", 3.5)
    record = read_manifest(folder).stages["generate"]
    assert record.duration_s == 5.5
    assert record.finished_at


def test_a_part_is_in_the_manifest_on_disk_as_soon_as_it_is_added(folder):
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        run.add_frame("generate", PART, FRAME)
        assert PART in _manifest(folder)["stages"]["generate"]["parts"]
        assert (folder / PART).exists()


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_part_that_could_not_be_written_is_not_in_the_manifest(finished, monkeypatch, call):
    with RunWriter.open(finished, CONFIG) as run:
        run.begin("generate", "key")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, _fail(errno.ENOSPC))
            with pytest.raises(EnvironmentFault):
                run.add_frame("generate", "completions/new.parquet", FRAME)
    assert "completions/new.parquet" not in _manifest(finished)["stages"]["generate"]["parts"]
    assert damaged_parts(open_run(finished)) == []


def test_a_part_whose_folder_cant_be_made_is_a_fault(folder):
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        (folder / "completions").write_text("in the way")
        with pytest.raises(EnvironmentFault, match="completions: can't be created"):
            run.add_frame("generate", PART, FRAME)
    assert _manifest(folder)["stages"]["generate"]["parts"] == {}


def test_a_stage_whose_last_write_fails_is_not_done(folder, monkeypatch):
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        run.add_frame("generate", PART, FRAME)
        monkeypatch.setattr(os, "replace", _fail(errno.EROFS))
        with pytest.raises(EnvironmentFault):
            run.finish("generate", 1.0)
    assert not open_run(folder).is_done("generate")


def test_record_file_records_what_was_appended(folder):
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("label", "key")
        (folder / "judgements.jsonl").write_bytes(b'{"a": 1}\n')
        run.record_file("label", "judgements.jsonl", rows=1)
        run.finish("label", 0.0)
        assert run.begin("label", "key") is False
    assert read_manifest(folder).stages["label"].parts["judgements.jsonl"].rows == 1
    with (folder / "judgements.jsonl").open("ab") as file:
        file.write(b"{}\n")
    assert damaged_parts(open_run(folder)) == ["judgements.jsonl"]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, _empty])
def test_a_damaged_part_is_set_aside_and_made_again(finished, caplog, damage):
    damage(finished / PART)
    damaged = (finished / PART).read_bytes()
    with RunWriter.open(finished, CONFIG) as run:
        assert run.begin("generate", "key") is True
        assert not run.is_done("generate")
        assert not run.has_part("generate", PART)
        assert run.has_part("generate", "completions/text_only-0000.parquet")
        assert not (finished / PART).exists()
        assert (finished / f"{PART}.damaged").read_bytes() == damaged
        stage = _manifest(finished)["stages"]["generate"]
        assert stage["status"] == "running"
        assert list(stage["parts"]) == ["completions/text_only-0000.parquet"]
        run.add_frame("generate", PART, FRAME)
        run.finish("generate", 1.0)
        assert run.begin("generate", "key") is False
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert f"{finished / PART}: checksum does not match; set aside as {PART}.damaged" in warning.getMessage()
    assert open_run(finished).completions().height == 4


def test_truncation_at_any_offset_and_any_flipped_bit_is_found(finished):
    path = finished / PART
    whole = path.read_bytes()
    run = open_run(finished)
    for place in range(50):
        offset = place * len(whole) // 50
        path.write_bytes(whole[:offset])
        assert damaged_parts(run) == [PART]
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ (1 << place % 8)]) + whole[offset + 1 :])
        assert damaged_parts(run) == [PART]
    path.write_bytes(whole)
    assert damaged_parts(run) == []


def test_a_missing_part_is_named_and_made_again(finished, caplog):
    (finished / PART).unlink()
    with RunWriter.open(finished, CONFIG) as run:
        assert run.begin("generate", "key") is True
        assert not run.has_part("generate", PART)
    assert f"{finished / PART}: missing; made again" in caplog.text
    assert not (finished / f"{PART}.damaged").exists()


def test_intact_parts_cause_no_warning(finished, caplog):
    with RunWriter.open(finished, CONFIG) as run:
        run.begin("generate", "key")
    assert caplog.records == []


# Reading a run.


@pytest.fixture
def whole_run(folder) -> Path:
    """A run with a file in every place that a reader looks."""
    with RunWriter.open(folder, CONFIG) as run:
        for stage, names in {
            "generate": ["completions/a.parquet"],
            "discover": ["activations/a.parquet"],
            "project": ["neurons.parquet"],
            "label": ["concepts.parquet"],
            "analyze": ["analysis/frequencies.parquet", "analysis/roles.parquet"],
            "intervene": ["interventions/a.parquet"],
        }.items():
            run.begin(stage, "key")
            for name in names:
                run.add_frame(stage, name, pl.DataFrame({"file": [name]}))
            if stage == "label":
                (folder / "judgements.jsonl").write_bytes(b'{"verdict": "yes"}\n{"verdict": "no"}\n')
            run.finish(stage, 61.0)
    return folder


READERS = {
    "completions": (lambda run: run.completions(), "generate", "completions/a.parquet"),
    "activations": (lambda run: run.activations(), "discover", "activations/a.parquet"),
    "scan_activations": (lambda run: run.scan_activations().collect(), "discover", "activations/a.parquet"),
    "neurons": (lambda run: run.neurons(), "project", "neurons.parquet"),
    "concepts": (lambda run: run.concepts(), "label", "concepts.parquet"),
    "frequencies": (lambda run: run.frequencies(), "analyze", "analysis/frequencies.parquet"),
    "analysis": (lambda run: run.analysis("roles"), "analyze", "analysis/roles.parquet"),
    "interventions": (lambda run: run.interventions(), "intervene", "interventions/a.parquet"),
}
each_reader = pytest.mark.parametrize(("read", "stage", "name"), READERS.values(), ids=READERS.keys())


@each_reader
def test_a_reader_gives_the_frame_of_its_stage(whole_run, read, stage, name):
    run = open_run(whole_run)
    assert run.is_done(stage)
    assert read(run)["file"].to_list() == [name]


@each_reader
def test_a_reader_whose_stage_has_not_run_names_the_command(folder, read, stage, name):
    with RunWriter.open(folder, CONFIG):
        pass
    run = open_run(folder)
    assert not run.is_done(stage)
    with pytest.raises(InputError) as caught:
        read(run)
    assert str(caught.value) == f"{folder}: stage {stage!r} has not run; run `cotlens {stage} {folder}`"


def test_judgements_come_in_the_order_given(whole_run):
    assert open_run(whole_run).judgements() == [{"verdict": "yes"}, {"verdict": "no"}]


def test_judgements_of_a_stage_that_has_not_run_name_the_command(finished):
    with pytest.raises(InputError, match="stage 'label' has not run"):
        open_run(finished).judgements()


def test_frames_come_back_as_they_were_added_in_order_of_their_names(folder):
    first, second = FRAME, FRAME.with_columns(question_id=pl.Series(["c", "d"]))
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        run.add_frame("generate", "completions/cot-0001.parquet", second)
        run.add_frame("generate", "completions/cot-0000.parquet", first)
    assert_frame_equal(open_run(folder).completions(), pl.concat([first, second]))


def test_a_part_that_the_manifest_does_not_name_does_not_exist(finished):
    whole = open_run(finished).completions()
    FRAME.write_parquet(finished / "completions" / "cot-9999.parquet")
    (finished / "completions" / "half.parquet").write_bytes(b"PAR1")
    run = open_run(finished)
    assert_frame_equal(run.completions(), whole)
    assert len(run.part_paths("generate", "completions/")) == 2
    assert damaged_parts(run) == []


@pytest.mark.parametrize("damage", [_empty, _truncate, Path.unlink])
def test_reading_a_damaged_part_is_one_clear_error(finished, damage):
    damage(finished / PART)
    with pytest.raises(InputError, match=r"completions: can't be read .* to mend it"):
        open_run(finished).completions()


def test_a_run_opens_by_text_and_knows_its_configuration(finished):
    run = open_run(str(finished))
    assert run.path == finished
    assert run.config == CONFIG


def test_reading_takes_no_lock_and_writes_nothing(finished):
    with RunWriter.open(finished, CONFIG):
        before = _files(finished)
        open_run(finished).completions()
        assert _files(finished) == before


def test_a_run_shows_itself_in_a_notebook_as_text(tmp_path):
    with RunWriter.open(tmp_path / "<b>run", CONFIG) as run:
        run.begin("<script>", "key")
        run.finish("<script>", 61.4)
    page = open_run(tmp_path / "<b>run")._repr_html_()
    assert "&lt;b&gt;run" in page
    assert "Done: &lt;script&gt;." in page
    assert "<script>" not in page


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_what_is_no_run_is_named_so(tmp_path, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("{}")
    with pytest.raises(InputError) as caught:
        open_run(tmp_path / place)
    assert str(caught.value).startswith(str(tmp_path / place))
    if place != "file":
        assert "not a run directory (no manifest.json); make one with `cotlens run`" in str(caught.value)


def _damaged_manifests() -> dict[str, bytes]:
    good = json.loads(store.Manifest(created_at="now", config=CONFIG).model_dump_json())
    changed = {
        "unknown key": good | {"extra": 1},
        "no config": {key: value for key, value in good.items() if key != "config"},
        "wrong config": good | {"config": {"seed": "many"}},
        "unknown status": good | {"stages": {"generate": {"key": "k", "status": "half"}}},
        "list": [good],
    }
    text = json.dumps(good).encode()
    return {name: json.dumps(value).encode() for name, value in changed.items()} | {
        "empty": b"",
        "cut": text[: len(text) // 2],
        "zeros": bytes(100),
        "not text": b"\xff\xfe" + text,
    }


@pytest.mark.parametrize("content", _damaged_manifests().values(), ids=_damaged_manifests().keys())
def test_a_damaged_manifest_is_one_clear_error_and_is_left_as_it_is(finished, content):
    path = finished / "manifest.json"
    path.write_bytes(content)
    for use in (open_run, lambda folder: RunWriter.open(folder, CONFIG).__enter__()):
        with pytest.raises(InputError) as caught:
            use(finished)
        message = str(caught.value)
        assert message.startswith(f"{path}: damaged at ")
        assert message.endswith("; restore the file, or name another folder with --out")
        assert "\n" not in message
    assert path.read_bytes() == content
    assert not (finished / "run.lock").exists()


def test_a_damaged_manifest_names_the_place(finished):
    manifest = _manifest(finished)
    manifest["stages"]["generate"]["status"] = "half"
    (finished / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"damaged at stages\.generate\.status: Input should be 'running' or 'done'"):
        open_run(finished)


def test_a_manifest_that_is_a_folder_cant_be_read(folder):
    (folder / "manifest.json").mkdir(parents=True)
    with pytest.raises(InputError, match=r"manifest\.json: can't be read: Is a directory"):
        open_run(folder)


# Files of lines.


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b"", []),
        (b'{"a": 1}\n', [{"a": 1}]),
        (b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        (b'{"a": 1}\n{"a": 2', [{"a": 1}]),
        (b'{"a": 1}\n{"a": 2}', [{"a": 1}]),
        (b'{"a": 1}\n\xe2\x82', [{"a": 1}]),
        (b'{"a"', []),
        (b'{"a": 1}\n\n  \n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        (b'{"a": 1}\r\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}]),
        ('{"a": "é\u2028\x85"}\n'.encode(), [{"a": "é\u2028\x85"}]),
    ],
)
def test_read_jsonl_leaves_out_a_last_line_that_was_cut(tmp_path, content, records):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(content)
    assert read_jsonl(path) == records


def test_read_jsonl_of_no_file_has_no_records(tmp_path):
    assert read_jsonl(tmp_path / "nowhere.jsonl") == []


@pytest.mark.parametrize("line", [b'{"a": 2', b"\xff\xfe", b"yes"])
def test_a_damaged_line_before_the_end_is_named(tmp_path, line):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    with pytest.raises(InputError, match=f"{path}, line 2: damaged"):
        read_jsonl(path)


@pytest.mark.parametrize("before", [b"", b'{"a": 1}\n', b'{"a": 1}\n{"a"', b'{"a"'])
def test_appending_goes_on_after_the_last_whole_line(tmp_path, before):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(before)
    whole = read_jsonl(path)
    with open_for_appending(path) as file:
        file.write(b'{"a": 9}\n')
    assert read_jsonl(path) == [*whole, {"a": 9}]


def test_appending_makes_a_file_that_is_not_there(tmp_path):
    with open_for_appending(tmp_path / "lines.jsonl") as file:
        file.write(b"{}\n")
    assert read_jsonl(tmp_path / "lines.jsonl") == [{}]


@pytest.mark.parametrize("path", [".", "missing/lines.jsonl"])
def test_a_file_that_cant_be_appended_to_is_named(tmp_path, path):
    with pytest.raises(EnvironmentFault, match="can't be written"):
        open_for_appending(tmp_path / path)


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=5), st.data())
def test_cutting_a_file_of_lines_anywhere_loses_at_most_its_last_record(tmp_path_factory, records, data):
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    whole = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    assert read_jsonl(path) == records[: whole[:cut].count(b"\n")]


# Hashes.


def test_content_hash_is_the_sha256_of_canonical_json():
    assert content_hash("a", 1, None) == hashlib.sha256(b'["a",1,null]').hexdigest()
    assert content_hash({"b": "é", "a": [1, 2]}) == hashlib.sha256('[{"a":[1,2],"b":"é"}]'.encode()).hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}), ((1, (2,)), [1, [2]])],
    ids=["order of keys", "tuple and list"],
)
def test_equal_content_has_equal_hashes(one, other):
    assert content_hash(one) == content_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("a", "b"), (["a", "b"],)),
        ((1,), ("1",)),
        ((None,), ("null",)),
        (([1, 2],), ([2, 1],)),
        ((True,), (1,)),
        (("é",), ("e\u0301",)),
        ((), (None,)),
    ],
)
def test_other_content_has_another_hash(one, other):
    assert content_hash(*one) != content_hash(*other)


@given(st.text(st.characters()))
def test_any_text_has_a_hash(text):
    assert len(content_hash(text)) == 64


def test_a_lone_surrogate_has_a_hash():
    assert content_hash("\ud800") != content_hash("\udfff")


# Files that are replaced, and formats of other versions.


def test_a_replaced_frame_is_recorded_with_its_checksum(folder):
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        run.add_frame("generate", PART, FRAME)
        other = FRAME.with_columns(correct=True)
        run.replace_frame("generate", PART, other)
        run.finish("generate", 0)
    again = open_run(folder)
    assert again.completions().equals(other)
    assert again.manifest.stages["generate"].parts[PART].next_sha256 is None
    assert damaged_parts(again) == []


@pytest.mark.parametrize("survivor", ["old", "new"])
def test_a_crash_while_a_frame_is_replaced_leaves_a_whole_file(folder, survivor, monkeypatch):
    with RunWriter.open(folder, CONFIG) as run:
        run.begin("generate", "key")
        run.add_frame("generate", PART, FRAME)
        run.finish("generate", 0)
        manifest = (folder / "manifest.json").read_bytes()
        other = FRAME.with_columns(correct=True)
        if survivor == "old":
            monkeypatch.setattr("cotlens.store.write_atomic", _dies_after(1))
            with pytest.raises(KeyboardInterrupt):
                run.replace_frame("generate", PART, other)
        else:
            monkeypatch.setattr("cotlens.store.write_atomic", _dies_after(2))
            with pytest.raises(KeyboardInterrupt):
                run.replace_frame("generate", PART, other)
    assert (folder / "manifest.json").read_bytes() != manifest
    again = open_run(folder)
    assert damaged_parts(again) == []
    assert again.completions().equals(FRAME if survivor == "old" else other)


def _dies_after(writes: int):
    done = itertools.count()

    def write(target: Path, data: bytes) -> None:
        if next(done) >= writes:
            raise KeyboardInterrupt
        write_atomic(target, data)

    return write


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION + 1])
def test_a_run_in_the_format_of_another_version_is_refused(folder, version):
    with RunWriter.open(folder, CONFIG):
        pass
    manifest = _manifest(folder) | {"schema_version": version, "a field of that version": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=f"a run in format {version}, this cotlens reads format {SCHEMA_VERSION}"):
        open_run(folder)
