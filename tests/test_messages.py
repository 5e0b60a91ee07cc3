"""What goes to a terminal carries no key and can't act on it."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from tests.judge_server import fail, serve_judge
from tests.labelled_run import make_projected_run
from tests.test_cli_judges import environment

from cotlens.credentials import keep_secret
from cotlens.messages import PresentableFormatter, presentable
from cotlens.terminal import draw, say

EVIL = "\x1b[2J\u202eevil\x07\x00\x9b31m\u2066\ud800"
SHOWN = "\\x1b[2J\\u202eevil\\x07\\x00\\x9b31m\\u2066\\ud800"


def test_what_could_act_on_a_terminal_is_shown() -> None:
    assert presentable(f"a\tb\n {EVIL}é€汉") == f"a\tb\n {SHOWN}é€汉"


def test_log_lines_and_their_tracebacks_are_fit_to_be_shown() -> None:
    key = keep_secret("sk-of-the-log-7Qv2MxP9")
    try:
        raise ValueError(f"{key} {EVIL}")
    except ValueError:
        record = logging.LogRecord("n", logging.INFO, "p", 1, "key %s %s", (key, EVIL), sys.exc_info())
    line = PresentableFormatter("cotlens: %(message)s").format(record)
    assert line.startswith(f"cotlens: key [hidden] {SHOWN}\nTraceback")
    assert line.endswith(f"ValueError: [hidden] {SHOWN}")


def test_tables_and_lines_are_fit_to_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_row(EVIL)
    draw(table)
    draw(Text(f"{EVIL}\n"))
    say(EVIL)
    shown = capsys.readouterr().out
    assert not set(EVIL) & set(shown) - set("[2Jevil31m")
    assert shown.count(SHOWN.replace("\\x07", "")) == 2, "Rich takes a bell away"
    assert shown.endswith(f"\n{SHOWN}\n")


def test_a_server_can_not_act_on_the_terminal(tmp_path: Path) -> None:
    run = make_projected_run(tmp_path / "run").path
    with serve_judge() as server:
        server.script = [fail(429, EVIL, {"Retry-After": "0.1"})]
        server.rule = fail(404, EVIL)
        words = ["label", str(run), "--judge", "openai/x", "--judge-base-url", f"{server.url}/v1", "--debug"]
        done = subprocess.run(
            [sys.executable, "-m", "cotlens.cli", *words, "--concurrency", "1"],
            capture_output=True, check=False, timeout=120, cwd=tmp_path, env=environment(tmp_path),
        )  # fmt: skip
    assert done.returncode == 2
    said = done.stderr.decode()
    assert f"429: {SHOWN}; waiting" in said
    assert f"404: {SHOWN}; check" in said
    assert not set(said) & set("\x1b\u202e\x07\x00\x9b\u2066")
