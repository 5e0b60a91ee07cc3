"""Run the pipeline in this process and end it with SIGKILL at a chosen write.

Usage: kill_driver.py CONFIG_JSON RUN_DIR WRITE before|after|within
"""

import importlib
import os
import signal
import sys
from pathlib import Path

from cotlens.config import RunConfig
from cotlens.pipeline import run_pipeline

store = importlib.import_module("cotlens.store")


def main(config: str, out: str, fatal_write: str, moment: str) -> None:
    writes = 0
    write, replace = store.write_atomic, os.replace

    def counting(target: Path, data: bytes) -> None:
        nonlocal writes
        writes += 1
        fatal = writes == int(fatal_write)
        if fatal and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if fatal and moment == "within":
            # The temporary file is complete; the rename never happens.
            os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        write(target, data)
        os.replace = replace
        if fatal and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    store.write_atomic = counting
    run_pipeline(RunConfig.model_validate_json(config), Path(out))


main(*sys.argv[1:])
