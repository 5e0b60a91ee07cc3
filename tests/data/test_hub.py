"""`datasets` really runs here, on folders laid out as on the hub. The hub itself is a server of the test, or none."""

import http.server
import logging
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow as pa
import pytest
from pyarrow import parquet

from cotlens.config import ProblemsConfig
from cotlens.data import hub
from cotlens.data.hub import HUB_SETS, hub_problems
from cotlens.data.problem_rows import DEFAULT_FIELDS, Row, to_problem
from cotlens.data.problems import load_problems
from cotlens.errors import ConfigError, CotlensError, DataError, EnvironmentFault, MissingExtraError
from cotlens.types import Problem

COMMIT = "0123456789abcdef0123456789abcdef01234567"

Rows = list[dict[str, object]]
PutOnHub = Callable[..., Path]

GSM8K: Rows = [
    {"question": "48 clips, then half as many?", "answer": "Half is 48/2 = <<48/2=24>>24.\n<<48+24=72>>72\n#### 72"},
    {"question": "Three thousand?", "answer": "It is.\n#### 3,000"},
]
SVAMP: Rows = [
    {
        "ID": "chal-1", "Body": "A box holds 8 pens", "Question": "How many are left of 3 boxes?", "Answer": "24.0",
        "Equation": "( 8.0 * 3.0 )", "Type": "Multiplication", "question_concat": "unused",
    },
]  # fmt: skip
ASDIV: Rows = [
    {
        "id": "asdiv_a__nluds-0001", "question": "Two and seven?", "result": "9", "result_float": 9.0, "grade": 1,
        "chain": '<gadget id="calculator">7 + 2</gadget>\n<output>9</output>\n\n<result>9</result>',
        "result_unit": "apples", "source_question": "a page",
    },
    {
        "id": "asdiv_a__nluds-0575", "question": "Ten by three?", "result": "10/3", "result_float": 3.333, "grade": 3,
        "chain": '<gadget id="calculator">1_000 / 300</gadget>\n<output>10/3</output>\n\n<result>10/3</result>',
        "result_unit": None, "source_question": None,
    },
]  # fmt: skip
MULTIARITH: Rows = [{"question": " Four of five? ", "final_ans": "20"}]


@pytest.fixture(autouse=True)
def _nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Caches of this test alone, and no hub: the port is closed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", closed)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache/datasets")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache/hub"))
    monkeypatch.chdir(tmp_path)
    hub_problems.cache_clear()
    yield
    hub_problems.cache_clear()


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PutOnHub:
    """Lay rows out as on the hub, in a folder that stands in for the repository of ``name``."""

    def put(name: str, **splits: Rows) -> Path:
        entry = HUB_SETS[name]
        folder = tmp_path / "hub" / entry.repository.split("/")[1]
        (folder / "data").mkdir(parents=True)
        card = f"---\nconfigs:\n- config_name: {entry.configuration}\n  data_files:\n"
        for split, rows in splits.items():
            parquet.write_table(pa.Table.from_pylist(rows), folder / f"data/{split}-00000-of-00001.parquet")
            card += f"  - split: {split}\n    path: data/{split}-*\n"
        (folder / "README.md").write_text(card + "---\n")
        monkeypatch.setitem(HUB_SETS, name, replace(entry, repository=str(folder)))
        return folder

    return put


def _error(kind: type[CotlensError], name: str = "gsm8k", **settings: str) -> str:
    with pytest.raises(kind) as caught:
        load_problems(ProblemsConfig(source=name, **settings))
    message = str(caught.value)
    assert "\n" not in message
    return message


# What the sets hold.


def test_gsm8k_is_read_with_its_annotations(put):
    put("gsm8k", train=[{"question": "Not this?", "answer": "#### 1"}], test=GSM8K)
    first, second = load_problems("gsm8k")
    assert (first.gold, second.gold) == (72, 3000)
    assert first.equations == ("48/2=24", "48+24=72")
    assert first.solution == ("Half is 48/2 = <<48/2=24>>24.", "<<48+24=72>>72")


