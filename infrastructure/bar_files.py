"""Bars ↔ files: CSV, Parquet and Arrow, in pieces of bounded size. Used by `manage.py exportbars` and `importbars`.

Parquet and Arrow files say of which series they are and which stretches of time they cover; a CSV says nothing, and a
NaN in it is just that. Pages of Parquet files have checksums. A file appears under its name when it is complete.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import csv, ipc, parquet

from infrastructure.bar_tables import NAMES, SCHEMA, TYPES, from_arrow, to_arrow
from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected, Unavailable

ABOUT = b"marketdata"
PIECE_BARS = 65_536


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of its bars."""

    symbol: str
    interval: str
    adjustment: str = "splits"
    session: str = "regular"
    covered: list[tuple[int, int]] = field(default_factory=list)  # UTC ms


def write(path: Path, about: About, parts: Iterable[Bars]) -> int:
    """How many bars. Rejected for a suffix that is no format; Unavailable where the disk does not take it."""
    kind = _kind(path)
    schema = SCHEMA if kind == "csv" else SCHEMA.with_metadata({ABOUT: msgspec.json.encode(about)})
    unfinished = path.with_name(f".{path.name}.part")
    bars = 0
    with _errors(path):
        try:
            with _writer(kind, unfinished, schema) as writer:
                for part in parts:
                    writer.write_table(to_arrow(part, schema))
                    bars += len(part)
            unfinished.replace(path)
        finally:
            with suppress(FileNotFoundError):
                unfinished.unlink()
    return bars


def read_about(path: Path) -> About | None:
    """None where the file does not say."""
    with _errors(path):
        match _kind(path):
            case "csv":
                return None
            case "parquet":
                metadata = parquet.read_schema(path).metadata
            case _:
                with ipc.open_file(path) as file:
                    metadata = file.schema.metadata
        said = (metadata or {}).get(ABOUT)
        return None if said is None else msgspec.json.decode(said, type=About)


def read(path: Path) -> Iterator[Bars]:
    """In the order of the file, in pieces. Malformed where it does not hold bars."""
    with _errors(path):
        for batch in _BATCHES[_kind(path)](path):
            yield from_arrow(batch)


def _kind(path: Path) -> str:
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _BATCHES:
        raise Rejected(f"{path.name} must end with {', '.join(f'.{one}' for one in _BATCHES)}.")
    return kind


def _csv_batches(path: Path) -> Iterator[pa.RecordBatch]:
    convert = csv.ConvertOptions(column_types=dict(zip(NAMES, TYPES, strict=True)), include_columns=list(NAMES))
    with csv.open_csv(path, convert_options=convert) as reader:
        yield from reader


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with parquet.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
        yield from file.iter_batches(PIECE_BARS, columns=list(NAMES))


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as mapped, ipc.open_file(mapped) as file:
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            for start in range(0, len(batch), PIECE_BARS):
                yield batch.slice(start, PIECE_BARS)


_BATCHES: dict[str, Callable[[Path], Iterator[pa.RecordBatch]]] = {
    "csv": _csv_batches,
    "parquet": _parquet_batches,
    "arrow": _arrow_batches,
}


def _writer(kind: str, path: Path, schema: pa.Schema) -> Any:
    if kind == "csv":
        return csv.CSVWriter(path, schema)
    if kind == "parquet":
        return parquet.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
    return ipc.new_file(path, schema)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Rejected(f"There is no file or folder {error.filename or path}.") from error
    except (pa.ArrowException, OSError, msgspec.MsgspecError, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # else pyarrow says so of what a file holds
            raise Unavailable(f"{path} cannot be read or written: {error.strerror or error}.") from error
        raise Malformed(f"{path.name} does not hold bars: {error}") from error
