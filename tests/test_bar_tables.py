import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure import bar_tables
from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected
from tests.persistence.bits import same_bits

any_bits = st.integers(-(2**63), 2**63 - 1)
rows = st.lists(st.tuples(st.integers(-(10**13), 10**14), *[any_bits] * 5), max_size=20)
BARS = Bars.from_rows([(-60_000, 1, 2, 0.5, 1.5, float("nan")), (0, 1.5, 3, 1.25, 2.75, 0.001)])


@given(rows)
@settings(deadline=None)
def test_a_table_of_arrow_has_every_bit_and_comes_back(rows: list[tuple[int, ...]]) -> None:
    table = np.array(rows, np.int64).reshape(-1, 6)
    bars = Bars(table[:, 0], *(np.ascontiguousarray(table[:, i]).view(np.float64) for i in range(1, 6)))
    arrow = bar_tables.to_arrow(bars)
    assert arrow.schema == bar_tables.SCHEMA
    assert same_bits(bar_tables.from_arrow(arrow), bars)
    assert same_bits(bar_tables.from_arrow(pa.concat_tables([arrow[:3], arrow[3:]])), bars)


def test_a_frame_of_pandas_is_indexed_by_time() -> None:
    frame = bar_tables.to_pandas(BARS)
    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert frame.index.tolist() == [pd.Timestamp("1969-12-31T23:59Z"), pd.Timestamp("1970-01-01T00:00Z")]
    assert [frame[name].to_numpy().tobytes() for name in frame] == [column.tobytes() for column in BARS.columns[1:]]


def test_a_frame_of_polars_has_the_same_columns() -> None:
    frame = bar_tables.to_polars(BARS)
    assert frame.schema == {"time": pl.Datetime("ms", "UTC"), **dict.fromkeys(bar_tables.NAMES[1:], pl.Float64)}
    assert same_bits(bar_tables.from_arrow(frame.to_arrow()), BARS)


@pytest.mark.parametrize(("name", "make"), [("pandas", bar_tables.to_pandas), ("polars", bar_tables.to_polars)])
def test_without_its_library_a_frame_is_refused_in_a_sentence(
    name: str, make: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as Python marks what cannot be imported
    with pytest.raises(Rejected, match=f"^{name} is not installed here: pip install {name}.$"):
        make(BARS)  # type: ignore[operator]


def test_a_table_without_a_column_or_a_time_is_malformed() -> None:
    arrow = bar_tables.to_arrow(BARS)
    with pytest.raises(Malformed, match="no column 'low'"):
        bar_tables.from_arrow(arrow.drop_columns(["low"]))
    with pytest.raises(Malformed, match="a bar without a time"):
        bar_tables.from_arrow(arrow.set_column(0, "time", pa.array([None, 0], pa.timestamp("ms", tz="UTC"))))
