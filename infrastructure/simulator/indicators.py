"""Technical columns of the scanner from bars, with the usual parameters; one value for each bar. Pure.

`P.SAR` alone is a stand-in (the lowest low of five bars); the rest follow their textbook definitions.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from infrastructure.bars import Bars

Values = NDArray[np.float64]
_AVERAGE = re.compile(r"(SMA|EMA)(\d{1,3})")


def column(name: str, bars: Bars) -> Values | None:
    """The column of that name; None where there is none."""
    average = _AVERAGE.fullmatch(name)
    if average:
        return (sma if average[1] == "SMA" else ema)(bars.close, int(average[2]))
    found = _COLUMNS.get(name)
    return None if found is None else found(bars)


def known(name: str) -> bool:
    return bool(_AVERAGE.fullmatch(name)) or name in _COLUMNS


def _rolled(values: Values, n: int, reduce: Callable[..., Values]) -> Values:
    if len(values) < n:
        return np.full(len(values), np.nan)
    return np.concatenate((np.full(n - 1, np.nan), reduce(sliding_window_view(values, n), axis=-1)))


def sma(values: Values, n: int) -> Values:
    return _rolled(values, n, np.mean)


def _smoothed(values: Values, alpha: float) -> Values:
    out, state = np.empty(len(values)), float("nan")
    for place, value in enumerate(values.tolist()):
        state = value if state != state else state + alpha * (value - state)
        out[place] = state
    return out


def ema(values: Values, n: int) -> Values:
    return _smoothed(values, 2 / (n + 1))


def wilder(values: Values, n: int) -> Values:
    return _smoothed(values, 1 / n)


def _change(values: Values, n: int = 1) -> Values:
    return np.concatenate((np.full(min(n, len(values)), np.nan), values[n:] - values[:-n]))


def rsi(values: Values, n: int = 14) -> Values:
    change = np.nan_to_num(_change(values))
    up, down = wilder(np.maximum(change, 0), n), wilder(np.maximum(-change, 0), n)
    return 100 - 100 / (1 + up / np.maximum(down, 1e-12))


def _position(value: Values, high: Values, low: Values, n: int) -> Values:
    """Where a value stands in the range of n bars, 0 to 100."""
    top, bottom = _rolled(high, n, np.max), _rolled(low, n, np.min)
    return 100 * (value - bottom) / np.maximum(top - bottom, 1e-12)


def _true_range(bars: Bars) -> Values:
    before = np.concatenate((bars.close[:1], bars.close[:-1]))
    return np.maximum(bars.high, before) - np.minimum(bars.low, before)


def _directional(bars: Bars, up: bool, n: int = 14) -> Values:
    rise, fall = np.nan_to_num(_change(bars.high)), np.nan_to_num(-_change(bars.low))
    moved = np.where((rise > fall) & (rise > 0), rise, 0) if up else np.where((fall > rise) & (fall > 0), fall, 0)
    return 100 * wilder(moved.astype(float), n) / np.maximum(wilder(_true_range(bars), n), 1e-12)


def _adx(bars: Bars) -> Values:
    plus, minus = _directional(bars, True), _directional(bars, False)
    return wilder(100 * np.abs(plus - minus) / np.maximum(plus + minus, 1e-12), 14)


def _cci(bars: Bars) -> Values:
    typical = (bars.high + bars.low + bars.close) / 3
    spread = _rolled(typical, 20, lambda w, axis: np.mean(np.abs(w - np.mean(w, axis=axis, keepdims=True)), axis=axis))
    return (typical - sma(typical, 20)) / (0.015 * np.maximum(spread, 1e-12))


def _ultimate(bars: Bars) -> Values:
    before = np.concatenate((bars.close[:1], bars.close[:-1]))
    pressure, reach = bars.close - np.minimum(bars.low, before), _true_range(bars)
    parts = [_rolled(pressure, n, np.sum) / np.maximum(_rolled(reach, n, np.sum), 1e-12) for n in (7, 14, 28)]
    return 100 * (4 * parts[0] + 2 * parts[1] + parts[2]) / 7


def _weighted(values: Values, n: int) -> Values:
    weights = np.arange(1, n + 1) / (n * (n + 1) / 2)
    return _rolled(values, n, lambda window, axis: window @ weights)


def _hull(bars: Bars) -> Values:
    return _weighted(2 * _weighted(bars.close, 4) - _weighted(bars.close, 9), 3)


def _vwma(bars: Bars) -> Values:
    volume = np.nan_to_num(bars.volume, nan=1.0)
    return sma(bars.close * volume, 20) / np.maximum(sma(volume, 20), 1e-12)


def _macd(bars: Bars) -> Values:
    return ema(bars.close, 12) - ema(bars.close, 26)


def _band(bars: Bars, side: int) -> Values:
    return sma(bars.close, 20) + side * 2 * _rolled(bars.close, 20, np.std)


def _awesome(bars: Bars) -> Values:
    middle = (bars.high + bars.low) / 2
    return sma(middle, 5) - sma(middle, 34)


def _stochastic(bars: Bars) -> Values:
    return sma(np.nan_to_num(_position(bars.close, bars.high, bars.low, 14)), 3)


def _stochastic_rsi(bars: Bars) -> Values:
    strength = rsi(bars.close)
    return sma(np.nan_to_num(_position(strength, strength, strength, 14)), 3)


def _base_line(bars: Bars) -> Values:
    return (_rolled(bars.high, 26, np.max) + _rolled(bars.low, 26, np.min)) / 2


def _above(*lines: Values, close: Values) -> Values:
    return np.mean([np.sign(close - np.nan_to_num(line, nan=0.0)) for line in lines], axis=0)


def _averages_vote(bars: Bars) -> Values:
    lines = [average(bars.close, n) for n in (10, 20, 30, 50, 100, 200) for average in (sma, ema)]
    known_lines = [np.where(np.isnan(line), bars.close, line) for line in lines]
    return _above(*known_lines, close=bars.close)


def _oscillators_vote(bars: Bars) -> Values:
    votes = [
        _outside(rsi(bars.close), 30, 70),
        _outside(_stochastic(bars), 20, 80),
        _outside(_cci(bars), -100, 100),
        np.sign(np.nan_to_num(_change(bars.close, 10))),
        np.sign(_macd(bars) - ema(_macd(bars), 9)),
        _outside(_position(bars.close, bars.high, bars.low, 14) - 100, -80, -20),
    ]
    return np.mean(votes, axis=0)


def _outside(values: Values, low: float, high: float) -> Values:
    return np.where(values < low, 1.0, np.where(values > high, -1.0, 0.0))


_COLUMNS: dict[str, Callable[[Bars], Values]] = {
    "RSI": lambda bars: rsi(bars.close),
    "RSI7": lambda bars: rsi(bars.close, 7),
    "Stoch.K": _stochastic,
    "Stoch.D": lambda bars: sma(_stochastic(bars), 3),
    "Stoch.RSI.K": _stochastic_rsi,
    "Stoch.RSI.D": lambda bars: sma(_stochastic_rsi(bars), 3),
    "CCI20": _cci,
    "ADX": _adx,
    "ADX+DI": lambda bars: _directional(bars, True),
    "ADX-DI": lambda bars: _directional(bars, False),
    "AO": _awesome,
    "Mom": lambda bars: _change(bars.close, 10),
    "MACD.macd": _macd,
    "MACD.signal": lambda bars: ema(_macd(bars), 9),
    "MACD.hist": lambda bars: _macd(bars) - ema(_macd(bars), 9),
    "W.R": lambda bars: _position(bars.close, bars.high, bars.low, 14) - 100,
    "BBPower": lambda bars: bars.high + bars.low - 2 * ema(bars.close, 13),
    "UO": _ultimate,
    "ATR": lambda bars: wilder(_true_range(bars), 14),
    "BB.upper": lambda bars: _band(bars, 1),
    "BB.lower": lambda bars: _band(bars, -1),
    "Ichimoku.BLine": _base_line,
    "VWMA": _vwma,
    "HullMA9": _hull,
    "P.SAR": lambda bars: _rolled(bars.low, 5, np.min),
    "Recommend.MA": _averages_vote,
    "Recommend.Other": _oscillators_vote,
    "Recommend.All": lambda bars: (_averages_vote(bars) + _oscillators_vote(bars)) / 2,
    "Rec.Stoch.RSI": lambda bars: _outside(_stochastic_rsi(bars), 20, 80),
    "Rec.WR": lambda bars: _outside(_position(bars.close, bars.high, bars.low, 14) - 100, -80, -20),
    "Rec.BBPower": lambda bars: np.sign(bars.high + bars.low - 2 * ema(bars.close, 13)),
    "Rec.UO": lambda bars: -_outside(_ultimate(bars), 30, 70),
    "Rec.Ichimoku": lambda bars: _above(_base_line(bars), close=bars.close),
    "Rec.VWMA": lambda bars: _above(_vwma(bars), close=bars.close),
    "Rec.HullMA9": lambda bars: _above(_hull(bars), close=bars.close),
}

_CAMARILLA = {1: 12, 2: 6, 3: 4}
_FIBONACCI = {1: 0.382, 2: 0.618, 3: 1.0}


def pivot(name: str, open: float, high: float, low: float, close: float) -> float | None:
    """`Pivot.M.<kind>.<level>` from the month before; None where there is no such column."""
    _, _, kind, level = (name.split(".") + [""] * 4)[:4]
    reach, middle = high - low, (high + low + close) / 3
    if kind == "Demark":
        sum_ = (
            2 * low + high + close
            if close < open
            else 2 * high + low + close
            if close > open
            else high + low + 2 * close
        )
        return {"Middle": sum_ / 4, "R1": sum_ / 2 - low, "S1": sum_ / 2 - high}.get(level)
    if kind == "Woodie":
        middle = (high + low + 2 * close) / 4
    if level == "Middle":
        return middle if kind in ("Classic", "Fibonacci", "Camarilla", "Woodie") else None
    if len(level) != 2 or level[0] not in "RS" or level[1] not in "123":
        return None
    side, n = (1 if level[0] == "R" else -1), int(level[1])
    if kind == "Fibonacci":
        return middle + side * _FIBONACCI[n] * reach
    if kind == "Camarilla":
        return close + side * 1.1 * reach / _CAMARILLA[n]
    if kind not in ("Classic", "Woodie"):
        return None
    edge = low if side > 0 else high
    return {1: 2 * middle - edge, 2: middle + side * reach, 3: 2 * middle - edge + side * reach}[n]
