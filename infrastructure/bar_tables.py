"""Bars ↔ tables of Arrow, pandas and polars, for whoever reads history in a notebook; `bar_files` is made of them.
The platform itself needs neither pandas nor polars: they are imported when a table of theirs is asked for.

Columns: time (UTC, milliseconds), open, high, low, close, volume (NaN where the instrument has none).
"""

from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa

from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected

NAMES = ("time", "open", "high", "low", "close", "volume")
TYPES = (pa.timestamp("ms", tz="UTC"), *[pa.float64()] * 5)
SCHEMA = pa.schema(zip(NAMES, TYPES, strict=True))


def to_arrow(bars: Bars, schema: pa.Schema = SCHEMA) -> pa.Table:
    """A pyarrow.Table, exact to the last bit; the prices are not copied."""
    times = pa.array(bars.time_ms, pa.int64()).cast(TYPES[0])
    columns = [pa.array(column, pa.float64(), from_pandas=False) for column in bars.columns[1:]]
    return pa.Table.from_arrays([times, *columns], schema=schema)


def to_pandas(bars: Bars) -> Any:
    """A pandas.DataFrame with `time` as its index. Rejected where pandas is not installed."""
    _needed("pandas")
    return to_arrow(bars).to_pandas().set_index("time")


def to_polars(bars: Bars) -> Any:
    """A polars.DataFrame. Rejected where polars is not installed."""
    return _needed("polars").from_arrow(to_arrow(bars))


def from_arrow(table: pa.Table | pa.RecordBatch) -> Bars:
    """From those columns, in any order, also of types that become theirs without loss. Malformed where one is missing,
    or a bar has no time. What is null else becomes NaN."""
    if missing := [name for name in NAMES if name not in table.schema.names]:
        raise Malformed(f"The file has no column {missing[0]!r}.", ", ".join(table.schema.names))
    time = table.column("time").cast(TYPES[0]).cast(pa.int64())
    if time.null_count:
        raise Malformed("The file has a bar without a time.")
    columns = [table.column(name).cast(pa.float64()).fill_null(float("nan")) for name in NAMES[1:]]
    return Bars(_numpy(time), *map(_numpy, columns))


def _numpy(column: pa.Array | pa.ChunkedArray) -> Any:
    """A copy that belongs to nobody else."""
    if isinstance(column, pa.ChunkedArray):
        return np.array(column.to_numpy())
    return np.array(column.to_numpy(zero_copy_only=False))


def _needed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise Rejected(f"{name} is not installed here: pip install {name}.") from error
