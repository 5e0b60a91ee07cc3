"""Files of a figure: what is in them, and that nothing in them can act in the page that carries them."""

import base64
import csv
import io
import struct
import zlib
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from cotlens.report.columns import share, words
from cotlens.report.downloads import downloads, figure_csv, figure_png, figure_svg
from cotlens.report.exhibits import accuracy_figure
from cotlens.report.figure import Figure
from cotlens.report.png import small_png
from cotlens.report.svg import to_svg

EVIL = "</script>'\" onmouseover=alert(1) <img src=x>\u202e\x00"


def _accuracy(name: str = "cot") -> Figure:
    row = {
        "variant": name, "correct": 1, "questions": 3, "accuracy": 1 / 3, "low": 0.06, "high": 0.79, "two_stage": False,
        "accuracy_flexible": 1 / 3, "answered": 1.0, "cut_off": 0.0, "mean_tokens": 20.0, "prompt_tokens": 800.0,
        "demonstrations": 8, "lines": 20, "equations": 12,
    }  # fmt: skip
    return accuracy_figure([row], 0.95)


def _links(figure: Figure) -> dict[str, str]:
    return {link.label: str(link.href) for link in downloads(figure, to_svg(figure.chart(860)))}


def test_a_link_carries_the_very_files() -> None:
    figure = _accuracy()
    links = _links(figure)
    assert unquote(links["SVG"].partition(",")[2]) == figure_svg(figure).decode().replace('"', "'")
    assert base64.b64decode(links["PNG"].partition(",")[2]) == figure_png(figure)
    assert unquote(links["CSV"].partition(",")[2]).encode() == figure_csv(figure)


def test_the_csv_has_unrounded_numbers_under_the_names_of_the_tables() -> None:
    [head, row] = list(csv.reader(io.StringIO(figure_csv(_accuracy()).decode())))
    found = dict(zip(head, row, strict=True))
    assert float(found["accuracy"]) == 1 / 3
    assert (found["low"], found["high"], found["demonstrations"]) == ("0.06", "0.79", "8")


def test_a_name_that_a_spreadsheet_would_run_is_set_off() -> None:
    rows = [{"concept": "=HYPERLINK(1)", "share": -0.5}, {"concept": "add", "share": None}]
    figure = Figure("f", "t", "s", lambda width: None, (words("Concept", "concept"), share("Share", "share")), rows)
    assert figure.csv == "concept,share\n'=HYPERLINK(1),-0.5\nadd,\n"


def test_nothing_in_a_file_can_leave_its_link() -> None:
    links = _links(_accuracy(EVIL))
    for link in links.values():
        assert not set(link) & set("<>\"'&#\n\u202e\x00")
    assert "alert(1)" in unquote(links["CSV"])


def test_a_picture_opens_on_white_and_says_its_numbers() -> None:
    svg = figure_svg(_accuracy()).decode()
    assert 'fill="white"' in svg
    assert "<title>cot: 33.3% correct (1 of 3), interval 6.0–79.0%</title>" in svg


def _png(pixels: np.ndarray, filters: list[int]) -> bytes:
    """An RGBA image, each row after the filter given for it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = pixels.shape[:2]
    rows = b""
    for row, kind in zip(pixels, filters, strict=True):
        before = np.vstack([np.zeros((1, 4), np.uint8), row[:-1]])
        rows += bytes([kind]) + ((row - before) if kind == 1 else row).astype(np.uint8).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    middle = zlib.compress(rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", middle[:5])
        + chunk(b"IDAT", middle[5:])
        + chunk(b"IEND", b"")
    )


def _decoded(data: bytes) -> np.ndarray:
    """RGB of an indexed image without filters."""
    place, found = 8, {}
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert struct.unpack(">I", data[place + 8 + size : place + 12 + size])[0] == zlib.crc32(name + content)
        found[name] = content
        place += 12 + size
    width, height = struct.unpack(">II", found[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, 1 + width)
    return np.frombuffer(found[b"PLTE"], np.uint8).reshape(-1, 3)[rows[:, 1:]]


def test_an_image_of_few_colours_is_the_same_with_a_palette() -> None:
    pixels = np.random.default_rng(0).integers(0, 5, (6, 9, 4), dtype=np.uint8) * 50
    pixels[..., 3] = 255
    small = small_png(_png(pixels, [0, 1, 1, 0, 1, 1]))
    assert (_decoded(small) == pixels[..., :3]).all()


def test_rare_colours_become_the_nearest_of_the_frequent_ones() -> None:
    frequent = np.stack([np.arange(256, dtype=np.uint8)] * 3, axis=1).repeat(2, axis=0)
    pixels = np.full((1, 513, 4), 255, np.uint8)
    pixels[0, :512, :3] = frequent
    pixels[0, 512, :3] = (100, 101, 100)
    shown = _decoded(small_png(_png(pixels, [1])))
    assert (shown[0, :512] == frequent).all()
    assert tuple(shown[0, 512]) == (100, 100, 100)


@pytest.mark.parametrize("alpha", [0, 254])
def test_an_image_that_is_not_opaque_is_left_alone(alpha: int) -> None:
    pixels = np.full((2, 2, 4), alpha, np.uint8)
    data = _png(pixels, [0, 0])
    assert small_png(data) == data


def test_pngs_are_small(report: Any) -> None:
    from cotlens.report.all_figures import all_figures

    figure = all_figures(report.run)["heat"].figure
    assert figure is not None
    assert len(figure_png(figure)) < 40_000
