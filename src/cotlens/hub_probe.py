"""Whether the Hugging Face hub answers at all, asked briefly.

The hub's own client tries again for half a minute before it looks into its cache; nobody should wait that long to
hear that there is no network.
"""

from __future__ import annotations

import threading
from contextlib import suppress

__all__ = ["hub_answers"]


def hub_answers(endpoint: str, patience_s: float = 2.0) -> bool:
    """Whether the hub can be reached: any answer will do. In a thread, since looking up a name knows no time limit."""
    from huggingface_hub import get_session

    answered = threading.Event()

    def ask() -> None:
        with suppress(Exception):
            get_session().head(endpoint, timeout=patience_s)
            answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience_s)
    return answered.is_set()
