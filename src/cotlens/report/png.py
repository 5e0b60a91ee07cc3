"""PNG images of charts in a tenth of the bytes: few colours, indexed, well compressed.

The renderer writes four channels with its fastest compression; a page that carries a dozen of its images would be
several times larger than all else in it.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

__all__ = ["small_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGBA = (8, 6, 0, 0, 0)  # bits, colour type, compression, filter method, no interlace
_INDEXED = (8, 3, 0, 0, 0)
_MOST_COLOURS = 256


def small_png(data: bytes) -> bytes:
    """An opaque RGBA image with at most 256 colours, the most frequent ones; others become the nearest of these.

    An image of another kind is returned as it is.
    """
    chunks = _chunks(data)
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    pixels = _pixels(zlib.decompress(chunks[b"IDAT"]), width, height) if tuple(kind) == _RGBA else None
    if pixels is None or not (pixels[..., 3] == 255).all():
        return data
    palette, indices = _indexed(pixels[..., :3])
    rows = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)  # each after its filter: none
    made = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, *_INDEXED),
        b"PLTE": palette.tobytes(),
        b"IDAT": zlib.compress(rows.tobytes(), 9),
        b"IEND": b"",
    }
    return _SIGNATURE + b"".join(_chunk(name, content) for name, content in made.items())


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The contents of the chunks by name, those of one name joined."""
    found: dict[bytes, bytes] = {}
    place = len(_SIGNATURE)
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        name = data[place + 4 : place + 8]
        found[name] = found.get(name, b"") + data[place + 8 : place + 8 + size]
        place += size + 12
    return found


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _pixels(raw: bytes, width: int, height: int) -> np.ndarray | None:
    """RGBA ``[height, width, 4]``; None if a row has a filter other than none and sub."""
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + 4 * width)
    filters, pixels = rows[:, 0], rows[:, 1:].reshape(height, width, 4).copy()
    if filters.max(initial=0) > 1:
        return None
    sub = filters == 1  # each byte is the difference to that of the pixel before it
    pixels[sub] = np.cumsum(pixels[sub], axis=1, dtype=np.uint8)
    return pixels


def _indexed(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Palette ``[n, 3]`` and, for every pixel, its place in it."""
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_COLOURS])
    channels = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.int32)
    places = np.empty(len(colours), np.uint8)
    for start in range(0, len(colours), 1024):
        block = channels[start : start + 1024, None] - channels[kept]  # [block, kept, 3]
        places[start : start + 1024] = np.square(block).sum(axis=2).argmin(axis=1)
    return channels[kept].astype(np.uint8), places[inverse].reshape(packed.shape)
