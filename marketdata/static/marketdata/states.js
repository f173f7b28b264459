/** What the connection and the feed are doing, in words and in one of four looks; and what that means for the prices. */

const CONNECTIONS = {
  connecting: ["wait", "connecting…"],
  open: ["good", "connected"],
  waiting: ["bad", "connection lost, trying again"],
  closed: ["bad", "disconnected"],
};
const FEEDS = {
  live: ["good", "feed live"],
  stale: ["bad", "feed stale: no data although a market is open"],
  connecting: ["wait", "feed connecting"],
  reconnecting: ["wait", "feed reconnecting"],
  market_closed: ["calm", "markets closed"],
  standby: ["wait", "feed on standby"],
  stopped: ["bad", "feed stopped by the operator"],
  refused: ["bad", "feed refused by the source"],
};
const FRESH = ["live", "market_closed"];

/** [look, words] of a `connection` event. */
export function connectionWords({ state, reason }) {
  const [look, text] = CONNECTIONS[state];
  return [look, reason ? `${text} (${reason})` : text];
}

/** [look, words] of the feed's state. */
export function feedWords(feed) {
  return FEEDS[feed?.state] ?? ["bad", "feed not running"];
}

/** A sentence while the prices shown may be old, else "". `lostAt` is a time of day, null while connected. */
export function staleness(lostAt, feed) {
  if (lostAt) return `Not connected since ${lostAt}: the prices below are from before.`;
  if (!feed || FRESH.includes(feed.state)) return "";
  return `Prices may be old: ${feedWords(feed)[1]}.${feed.reason ? ` ${feed.reason}` : ""}`;
}
