"""Filters of a scanner request against the columns of one row. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Lookup = Callable[[str], Any]


def passes(body: dict[str, Any], column: Lookup) -> bool:
    """All of `filter`, and the tree of `filter2`."""
    tree = body.get("filter2")
    return all(_holds(expression, column) for expression in body.get("filter") or ()) and (
        not tree or _tree(tree, column)
    )


def _tree(node: dict[str, Any], column: Lookup) -> bool:
    results = (
        _holds(part["expression"], column) if "expression" in part else _tree(part["operation"], column)
        for part in node["operands"]
    )
    return any(results) if node["operator"] == "or" else all(results)


def _holds(expression: dict[str, Any], column: Lookup) -> bool:
    name, right = expression["operation"], expression.get("right")
    left = column(expression["left"])
    if name in ("empty", "nempty"):
        return (left is None) == (name == "empty")
    if left is None:
        return False
    if isinstance(left, int | float) and not isinstance(left, bool):
        right = _numbers(right, column)
    return _OPERATIONS.get(name, _unsupported)(left, right)


def _numbers(right: Any, column: Lookup) -> Any:
    """A column may be compared with another column."""
    if isinstance(right, str):
        return column(right)
    return [column(value) if isinstance(value, str) else value for value in right] if isinstance(right, list) else right


def _inside(left: Any, right: list[Any]) -> bool:
    """Two numbers are a range; anything else is a list of choices."""
    if len(right) == 2 and all(isinstance(value, int | float) for value in right):
        return bool(right[0] <= left <= right[1])
    return left in right


def _shares(left: Any, right: Any) -> bool:
    wanted = right if isinstance(right, list) else [right]
    return any(value in left for value in wanted)


def _unsupported(left: Any, right: Any) -> bool:
    """Crossings and the like: true for no row."""
    return False


_OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "greater": lambda left, right: right is not None and left > right,
    "egreater": lambda left, right: right is not None and left >= right,
    "less": lambda left, right: right is not None and left < right,
    "eless": lambda left, right: right is not None and left <= right,
    "equal": lambda left, right: left == right,
    "nequal": lambda left, right: left != right,
    "in_range": _inside,
    "not_in_range": lambda left, right: not _inside(left, right),
    "match": lambda left, right: str(right).lower() in str(left).lower(),
    "nmatch": lambda left, right: str(right).lower() not in str(left).lower(),
    "has": _shares,
    "has_none_of": lambda left, right: not _shares(left, right),
    "above%": lambda left, right: left > right[0] * right[1],
    "below%": lambda left, right: left < right[0] * right[1],
    "in_range%": lambda left, right: right[0] * right[1] <= left <= right[0] * right[2],
    "not_in_range%": lambda left, right: not right[0] * right[1] <= left <= right[0] * right[2],
}
