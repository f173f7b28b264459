/** The live page: wires the live client, the watch list and the chart together. */

import { Candles } from "./candles.js";
import * as format from "./format.js";
import { LiveClient } from "./live-client.js";
import { Refusals } from "./refusals.js";
import { recall, remember } from "./remembered.js";
import { connectionWords, feedWords, staleness } from "./states.js";
import { COLUMNS } from "./row.js";
import { WatchList } from "./watchlist.js";

const FIRST_LIST = 200; // symbols of a visitor who has not chosen any
const CHOICES = 50; // offered while a symbol is typed
const SETTLE_MS = 120; // of the selection: arrow keys pass over rows whose charts nobody asked for
const AGAIN_MS = 4000;
const CLOSING_MS = 10_000; // how long after its close the closed bar may take

const element = (id) => document.getElementById(id);
const scheme = location.protocol === "https:" ? "wss" : "ws";
const client = new LiveClient(`${scheme}://${location.host}/ws/v1/`);
const list = new WatchList(element("watchlist"), { now: () => client.now() });
const candles = new Candles(element("chart"));
const known = new Map(); // symbol -> what /api/v1/symbols says
const refusals = new Refusals((item) => list.has(item) || item === watchedBar);
let chosenInterval = recall("interval", "1m");
let interval = chosenInterval; // shown: the chosen one where the symbol has it
let watchedBar = null;
let grantedBar = null; // the watched one, once the server has confirmed its subscription
let closesAtMs = null;
let feed = null;
let lostAt = null;
let showTimer = 0;

function say(node, text, look) {
  if (node.textContent !== text) node.textContent = text;
  if (look) node.dataset.look = look;
  node.hidden = !text;
}

const troubles = new Map(); // what about -> a sentence

/** Shows a problem until the same thing works again (""). */
function trouble(about, text) {
  if (text) troubles.set(about, text);
  else troubles.delete(about);
  say(element("problem"), [...troubles.values()].join(" · "));
}

// --- the connection ---

client.addEventListener("connection", ({ detail }) => {
  const isAnotherTry = lostAt && detail.state === "connecting"; // not worth another word, nor is its failure
  const [look, text] = connectionWords(detail);
  if (!isAnotherTry) say(element("connection"), text, look);
  document.body.dataset.connection = detail.state;
  element("reload").hidden = detail.state !== "closed";
  if (detail.state === "open") {
    lostAt = null;
    trouble("protocol", "");
  } else if (detail.state !== "connecting") {
    lostAt ??= new Date().toLocaleTimeString("en-GB");
    say(element("feed"), "feed unknown", "calm");
  }
  say(element("stale"), staleness(lostAt, feed));
});
client.addEventListener("hello", ({ detail }) => {
  element("simulated").hidden = !detail.simulated;
});
client.addEventListener("feed", ({ detail }) => {
  feed = detail ?? { state: "absent" };
  const [look, text] = feedWords(feed);
  say(element("feed"), text, look);
  element("feed").title = feed.reason ?? "";
  say(element("stale"), staleness(lostAt, feed));
});
client.addEventListener("recovery", ({ detail }) => {
  if (!detail.recovered) candles.recover();
});
client.addEventListener("quote", ({ detail }) => list.update(detail));
client.addEventListener("bar", ({ detail }) => {
  candles.update(detail);
  if (`${detail.s}@${detail.i}` === watchedBar && !detail.closed) {
    const delay_s = list.quote(detail.s)?.delay_s ?? list.info(detail.s)?.delay_s ?? 0;
    closesAtMs = detail.close_ms + delay_s * 1000;
  }
});
client.addEventListener("subscribed", ({ detail }) => {
  if (!detail.bars.includes(watchedBar)) {
    grantedBar = null; // an answer from before the subscription, or it is refused
  } else if (grantedBar !== watchedBar) {
    grantedBar = watchedBar;
    candles.recover(); // of bars that closed after the history was read, and before this
  }
  refusals.take(detail);
  trouble("refused", refusals.sentence);
});
client.addEventListener("problem", ({ detail }) => trouble("protocol", `${detail.message} (${detail.code})`));
addEventListener("online", () => client.connect());
element("reload").addEventListener("click", () => location.reload()); // leads to the login where one is needed

// --- the chart ---

candles.addEventListener("history", ({ detail }) => trouble("history", detail.failure));
candles.addEventListener("gaps", ({ detail: gaps }) => {
  const bars = gaps.reduce((sum, gap) => sum + gap.bars, 0);
  const what = gaps.length === 1 ? "1 gap" : `${gaps.length} gaps`;
  say(element("gaps"), gaps.length ? `${what}, ${bars.toLocaleString("en")} bars missing` : "");
});

function show(info, wanted) {
  const offered = info.intervals.length ? info.intervals : ["1m"];
  interval = offered.includes(wanted) ? wanted : offered[0];
  element("title").textContent = `${info.symbol} · ${info.description}`;
  const venue = info.full_name && info.full_name !== info.symbol ? `from ${info.full_name} (${info.venue})` : info.venue;
  const facts = [venue, format.delay(info.update_mode, info.delay_s), info.currency, info.timezone];
  element("facts").textContent = facts.filter(Boolean).join(" · ");
  drawIntervals(info, offered);
  closesAtMs = null;
  useZone();
  const bar = `${info.symbol}@${interval}`;
  if (watchedBar !== bar) {
    if (watchedBar) client.unsubscribe({ bars: [watchedBar] });
    [watchedBar, grantedBar] = [bar, null];
    trouble("refused", refusals.sentence);
  }
  candles.show(info, interval);
  client.subscribe({ bars: [bar] });
}

