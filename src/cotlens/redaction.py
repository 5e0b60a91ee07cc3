"""What another machine says, and what a user typed, made fit to be shown: no secrets, no control characters."""

from __future__ import annotations

import re

__all__ = ["hide_user_info", "shown"]

_LONGEST = 300


def hide_user_info(text: str) -> str:
    """``text`` without what may be user and password of a URL: all between ``//`` and the last ``@`` of its line."""
    return re.sub(r"//.*@", "//***@", text)


def shown(text: str, secret: str | None = None) -> str:
    """``text`` on one line of at most 300 printable characters, ``secret`` taken out wherever it stands."""
    if secret:
        text = text.replace(secret, "***")
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."
