"""Opening a user's file: plain, gzip or zip text in numbered lines, and the checksum beside a bulk file."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

import polars as pl

from warehouse.errors import TapewatchError

CHUNK_BYTES = 32_000_000
SEPARATORS = (",", ";", "\t", "|")
_PARQUET, _GZIP, _ZIP = b"PAR1", b"\x1f\x8b", b"PK\x03\x04"
_FOREIGN = {
    b"ARROW1": "an Arrow/Feather file",
    b"FEA1": "a Feather file",
    b"\xd0\xcf\x11\xe0": "an Excel file",
}


class FileError(TapewatchError):
    """A file that cannot be imported as a whole; says what it is and what would help."""


class Lines(NamedTuple):
    """A stretch of a text file: its lines without their ends, the number of the first, whether it was cut.

    `is_cut` is true where the last line of the file has no end, or the compressed file stops in the middle.
    """

    first: int
    texts: list[str]
    is_cut: bool


def is_parquet(path: Path) -> bool:
    """Whether `path` is Parquet by its first bytes. Raises FileError where it is no file we can read."""
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise FileError(
            f"{path}: {error.strerror or error}; name an existing CSV, Parquet or zip file"
        ) from None
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise FileError(f"{path}: {name} is not understood; save it as CSV or Parquet")
    if not head:
        raise FileError(f"{path}: the file is empty")
    return head.startswith(_PARQUET)


def read_lines(path: Path, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Lines]:
    """The file's lines in stretches of about `chunk_bytes`, numbered from 1; endings of any system."""
    number = 1
    with (
        _opened(path) as raw,
        io.TextIOWrapper(raw, encoding=_encoding(path), errors="backslashreplace") as text,
    ):
        while True:
            texts, is_broken = _some_lines(text, chunk_bytes)
            if not texts:
                return
            is_cut = is_broken or not texts[-1].endswith("\n")
            yield Lines(number, [line.rstrip("\n") for line in texts], is_cut)
            number += len(texts)
            if is_broken:
                return


def _some_lines(text: IO[str], chunk_bytes: int) -> tuple[list[str], bool]:
    """Lines of at least `chunk_bytes`, and whether the compressed file ended before its end."""
    texts: list[str] = []
    size = 0
    try:
        for line in text:
            texts.append(line)
            size += len(line)
            if size >= chunk_bytes:
                break
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile):
        return texts or [""], True
    return texts, False


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic.startswith(_GZIP):
        with gzip.open(path, "rb") as unzipped:
            yield cast(IO[bytes], unzipped)
    elif magic.startswith(_ZIP):
        with _archive(path) as archive, archive.open(_member(path, archive)) as inside:
            yield inside
    else:
        with path.open("rb") as plain:
            yield plain


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise FileError(f"{path}: a damaged zip ({error}); download it again") from None


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    """The one table in a zip."""
    names = [
        name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")
    ]
    if len(names) != 1:
        shown = ", ".join(names[:4]) or "nothing"
        raise FileError(f"{path}: holds {len(names)} files ({shown}); import a zip with exactly one CSV")
    return names[0]


def _encoding(path: Path) -> str:
    """UTF-8, with its mark or without; UTF-16 where the file begins with that mark."""
    with _opened(path) as handle:
        try:
            head = handle.read(2)
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile):
            head = b""
    return "utf-16" if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def check_checksum(path: Path) -> bool:
    """Whether `<path>.CHECKSUM` stands beside the file and agrees; raises FileError where it disagrees."""
    beside = path.with_name(path.name + ".CHECKSUM")
    if not beside.is_file():
        return False
    words = beside.read_text(encoding="utf-8", errors="replace").split()
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if not words or words[0].lower() != found:
        expected = words[0] if words else "nothing"
        raise FileError(
            f"{path}: its sha256 is {found}, {beside.name} says {expected}; the file is damaged or was "
            "replaced by the venue: download both again"
        )
    return True


def separator_of(lines: list[str]) -> str:
    """The character that splits the first lines into the most fields."""
    return max(
        SEPARATORS, key=lambda mark: min((line.count(mark) for line in lines if line.strip()), default=0)
    )


def fields_of(line: str, separator: str) -> list[str]:
    """One line's fields, quotes honoured, blanks around them dropped."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def table_of(lines: Lines, width: int, separator: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The stretch as columns `line, payload, c0 .. c<width-1>` of text, and the lines of another width.

    The second frame has line, payload, fields (how many were found). Empty lines vanish.
    """
    numbers = pl.int_range(lines.first, lines.first + len(lines.texts), eager=True)
    raw = pl.DataFrame(
        {"line": numbers, "payload": lines.texts}, schema={"line": pl.Int64, "payload": pl.String}
    )
    raw = raw.filter(pl.col("payload").str.strip_chars() != "")
    raw = raw.with_columns(
        fields=pl.col("payload").str.count_matches(separator, literal=True).cast(pl.Int64) + 1
    )
    even, uneven = raw.filter(pl.col("fields") == width), raw.filter(pl.col("fields") != width)
    quoted = uneven.filter(pl.col("payload").str.contains('"', literal=True))
    unquoted = [(*row, fields_of(row[1], separator)) for row in quoted.iter_rows()]
    mended = [(row[0], row[1], *row[3]) for row in unquoted if len(row[3]) == width]
    columns = [f"c{index}" for index in range(width)]
    schema = {"line": pl.Int64, "payload": pl.String, **dict.fromkeys(columns, pl.String)}
    table = pl.concat([_split(even, columns, separator), pl.DataFrame(mended, schema=schema, orient="row")])
    wrong = uneven.filter(~pl.col("line").is_in([row[0] for row in mended]))
    return table.sort("line"), wrong


def _split(even: pl.DataFrame, columns: list[str], separator: str) -> pl.DataFrame:
    """Lines that all have the same number of fields, cut at the separator by the CSV reader."""
    if even.is_empty():
        return pl.DataFrame(
            schema={"line": pl.Int64, "payload": pl.String, **dict.fromkeys(columns, pl.String)}
        )
    cells = pl.read_csv(
        "\n".join(even["payload"].to_list()).encode(),
        has_header=False,
        new_columns=columns,
        separator=separator,
        quote_char=None,
        infer_schema=False,
    )
    cleaned = cells.select(pl.all().str.strip_chars(' "'))
    return pl.concat([even.select("line", "payload"), cleaned], how="horizontal")
