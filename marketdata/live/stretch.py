"""How often browsers are flushed: the configured interval, longer while the process is short of time. Pure."""

LONGEST_S = 1.0
GROW, SHRINK = 1.5, 1.2
BUSY, IDLE = 0.75, 0.5  # shares of the interval; the gap between them keeps it from swinging


def next_interval(base_s: float, current_s: float, busy_s: float, late_s: float) -> float:
    """The interval of the next round, after one that spent `busy_s` on sending and woke `late_s` late on average.

    A fixed rate under overload starves the reader of new data, and the delay grows without bound.
    """
    share = (busy_s + late_s) / current_s
    if share > BUSY:
        return min(current_s * GROW, max(LONGEST_S, base_s))
    if share < IDLE:
        return max(current_s / SHRINK, base_s)
    return current_s