def test_a_question_has_the_same_id_from_the_hub_and_from_a_file(put):
    put("gsm8k", test=GSM8K)
    assert load_problems("gsm8k") == [to_problem(Row("here", row), DEFAULT_FIELDS) for row in GSM8K]


def test_svamp_joins_its_two_texts_and_reads_its_formula(put):
    put("svamp", test=SVAMP)
    (problem,) = load_problems("svamp")
    assert problem.question == "A box holds 8 pens How many are left of 3 boxes?"
    assert problem.gold == 24
    assert problem.equations == ("8.0 * 3.0 = 24",)


def test_asdiv_reads_calculator_calls_and_fractions(put):
    put("asdiv", test=ASDIV)
    first, second = load_problems("asdiv")
    assert (first.question, first.gold, first.equations) == ("Two and seven?", Decimal(9), ("7 + 2 = 9",))
    assert second.gold == Decimal(10) / Decimal(3)
    assert second.equations == ("1000 / 300 = (10/3)",)


def test_multiarith_has_no_solutions_so_filters_are_refused(put):
    put("multiarith", test=MULTIARITH)
    (problem,) = load_problems("multiarith")
    assert problem == Problem(problem.id, "Four of five?", Decimal(20))
    with pytest.raises(ConfigError, match="'multiarith' has no worked solutions"):
        load_problems(ProblemsConfig(source="multiarith", max_steps=2))


def test_splits_are_chosen_by_name(put):
    put("gsm8k", train=GSM8K[1:], test=GSM8K[:1])
    assert [p.gold for p in load_problems(ProblemsConfig(source="gsm8k", split="train"))] == [3000]
    assert _error(ConfigError, split="tset") == ("problems.split 'tset': gsm8k has no such split; did you mean 'test'?")


def test_subsets_work_as_for_files(put):
    put("gsm8k", test=GSM8K)
    assert [p.gold for p in load_problems(ProblemsConfig(source="gsm8k", operators=("+", "/")))] == [72]


def test_of_a_question_that_stands_there_twice_the_first_is_kept_and_it_is_said(put, caplog):
    put("gsm8k", test=[*GSM8K, GSM8K[0], {**GSM8K[1], "answer": "#### 4"}])
    with caplog.at_level(logging.INFO, "cotlens"):
        problems = load_problems("gsm8k")
    assert [problem.gold for problem in problems] == [72, 3000]
    (message,) = caplog.messages
    assert message == (
        "gsm8k: 2 of 4 problems ask a question that stands there before; the first of each is kept. "
        f"Their answers differ for {problems[1].id}"
    )


def test_a_bad_row_is_named_by_its_number_and_field(put):
    folder = put("gsm8k", test=[GSM8K[0], {"question": "How many?", "answer": "seven"}])
    assert _error(DataError).startswith(f"{folder}, split test, row 2: field 'answer' has no '#### NUMBER'")


def test_columns_that_changed_are_an_error(put):
    put("svamp", test=GSM8K)
    assert "row 1: field 'Body' is missing; known: answer, question" in _error(DataError, "svamp")


def test_files_that_do_not_load_are_one_line_of_error(put):
    folder = put("gsm8k", test=GSM8K)
    (folder / "data/test-00000-of-00001.parquet").write_bytes(b"PAR1 and more")
    assert _error(EnvironmentFault).startswith(f"gsm8k: {folder} can't be loaded from the hub: ")


def test_nothing_reaches_the_terminal_and_all_is_as_it_was(put, capfd, caplog):
    put("gsm8k", test=GSM8K)
    caplog.set_level(logging.INFO, "datasets")
    datasets.enable_progress_bars()
    load_problems("gsm8k")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("datasets").level == logging.INFO
    assert not datasets.are_progress_bars_disabled()
    assert datasets.config.HF_HUB_OFFLINE is False


def test_a_set_is_read_once(put):
    folder = put("gsm8k", test=GSM8K)
    first = load_problems("gsm8k")
    shutil.rmtree(folder)
    assert load_problems("gsm8k") == first


# Without the package, without a network, without the repository.


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert _error(MissingExtraError) == "datasets is not installed; install it with: pip install 'cotlens[data]'"