function drawIntervals(info, offered) {
  const hadFocus = element("intervals").contains(document.activeElement);
  const buttons = offered.map((name) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.setAttribute("aria-pressed", String(name === interval));
    button.addEventListener("click", () => {
      chosenInterval = name;
      remember("interval", name);
      show(info, name);
    });
    return button;
  });
  element("intervals").replaceChildren(...buttons);
  if (hadFocus) buttons.find((button) => button.textContent === interval)?.focus();
}

function useZone() {
  const local = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const exchange = list.info(list.selected)?.timezone || "UTC";
  candles.setZone({ utc: "UTC", local, exchange }[element("zone").value]);
}

setInterval(() => {
  const left = closesAtMs === null ? -Infinity : closesAtMs - client.now();
  const text = left > 0 ? `closes in ${format.countdown(left)}` : left > -CLOSING_MS ? "closing…" : "";
  if (element("countdown").textContent !== text) element("countdown").textContent = text;
}, 250);

// --- the watch list ---

list.addEventListener("select", ({ detail: info }) => {
  remember("selected", info.symbol);
  clearTimeout(showTimer);
  showTimer = setTimeout(() => show(info, chosenInterval), SETTLE_MS);
});
list.addEventListener("enter", () => element("chart").focus());
list.addEventListener("remove", ({ detail: symbol }) => remove(symbol));
list.addEventListener("sort", ({ detail: { column, down } }) => {
  remember("sort", { column, down });
  element("said").textContent = `Sorted by ${column}, ${down ? "descending" : "ascending"}`;
});

function add(symbols) {
  const added = symbols.filter((one) => known.has(one) && !list.has(one));
  list.add(added.map((symbol) => known.get(symbol)));
  if (added.length) client.subscribe({ quotes: added });
  element("empty").hidden = list.symbols.length > 0;
}

function remove(symbol) {
  const next = list.neighbour(symbol);
  list.remove([symbol]);
  client.unsubscribe({ quotes: [symbol] });
  trouble("refused", refusals.sentence);
  if (next) list.select(next);
  remember("watched", list.symbols);
  element("empty").hidden = list.symbols.length > 0;
  element("said").textContent = `${symbol} removed from the list`;
}

element("filter").addEventListener("input", ({ target }) => {
  list.filter(target.value);
  element("said").textContent = target.value ? `${list.size} symbols found` : "";
});
element("symbol").addEventListener("input", ({ target }) => offer(target.value.trim().toUpperCase()));
element("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const symbol = element("symbol").value.trim().toUpperCase();
  if (!known.has(symbol)) await loadSymbols(); // staff may have added it since
  if (!known.has(symbol)) {
    trouble("add", `${symbol || "Nothing"} is not a symbol of this platform; staff add symbols in the admin.`);
    return;
  }
  trouble("add", "");
  add([symbol]);
  remember("watched", list.symbols);
  list.select(symbol);
  element("symbol").value = "";
  element("said").textContent = `${symbol} is in the list`;
});
element("remove").addEventListener("click", () => list.selected && remove(list.selected));

/** Symbols that hold the text, of those that are not in the list. */
function offer(text) {
  const found = [];
  for (const { symbol, description } of known.values()) {
    if (found.length >= CHOICES) break;
    if (list.has(symbol) || !`${symbol} ${description}`.toUpperCase().includes(text)) continue;
    found.push(Object.assign(document.createElement("option"), { value: symbol, label: description }));
  }
  element("choices").replaceChildren(...found);
}

// --- the page ---

addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    element("filter").focus();
  } else if (event.key === "Escape" && (isTyping || event.target === element("chart"))) {
    element("watchlist").focus();
  }
});
element("zone").addEventListener("change", ({ target }) => {
  remember("zone", target.value);
  useZone();
});
element("theme").addEventListener("click", () => {
  const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
  useTheme(dark ? "light" : "dark");
  remember("theme", document.documentElement.dataset.theme);
});

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  candles.restyle();
}

/** False where they did not come; a problem is then shown. */
async function loadSymbols() {
  try {
    const response = await fetch("/api/v1/symbols");
    if (response.status === 401) location.reload(); // leads to the login
    if (!response.ok) throw new Error(response.statusText);
    for (const info of await response.json()) known.set(info.symbol, info);
    trouble("symbols", "");
    return true;
  } catch (error) {
    trouble("symbols", `The list of symbols did not load, trying again: ${error.message}`);
    return false;
  }
}

async function start() {
  const theme = recall("theme", null, (value) => value === "light" || value === "dark");
  if (theme) useTheme(theme);
  element("zone").value = recall("zone", "utc", (value) => ["utc", "exchange", "local"].includes(value));
  const isSort = (value) => COLUMNS.some(({ name }) => name === value.column);
  const { column, down } = recall("sort", { column: null, down: false }, isSort);
  if (column) list.sort(column, Boolean(down));
  client.connect();
  while (!(await loadSymbols())) await new Promise((again) => setTimeout(again, AGAIN_MS * (0.5 + Math.random())));
  const active = [...known.values()].filter((info) => info.active).map((info) => info.symbol);
  add(recall("watched", active.slice(0, FIRST_LIST), Array.isArray));
  list.select(recall("selected", ""));
  if (!list.selected && list.symbols.length) list.select(list.symbols[0]);
}

start();
