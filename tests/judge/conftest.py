"""A scripted judge on a real socket, and a desk at which questions are put to it without waiting."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.judge_server import JudgeServer, serve_judge

from cotlens.config import LabelConfig
from cotlens.judge.answering import Desk
from cotlens.judge.book import Asked, Book, Record
from cotlens.judge.cache import ReplyCache
from cotlens.judge.calls import Calls
from cotlens.judge.ledger import Ledger, Stop
from cotlens.judge.protocol import Judge, Question
from cotlens.judge.registry import Means, make_judge
from cotlens.types import SignedNeuron

PRICES = {"price_in_usd": 2.5, "price_out_usd": 10.0}
#: What a call of the scripted judge costs at these prices.
CALL_USD = (400 * 2.5 + 40 * 10.0) / 1e6


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serve_judge() as judge:
        yield judge


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COTLENS_CACHE", str(tmp_path / "user-cache"))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, by a clock that jumps: no test sleeps."""
    waited: list[float] = []
    now = [0.0]

    def jump(_: Stop, seconds: float) -> bool:
        waited.append(seconds)
        now[0] += seconds
        return False

    monkeypatch.setattr(Stop, "wait", jump)
    original = Calls.__post_init__

    def with_clock(calls: Calls) -> None:
        calls.clock = lambda: now[0]
        original(calls)

    monkeypatch.setattr(Calls, "__post_init__", with_clock)
    return waited


def question(*tokens: str, concept: str = "add") -> Question:
    return Question(concept, "Do these tokens express addition?", frozenset({"plus", "add"}), tokens or (" plus", " x"))


def asked(*tokens: str, neuron: int = 1, concept: str = "add") -> Asked:
    return Asked(question(*tokens, concept=concept), "label", SignedNeuron(3, neuron, 1))


def many(number: int) -> list[Asked]:
    """Different questions; every third has a word of addition."""
    return [asked(" plus" if n % 3 == 0 else " x", f" word{n}", neuron=n) for n in range(number)]


def twice(number: int) -> list[Asked]:
    """`many`, each asked about two neurons."""
    return [*many(number), *(replace(one, neuron=SignedNeuron(9, n, 1)) for n, one in enumerate(many(number)))]


@dataclass
class Office:
    """A judge and the folder of a run."""

    folder: Path
    server: JudgeServer
    settings: dict[str, object] = field(default_factory=dict)
    name: str = "openai/gpt-4o"

    def judge(self, ledger: Ledger | None = None, stop: Stop | None = None) -> Judge:
        base = f"{self.server.url}/v1" if self.name.startswith("openai/") else self.server.url
        given = {"base_url": base, "timeout_s": 5.0, **PRICES, **self.settings}
        config = LabelConfig.model_validate({"judge": self.name} | given)
        return make_judge(self.name, config, Means(ledger or self.ledger(), stop or Stop()))

    def ledger(self) -> Ledger:
        limits = {key: self.settings.get(key) for key in ("max_cost_usd", "max_calls")}
        return Ledger(self.folder / "calls.jsonl", **limits)  # type: ignore[arg-type]

    def desk(self, cache: bool = False, concurrency: int = 4, ask_again: bool = False) -> Desk:
        kept = ReplyCache(self.folder / "cache" if cache else None)
        return Desk(Book(self.folder / "judgements.jsonl", ask_again), kept, concurrency=concurrency)

    def answer(self, questions: list[Asked], **desk: object) -> list[Record]:
        place = self.desk(**desk)  # type: ignore[arg-type]
        ledger = self.ledger()
        judge = self.judge(ledger, place.stop)
        try:
            return place.answer(judge, questions)
        finally:
            judge.close()
            place.book.close()
            ledger.close()


@pytest.fixture
def office(tmp_path: Path, server: JudgeServer) -> Office:
    return Office(tmp_path, server)


@pytest.fixture
def make_office(tmp_path: Path, server: JudgeServer) -> Callable[..., Office]:
    def make(name: str = "openai/gpt-4o", **settings: object) -> Office:
        return Office(tmp_path, server, settings, name)

    return make
