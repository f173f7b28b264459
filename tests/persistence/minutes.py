"""Bars of a minute with drawn prices, and the documents that they become."""

import numpy as np

from infrastructure.bars import Bars
from infrastructure.persistence import Database

MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01, a Monday


def minutes(n: int, start: int = START, seed: int = 1) -> Bars:
    random = np.random.default_rng(seed)
    prices = 100 + random.integers(-500, 500, (4, n)) / 100
    return Bars(start + MINUTE * np.arange(n), *prices, random.integers(0, 1000, n).astype(float))


def chunks(database: Database) -> list[dict[str, object]]:
    return list(database.collection("bar_chunk").find().sort("_id"))
