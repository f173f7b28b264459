/** The table of symbols: one row each, cells flash as they change, sorted and filtered in place. */

import * as format from "./format.js";

const COLUMNS = ["symbol", "last", "change", "bid", "ask", "volume", "session", "delay", "age"];
const NUMERIC = new Set(["last", "change", "bid", "ask", "volume", "age"]);

export class WatchList extends EventTarget {
  #body;
  #rows = new Map(); // symbol -> { info, quote, row, cells }
  #selected = null;
  #sort = { column: null, down: false };
  #filter = "";
  #dirty = new Set();

  constructor(table) {
    super();
    this.#body = table.tBodies[0];
    for (const button of table.querySelectorAll("th button")) {
      button.addEventListener("click", () => this.#sortBy(button.dataset.column, table));
    }
    this.#body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (row) this.select(row.dataset.symbol);
    });
    this.#body.addEventListener("keydown", (event) => this.#key(event));
    setInterval(() => this.#showAges(), 1000);
  }

  get symbols() {
    return [...this.#rows.keys()];
  }

  get selected() {
    return this.#selected;
  }

  info(symbol) {
    return this.#rows.get(symbol)?.info;
  }

  add(info) {
    if (this.#rows.has(info.symbol)) return;
    const row = this.#body.insertRow();
    row.dataset.symbol = info.symbol;
    row.tabIndex = this.#rows.size ? -1 : 0;
    row.setAttribute("aria-selected", "false");
    const cells = Object.fromEntries(COLUMNS.map((name) => [name, row.insertCell()]));
    for (const name of COLUMNS) cells[name].className = NUMERIC.has(name) ? `number ${name}` : name;
    const [exchange, ticker] = info.symbol.split(":");
    const strong = Object.assign(document.createElement("strong"), { textContent: ticker });
    const small = Object.assign(document.createElement("small"), { textContent: `${exchange} · ${info.description}` });
    cells.symbol.append(strong, small);
    cells.delay.textContent = format.delay(info.update_mode, info.delay_s);
    cells.delay.title = info.full_name ? `prices from ${info.full_name} (${info.venue})` : "";
    this.#rows.set(info.symbol, { info, quote: null, row, cells, digits: format.decimals(info.price_scale) });
  }

  remove(symbol) {
    this.#rows.get(symbol)?.row.remove();
    this.#rows.delete(symbol);
  }

  /** Keeps the quote; the cells follow in the next frame, so that a burst costs one painting. */
  update(quote) {
    const entry = this.#rows.get(quote.s);
    if (!entry) return;
    entry.next = quote;
    if (!this.#dirty.size) requestAnimationFrame(() => this.#paint());
    this.#dirty.add(entry);
  }

  select(symbol) {
    const entry = this.#rows.get(symbol);
    if (!entry || symbol === this.#selected) return;
    const before = this.#rows.get(this.#selected);
    for (const [one, on] of [[before, false], [entry, true]]) {
      one?.row.setAttribute("aria-selected", String(on));
      if (one) one.row.tabIndex = on ? 0 : -1;
    }
    this.#selected = symbol;
    this.dispatchEvent(new CustomEvent("select", { detail: entry.info }));
  }

  filter(text) {
    this.#filter = text.trim().toLowerCase();
    for (const { info, row } of this.#rows.values()) {
      row.hidden = !`${info.symbol} ${info.description}`.toLowerCase().includes(this.#filter);
    }
  }

  #paint() {
    for (const entry of this.#dirty) {
      const { cells, digits, quote: before, next } = entry;
      const stale = next.snapshot; // what was known already does not flash
      const put = (name, text, direction = 0) => {
        const cell = cells[name];
        if (cell.textContent === text) return;
        cell.textContent = text;
        if (!stale && before) flash(cell, direction);
      };
      const moved = Math.sign((next.last ?? 0) - (before?.last ?? next.last ?? 0));
      put("last", format.price(next.last, digits), moved);
      put("change", format.percent(next.chp), moved);
      put("bid", format.price(next.bid, digits), Math.sign((next.bid ?? 0) - (before?.bid ?? 0)));
      put("ask", format.price(next.ask, digits), Math.sign((next.ask ?? 0) - (before?.ask ?? 0)));
      put("volume", format.volume(next.vol));
      cells.change.dataset.sign = Math.sign(next.chp ?? 0);
      cells.session.textContent = format.session(next.session);
      cells.session.dataset.session = next.session ?? "";
      if (next.mode) cells.delay.textContent = format.delay(next.mode, next.delay_s);
      entry.quote = next;
    }
    this.#dirty.clear();
  }

  #showAges() {
    const now = Date.now();
    for (const { quote, cells } of this.#rows.values()) {
      cells.age.textContent = format.age(quote?.last_ms == null ? null : now - quote.last_ms);
    }
  }

  #sortBy(column, table) {
    this.#sort = { column, down: this.#sort.column === column && !this.#sort.down };
    const key = {
      symbol: (e) => e.info.symbol,
      last: (e) => e.quote?.last,
      change: (e) => e.quote?.chp,
      bid: (e) => e.quote?.bid,
      ask: (e) => e.quote?.ask,
      volume: (e) => e.quote?.vol,
      session: (e) => e.quote?.session,
      delay: (e) => e.info.delay_s,
      age: (e) => -(e.quote?.last_ms ?? 0),
    }[column];
    const sorted = [...this.#rows.values()].sort((a, b) => compare(key(a), key(b)));
    if (this.#sort.down) sorted.reverse();
    this.#body.append(...sorted.map((entry) => entry.row));
    for (const th of table.tHead.rows[0].cells) {
      const mine = th.querySelector("button")?.dataset.column === column;
      th.setAttribute("aria-sort", mine ? (this.#sort.down ? "descending" : "ascending") : "none");
    }
  }

  #key(event) {
    const rows = [...this.#body.rows].filter((row) => !row.hidden);
    const at = rows.indexOf(event.target.closest("tr"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to !== undefined && rows[to]) {
      rows[to].focus();
      this.select(rows[to].dataset.symbol);
      event.preventDefault();
    } else if (event.key === "Enter" || event.key === " ") {
      this.select(rows[at].dataset.symbol);
      event.preventDefault();
    } else if (event.key === "Delete") {
      this.dispatchEvent(new CustomEvent("remove", { detail: rows[at].dataset.symbol }));
    }
  }
}

function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Two classes with the same look take turns, so that a second change restarts the animation without a reflow. */
function flash(cell, direction) {
  const name = direction > 0 ? "up" : direction < 0 ? "down" : "same";
  const turn = cell.dataset.turn === "a" ? "b" : "a";
  cell.dataset.turn = turn;
  cell.dataset.flash = `${name}-${turn}`;
}
