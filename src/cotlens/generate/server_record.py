"""The server of a run: connected, compared with the local model on one question, and noted in the manifest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from cotlens.config import GenerateConfig
from cotlens.errors import RunMismatchError
from cotlens.generate.engine import complete
from cotlens.generate.server import Server, complete_by_server, connect
from cotlens.generate.stopping import StopRule
from cotlens.model.language_model import LanguageModel
from cotlens.store import RunWriter

__all__ = ["open_server", "spot_check"]

logger = logging.getLogger(__name__)


def open_server(run: RunWriter, lm: LanguageModel, prompt: Sequence[int]) -> Server | None:
    """The server that ``generate.server`` names, if any; ``manifest.generator`` says what it is.

    It is compared with ``lm`` on ``prompt``, once per run.

    Raises:
        CotlensError: the server can't be used; it serves another model than when the run began.
    """
    config, recorded = run.config.generate, run.manifest.generator
    if config.server is None:
        run.manifest.generator = {}
        return None
    server = connect(lm, config)
    begun = any(name.startswith("completions/") for name in run.manifest.stages["generate"].parts)
    if begun and recorded.get("server_model") != server.model:
        raise RunMismatchError(
            f"{run.path}: began with {recorded.get('server_model')!r}, and {server.url} now serves {server.model!r}; "
            "serve the former, name another folder with --out, or add --new-run"
        )
    found = recorded.get("spot_check") if begun else None
    run.manifest.generator = server.description(lm) | {"spot_check": found or spot_check(server, lm, prompt, config)}
    run.save_manifest()
    return server


def spot_check(server: Server, lm: LanguageModel, prompt: Sequence[int], config: GenerateConfig) -> dict[str, Any]:
    """Continue ``prompt`` there and here, and say where the tokens part; a warning where they do."""
    [(_, there)] = complete_by_server(server, lm, [prompt], config.max_new_tokens, config.stop)
    [(_, here)] = complete(lm, [prompt], StopRule(lm, config.stop, config.max_new_tokens), batch_size=1)
    same = there.token_ids == here.token_ids
    pairs = zip(there.token_ids, here.token_ids, strict=False)
    shorter = min(len(there.token_ids), len(here.token_ids))
    parting = None if same else next((place for place, (a, b) in enumerate(pairs) if a != b), shorter)
    if parting is not None:
        logger.warning(
            "generate: on the first question %s and the model here part at token %d of %d; another precision does "
            "that, and so do other weights, with which the neurons found would mean nothing",
            server.url, parting + 1, max(len(there.token_ids), len(here.token_ids)),
        )  # fmt: skip
    return {"tokens": len(there.token_ids), "same": same, "first_difference": parting}
