"""Put questions to a scripted judge from a process of its own, to be killed or told to stop.

Usage: judge_driver.py FOLDER BASE_URL QUESTIONS [fatal_write]: with ``fatal_write``, SIGKILL at that stored reply.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from tests.judge.conftest import PRICES, twice

from cotlens.config import LabelConfig
from cotlens.judge.answering import Desk
from cotlens.judge.book import Book
from cotlens.judge.cache import ReplyCache
from cotlens.judge.ledger import Ledger
from cotlens.judge.registry import Means, make_judge


def main(folder: Path, url: str, number: int, fatal_write: int) -> None:
    config = LabelConfig(judge="openai/gpt-4o", base_url=url, max_cost_usd=1.0, **PRICES)
    ledger = Ledger(folder / "calls.jsonl", config.max_cost_usd)
    book = Book(folder / "judgements.jsonl")
    desk = Desk(book, ReplyCache(None), concurrency=4)
    write, writes = book.write, itertools.count(1)

    def counting(*arguments: object) -> dict[str, object]:
        number = next(writes)
        record = write(*arguments)
        if number == fatal_write:
            os.kill(os.getpid(), signal.SIGKILL)
        return record

    book.write = counting
    desk.answer(make_judge(config.judge, config, Means(ledger, desk.stop)), twice(number))


main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
