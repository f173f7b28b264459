/** The live page: wires the live client, the watch list and the chart together. */

import { Candles } from "./candles.js";
import * as format from "./format.js";
import { LiveClient } from "./live-client.js";
import { WatchList } from "./watchlist.js";

const element = (id) => document.getElementById(id);
const remembered = {
  get: (key, otherwise) => JSON.parse(localStorage.getItem(`marketdata.${key}`) ?? "null") ?? otherwise,
  set: (key, value) => localStorage.setItem(`marketdata.${key}`, JSON.stringify(value)),
};

const scheme = location.protocol === "https:" ? "wss" : "ws";
const client = new LiveClient(`${scheme}://${location.host}/ws/v1/`);
const list = new WatchList(element("watchlist"));
const candles = new Candles(element("chart"), { onError: (text) => say(element("problem"), text) });
const known = new Map(); // symbol -> what /api/v1/symbols says
let interval = remembered.get("interval", "1m");
let watchedBar = null;
let closesAtMs = null;

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

function say(node, text, look) {
  if (node.textContent !== text) node.textContent = text;
  if (look) node.dataset.look = look;
  node.hidden = !text;
}

client.addEventListener("connection", ({ detail }) => {
  const [look, text] = CONNECTIONS[detail.state];
  say(element("connection"), detail.reason ? `${text} (${detail.reason})` : text, look);
  document.body.dataset.connection = detail.state;
});
client.addEventListener("hello", ({ detail }) => {
  element("simulated").hidden = !detail.simulated;
  candles.refresh();
});
client.addEventListener("feed", ({ detail }) => {
  const [look, text] = FEEDS[detail?.state] ?? ["bad", "feed not running"];
  say(element("feed"), text, look);
  element("feed").title = detail?.reason ?? "";
});
client.addEventListener("quote", ({ detail }) => list.update(detail));
client.addEventListener("bar", ({ detail }) => {
  candles.update(detail);
  if (detail.s === list.selected && detail.i === interval) closesAtMs = detail.close_ms;
});
client.addEventListener("refused", ({ detail }) => say(element("problem"), `${detail.item}: ${detail.reason}`));
client.addEventListener("problem", ({ detail }) => say(element("problem"), `${detail.message} (${detail.code})`));

list.addEventListener("select", ({ detail: info }) => show(info, interval));
list.addEventListener("remove", ({ detail: symbol }) => watch(list.symbols.filter((one) => one !== symbol)));

function show(info, wanted) {
  const offered = info.intervals.length ? info.intervals : ["1m"];
  interval = offered.includes(wanted) ? wanted : offered[0];
  remembered.set("selected", info.symbol);
  remembered.set("interval", interval);
  element("title").textContent = `${info.symbol} · ${info.description}`;
  const venue = info.full_name && info.full_name !== info.symbol ? `from ${info.full_name} (${info.venue})` : info.venue;
  element("facts").textContent = [venue, format.delay(info.update_mode, info.delay_s), info.currency, info.timezone]
    .filter(Boolean)
    .join(" · ");
  element("intervals").replaceChildren(...offered.map((name) => intervalButton(info, name)));
  closesAtMs = null;
  const bar = `${info.symbol}@${interval}`;
  if (watchedBar && watchedBar !== bar) client.unsubscribe({ bars: [watchedBar] });
  watchedBar = bar;
  candles.show(info, interval).then(() => client.subscribe({ bars: [bar] }));
}

function intervalButton(info, name) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
  button.setAttribute("aria-pressed", String(name === interval));
  button.addEventListener("click", () => show(info, name));
  return button;
}

/** Makes the watch list hold exactly these symbols, and remembers them. */
function watch(symbols) {
  const gone = list.symbols.filter((one) => !symbols.includes(one));
  for (const symbol of gone) list.remove(symbol);
  if (gone.length) client.unsubscribe({ quotes: gone });
  const added = symbols.filter((one) => !list.symbols.includes(one));
  for (const symbol of added) list.add(known.get(symbol));
  if (added.length) client.subscribe({ quotes: added });
  remembered.set("watched", symbols);
  element("empty").hidden = list.symbols.length > 0;
  element("choices").replaceChildren(
    ...[...known.values()]
      .filter((info) => !list.symbols.includes(info.symbol))
      .map((info) => Object.assign(document.createElement("option"), { value: info.symbol, label: info.description })),
  );
}

element("filter").addEventListener("input", ({ target }) => list.filter(target.value));
element("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = element("symbol");
  const symbol = field.value.trim().toUpperCase();
  if (!known.has(symbol)) {
    say(element("problem"), `${symbol || "Nothing"} is not a symbol of this platform; staff add symbols in the admin.`);
    return;
  }
  say(element("problem"), "");
  watch([...new Set([...list.symbols, symbol])]);
  list.select(symbol);
  field.value = "";
});
element("remove").addEventListener("click", () => {
  if (list.selected) watch(list.symbols.filter((one) => one !== list.selected));
});
element("zone").addEventListener("change", ({ target }) => {
  remembered.set("zone", target.value);
  useZone();
});
element("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  remembered.set("theme", document.documentElement.dataset.theme);
  candles.restyle();
});

function useZone() {
  const choice = element("zone").value;
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const exchange = list.info(list.selected)?.timezone || "UTC";
  candles.setZone({ utc: "UTC", local, exchange }[choice]);
}
list.addEventListener("select", useZone);

setInterval(() => {
  const left = closesAtMs === null ? null : closesAtMs - Date.now();
  element("countdown").textContent = left !== null && left > 0 ? `closes in ${format.countdown(left)}` : "";
}, 250);

async function start() {
  const theme = remembered.get("theme", null);
  if (theme) document.documentElement.dataset.theme = theme;
  candles.restyle();
  element("zone").value = remembered.get("zone", "utc");
  client.connect();
  const response = await fetch("/api/v1/symbols");
  if (!response.ok) {
    say(element("problem"), response.status === 401 ? "Please log in to watch." : "The list of symbols did not load.");
    return;
  }
  for (const info of await response.json()) known.set(info.symbol, info);
  const all = [...known.values()].filter((info) => info.active).map((info) => info.symbol);
  const chosen = remembered.get("watched", all).filter((symbol) => known.has(symbol));
  watch(chosen.length ? chosen : all);
  list.select(remembered.get("selected", list.symbols[0]));
  if (!list.selected && list.symbols.length) list.select(list.symbols[0]);
}

start().catch((error) => say(element("problem"), error.message));
