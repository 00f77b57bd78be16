"""How frames lie in a segment: batches, each a line of JSON and then its frames, one a line.

    {"at": 1795771234567890, "frames": 2, "length": 13}     when its first frame was received, epoch us; bytes
    frame
    another
    {"sealed": 1795771260000000, ..}                        the last line of a segment that its writer has ended

`lengths` of the frames stand in the header where one of them holds a newline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import orjson


@dataclass(frozen=True)
class Segment:
    """What a segment holds. `seal` is its last line, empty for one that was never sealed by its writer."""

    frames: list[bytes]
    first_us: int | None
    last_us: int | None
    seal: dict[str, Any] = field(default_factory=dict)
    torn: int = 0
    """Bytes at the end that make no whole frame."""


def encode(at_us: int, frames: Sequence[bytes]) -> bytes:
    """One batch, ready to be appended."""
    body = b"\n".join(frames)
    header: dict[str, Any] = {"at": at_us, "frames": len(frames), "length": len(body)}
    if body.count(b"\n") != len(frames) - 1:
        header["lengths"] = [len(frame) for frame in frames]
    return b"%b\n%b\n" % (orjson.dumps(header), body)


def decode(data: bytes) -> Segment:
    """Every whole frame; what a killed writer left half-written at the end is counted and left out."""
    frames: list[bytes] = []
    ats: list[int] = []
    position, seal = 0, dict[str, Any]()
    while position < len(data):
        header, body, end = _next(data, position)
        if header is None:
            break
        if "sealed" in header:
            seal, position = header, end
            break
        whole = end <= len(data)
        got = _frames(body, header) if whole else _frames_of_torn(body, header)
        frames += got
        ats += [header["at"]] if got else []
        if not whole:
            break
        position = end
    return Segment(frames, ats[0] if ats else None, ats[-1] if ats else None, seal, len(data) - position)


def batches(data: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """The whole batches of a segment: when each's first frame was received, and its frames."""
    position = 0
    while position < len(data):
        header, body, position = _next(data, position)
        if header is None or "sealed" in header:
            return
        yield header["at"], _frames(body, header)


def seal_line(at_us: int, **more: Any) -> bytes:
    return orjson.dumps({"sealed": at_us, **more}) + b"\n"


def _next(data: bytes, position: int) -> tuple[dict[str, Any] | None, bytes, int]:
    """The header at `position`, what is there of its body, and where the next one begins if all is there."""
    line_end = data.find(b"\n", position)
    header = _header(data[position:line_end]) if line_end >= 0 else None
    if header is None or "sealed" in header:
        return header, b"", line_end + 1
    start, end = line_end + 1, line_end + 1 + int(header["length"])
    return header, data[start:end], end + 1


def _header(line: bytes) -> dict[str, Any] | None:
    try:
        header = orjson.loads(line)
    except ValueError:
        return None
    known = isinstance(header, dict) and ("sealed" in header or {"at", "frames", "length"} <= header.keys())
    return header if known else None


def _frames(body: bytes, header: dict[str, Any]) -> list[bytes]:
    if "lengths" not in header:
        return body.split(b"\n")
    frames, start = [], 0
    for length in header["lengths"]:
        frames.append(body[start : start + length])
        start += length + 1
    return frames


def _frames_of_torn(body: bytes, header: dict[str, Any]) -> list[bytes]:
    """The frames that lie whole in what was written of a batch."""
    if "lengths" not in header:
        whole, newline, _ = body.rpartition(b"\n")
        return whole.split(b"\n") if newline else []
    ends = accumulate(header["lengths"], lambda end, length: end + 1 + length)
    written = sum(1 for end in ends if end <= len(body))
    return _frames(body, header)[:written]
