"""Lines of cost over size as an SVG, side by side."""

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, MARGIN = 420, 300, 60

Costs = Mapping[float, Mapping[str, float]]


def svg(panels: Sequence[tuple[str, Costs]]) -> str:
    """Each panel: sizes → `wall_s`, drawn, and `grown_mb`, written beside the points."""
    drawn = "\n".join(_panel(number * WIDTH, title, costs) for number, (title, costs) in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(panels)}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n{drawn}\n</svg>\n'
    )


def _panel(left: int, title: str, costs: Costs) -> str:
    most, longest = max(costs), max(cost["wall_s"] for cost in costs.values())
    base, top = HEIGHT - MARGIN, MARGIN

    def place(size: float, seconds: float) -> tuple[float, float]:
        return left + MARGIN + size / most * (WIDTH - 2 * MARGIN), base - seconds / longest * (base - top)

    points = [place(size, cost["wall_s"]) for size, cost in sorted(costs.items())]
    x0, y0 = place(0, 0)
    parts = [
        f'<text x="{x0}" y="{top - 30}" font-size="13">seconds of a backfill over {title}</text>',
        f'<path d="M{x0} {top}V{y0}H{left + WIDTH - MARGIN}" fill="none" stroke="#888"/>',
        f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" stroke="#1565c0"/>',
    ]
    for (x, y), (size, cost) in zip(points, sorted(costs.items()), strict=True):
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1565c0"/>',
            f'<text x="{x:.1f}" y="{y0 + 16}" text-anchor="middle">{size:g}</text>',
            f'<text x="{x - 6:.1f}" y="{y - 6:.1f}" text-anchor="end">{cost["wall_s"]:.1f} s, '
            f"{cost['grown_mb']:.0f} MB</text>",
        ]
    return "\n".join(parts)
