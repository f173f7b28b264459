/** Closed bars and gaps of the platform, over its HTTP API; used by the chart. */

const LONGEST_ASK_MS = 30_000;

/** Bars as { t, o, h, l, c, v }, ascending, and whether the store has more on the side that was cut. */
export async function fetchBars(symbol, interval, range, signal) {
  const { bars, more } = await get("bars", { symbol, interval, ...range }, signal);
  return { bars: bars.map(([t, o, h, l, c, v]) => ({ t, o, h, l, c, v, closed: true })), more };
}

/** Stretches of trading time that open in [startMs, endMs) and whose bars are missing: [{ start, end, bars }]. */
export async function fetchGaps(symbol, interval, startMs, endMs, signal) {
  const { gaps } = await get("gaps", { symbol, interval, start_ms: startMs, end_ms: endMs }, signal);
  return (gaps ?? []).map(([start, end, bars]) => ({ start, end, bars })); // null: the trading hours are unknown
}

async function get(what, query, signal) {
  const limit = AbortSignal.timeout(LONGEST_ASK_MS);
  const response = await fetch(`/api/v1/${what}?${new URLSearchParams(query)}`, { signal: AbortSignal.any([signal, limit]) });
  const answer = await response.json().catch(() => ({}));
  signal.throwIfAborted();
  if (!response.ok) throw new Error(answer.detail ?? response.statusText);
  return answer;
}

/** Two ascending lists as one; where both have a time, a closed bar wins over a forming one, then the second. */
export function merge(older, newer) {
  const byTime = new Map(older.map((bar) => [bar.t, bar]));
  for (const bar of newer) {
    if (bar.closed || !byTime.get(bar.t)?.closed) byTime.set(bar.t, bar);
  }
  return [...byTime.values()].sort((a, b) => a.t - b.t);
}
