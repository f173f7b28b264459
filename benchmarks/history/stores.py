"""The stores that are compared, each with the same few verbs: the platform's, ArcticDB on LMDB, a document per bar."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from arcticdb import Arctic, LibraryOptions, ReadRequest
from django.db import connection
from numpy.typing import NDArray

from benchmarks.history.data import MINUTE, bars_per_week
from infrastructure.bars import Bar, Bars
from infrastructure.persistence import BarStore, Database, Series

COLUMNS = ("open", "high", "low", "close", "volume")


class Ours:
    """Acknowledged by a majority with its journal, which is the platform's own setting."""

    def __init__(self) -> None:
        self.store = BarStore(Database())
        self.store.ensure()

    def series(self, symbol: str, like: str) -> Series:
        return self.store.series(symbol, MINUTE, bars_per_week=bars_per_week(like))

    def forget(self) -> None:
        for name in ("bar_chunk", "bar_series"):
            Database().collection(name).drop()
        self.store.ensure()

    def rest(self) -> None:
        """Until all that was written, by whomever, is on the disk."""
        connection.get_collection("bar_chunk").database.client.admin.command("fsync")
        os.sync()

    def disk_bytes(self) -> int:
        """Of data and indexes."""
        self.rest()
        stats = connection.database.command("collStats", "bar_chunk")
        return int(stats["storageSize"] + stats["totalIndexSize"])


class Peer:
    """ArcticDB. Frames are made of the arrays beforehand, at no cost to it; every version but the last is pruned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "arcticdb"
        self._arctic = Arctic(f"lmdb://{self.folder}?map_size=8GB")
        self.library = self._arctic.get_library("bars", create_if_missing=True, library_options=LibraryOptions())

    def forget(self) -> None:
        for symbol in self.library.list_symbols():
            self.library.delete(symbol)

    def write(self, symbol: str, frame: pd.DataFrame) -> None:
        self.library.write(symbol, frame, prune_previous_versions=True)

    def update(self, symbol: str, frame: pd.DataFrame) -> None:
        self.library.update(symbol, frame, prune_previous_versions=True)

    def read(self, symbol: str, start_ms: int | None = None, end_ms: int | None = None) -> Bars:
        """With start_ms <= time < end_ms; ArcticDB's range includes its end."""
        if start_ms is None or end_ms is None:
            return bars_of(self.library.read(symbol).data)
        wanted = (pd.Timestamp(start_ms, unit="ms"), pd.Timestamp(end_ms - 1, unit="ms"))
        return bars_of(self.library.read(symbol, date_range=wanted).data)

    def last(self, symbol: str, n: int) -> Bars:
        return bars_of(self.library.tail(symbol, n).data)

    def latest(self, symbols: Sequence[str]) -> dict[str, Bar]:
        answers = self.library.read_batch([ReadRequest(symbol, row_range=(-1, None)) for symbol in symbols])
        return {answer.symbol: next(iter(bars_of(answer.data))) for answer in answers}

    def disk_bytes(self) -> int:
        return sum(file.stat().st_blocks * 512 for file in self.folder.rglob("*") if file.is_file())


class Documents:
    """A document per bar, by `insert_many`, with the one index that a read by time needs."""

    def __init__(self) -> None:
        self.collection = connection.get_collection("per_bar")

    def forget(self) -> None:
        self.collection.drop()
        self.collection.create_index([("symbol", 1), ("time_ms", 1)])

    def write(self, symbol: str, bars: Bars) -> None:
        rows = zip(*(column.tolist() for column in bars.columns), strict=True)
        self.collection.insert_many(
            [
                {"symbol": symbol, "time_ms": t, "open": o, "high": h, "low": lo, "close": c, "volume": v}
                for t, o, h, lo, c, v in rows
            ],
            ordered=False,
        )


def frame_of(bars: Bars) -> pd.DataFrame:
    index = pd.DatetimeIndex(bars.time_ms.astype("datetime64[ms]").astype("datetime64[ns]"), name="time")
    return pd.DataFrame(dict(zip(COLUMNS, bars.columns[1:], strict=True)), index=index)


def bars_of(frame: pd.DataFrame) -> Bars:
    """Without copying the prices; the times become milliseconds."""
    times: NDArray[np.int64] = frame.index.to_numpy().astype("datetime64[ms]").view(np.int64)
    return Bars(times, *(frame[name].to_numpy() for name in COLUMNS))