OUT_OF_REACH = (
    "gsm8k: openai/gsm8k is not in the local cache, and the hub can't be reached; load it once where there is a "
    "network, or give a local file as problems.source"
)


def test_without_a_network_the_error_says_what_to_do_and_comes_soon(capfd):
    started = time.monotonic()
    assert _error(EnvironmentFault) == OUT_OF_REACH
    assert time.monotonic() - started < 2
    assert capfd.readouterr() == ("", "")
    assert datasets.config.HF_HUB_OFFLINE is False


def test_a_hub_that_never_answers_is_given_up_soon(monkeypatch):
    monkeypatch.setattr(hub, "_PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert _error(EnvironmentFault) == OUT_OF_REACH
        assert time.monotonic() - started < 2


def test_a_name_that_is_looked_up_without_end_is_given_up_soon(monkeypatch):
    class Resolving:
        def head(self, *args: object, **settings: object) -> None:
            time.sleep(3)

    monkeypatch.setattr(hub, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(huggingface_hub, "get_session", Resolving)
    started = time.monotonic()
    assert _error(EnvironmentFault) == OUT_OF_REACH
    assert time.monotonic() - started < 2


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], list[str]]]:
    """A hub that answers 404 with an error code of the hub's; the list of what it was asked."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def serve(code: str) -> list[str]:
        asked: list[str] = []

        class Hub(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(404)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{servers[-1].server_port}")
        return asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("RepoNotFound", "Dataset 'openai/gsm8k' doesn't exist on the Hub or cannot be accessed"),
        ("RevisionNotFound", "Revision 'v9' doesn't exist for dataset 'openai/gsm8k' on the Hub"),
    ],
)
def test_a_repository_or_revision_that_is_gone_is_named(serve, capfd, code, reason):
    serve(code)
    assert _error(EnvironmentFault, revision="v9") == (
        f"gsm8k: openai/gsm8k can't be loaded from the hub: {reason}; try another problems.revision, or give a local "
        "file as problems.source"
    )
    assert capfd.readouterr() == ("", "")


def test_offline_by_the_users_wish_asks_nobody(serve, monkeypatch):
    asked = serve("RepoNotFound")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert _error(EnvironmentFault) == OUT_OF_REACH
    assert asked == []
    assert datasets.config.HF_HUB_OFFLINE is True


# From the cache.


@pytest.fixture
def cached(put: PutOnHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """GSM8K in the cache as `datasets` leaves it there, at `COMMIT`; the branch ``main`` points to it."""
    real = HUB_SETS["gsm8k"]
    put("gsm8k", test=GSM8K)
    load_problems("gsm8k")
    (made,) = (tmp_path / "cache/datasets").rglob("gsm8k-test.arrow")
    kept = tmp_path / f"cache/datasets/openai___gsm8k/main/0.0.0/{COMMIT}"
    shutil.copytree(made.parent, kept)
    refs = tmp_path / "cache/hub/datasets--openai--gsm8k/refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    monkeypatch.setitem(HUB_SETS, "gsm8k", real)
    hub_problems.cache_clear()
    return kept


@pytest.mark.parametrize("revision", [None, "main", COMMIT, COMMIT[:9]])
def test_what_was_loaded_once_is_there_without_a_network(cached, caplog, revision):
    with caplog.at_level(logging.INFO, "cotlens"):
        problems = load_problems(ProblemsConfig(source="gsm8k", revision=revision))
    assert problems == [to_problem(Row("here", row), DEFAULT_FIELDS) for row in GSM8K]
    assert caplog.messages == [f"gsm8k: the hub can't be reached; read from the local cache, commit {COMMIT}"]


@pytest.mark.parametrize("revision", ["v2", COMMIT[::-1], COMMIT[:3]])
def test_another_revision_than_the_cached_one_is_not_passed_off_as_it(cached, revision):
    assert _error(EnvironmentFault, revision=revision).startswith(
        f"gsm8k: the local cache holds openai/gsm8k at {COMMIT[:12]}, not at problems.revision {revision!r}"
    )
