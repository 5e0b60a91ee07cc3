"""One writer at a time: a lock file made with ``O_EXCL``, which also works on network file systems."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cotlens.errors import EnvironmentFault, RunLockedError

__all__ = ["LOCK", "hold_lock"]

LOCK = "run.lock"
EMPTY_LOCK_AGE_S = 10.0

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Hold ``run.lock``; a lock whose process on this machine is gone is taken over."""
    path = folder / LOCK
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _clear_stale_lock(path)
            continue
        except OSError as error:
            raise EnvironmentFault(f"{folder}: can't be written: {error.strerror}") from None
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(holder)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise EnvironmentFault(f"{path}: can't be written: {error.strerror}") from None
        break
    else:
        raise RunLockedError(f"{folder}: another process took the run a moment ago; try again")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _clear_stale_lock(path: Path) -> None:
    try:
        holder = _lock_holder(path)
        if not holder and time.time() - path.stat().st_mtime > EMPTY_LOCK_AGE_S:
            logger.warning("%s: names no process and is old; taken over", path)
            path.unlink(missing_ok=True)
            return
    except FileNotFoundError:
        return
    pid, host = holder.get("pid"), holder.get("host")
    if host == socket.gethostname() and isinstance(pid, int) and not _is_alive(pid):
        logger.warning("%s: left by process %s, which is gone; taken over", path, pid)
        path.unlink(missing_ok=True)
        return
    who = f"process {pid} on {host} since {holder.get('since')}" if holder else "an unknown process"
    raise RunLockedError(f"{path.parent}: in use by {who}; wait for it, or delete {path} if that process is gone")


def _lock_holder(path: Path) -> Mapping[str, Any]:
    """Empty when its process was ended between making the file and writing into it, or is just doing so."""
    try:
        holder = json.loads(path.read_text())
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
