/**
 * The grid of symbols. Rows exist only for what is in view and a little around it, and everything is written in one
 * animation frame: a thousand symbols cost what thirty do. Used by the page, which owns the choice of symbols.
 *
 * Events: select (detail: information of the symbol), remove (detail: the symbol), sort (detail: { column, down }),
 * enter (the chart of the selected symbol is wanted).
 */

import { COLUMNS, Row } from "./row.js";

const AROUND = 16; // rows kept above and below those in view, so that scrolling finds them painted
const ROW_PX = 44; // as in live.css

export class WatchList extends EventTarget {
  #table;
  #body;
  #box; // scrolls
  #above;
  #below;
  #entries = new Map(); // symbol -> { info, quote, row, isNew, flashing }
  #order = []; // the symbols shown, sorted and filtered
  #selected = null;
  #sort = { column: null, down: false };
  #filter = "";
  #dirty = new Set(); // entries with a quote that is not painted
  #isDue = false; // a frame has been asked for
  #mustLayOut = false;
  #now;

  /** `now` gives the server's time in ms: the age of a price is told by its clock. */
  constructor(table, { now }) {
    super();
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#box = table.parentElement;
    this.#now = now;
    [this.#above, this.#below] = [spacer(), spacer()];
    this.#body.append(this.#above, this.#below);
    for (const button of table.querySelectorAll("th button")) {
      button.addEventListener("click", () => this.#toggle(button.dataset.column));
    }
    this.#body.addEventListener("click", (event) => {
      const symbol = event.target.closest("tr")?.dataset.symbol;
      if (symbol) this.select(symbol);
    });
    table.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("scroll", () => this.#layOut(), { passive: true });
    new ResizeObserver(() => this.#layOut()).observe(this.#box);
    setInterval(() => this.#second(), 1000);
  }

  /** In the order in which they were added. */
  get symbols() {
    return [...this.#entries.keys()];
  }

  get selected() {
    return this.#selected;
  }

  has(symbol) {
    return this.#entries.has(symbol);
  }

  info(symbol) {
    return this.#entries.get(symbol)?.info;
  }

  quote(symbol) {
    return this.#entries.get(symbol)?.quote;
  }

  add(infos) {
    for (const info of infos) {
      if (!this.#entries.has(info.symbol)) {
        this.#entries.set(info.symbol, { info, quote: null, row: null, flashing: false });
      }
    }
    this.#arrange();
  }

  remove(symbols) {
    for (const symbol of symbols) {
      const entry = this.#entries.get(symbol);
      entry?.row?.element.remove();
      this.#dirty.delete(entry);
      this.#entries.delete(symbol);
      if (symbol === this.#selected) this.#selected = null;
    }
    this.#arrange();
  }

  /** Keeps the newest quote; the cells follow in the next frame, so that a burst costs one painting. */
  update(quote) {
    const entry = this.#entries.get(quote.s);
    if (!entry) return;
    entry.quote = quote;
    entry.flashing = !quote.snapshot;
    if (entry.row) this.#dirty.add(entry);
    if (this.#dirty.size) this.#schedule();
  }

  select(symbol) {
    const entry = this.#entries.get(symbol);
    if (!entry || symbol === this.#selected) return;
    this.#selected = symbol;
    this.#layOut();
    this.dispatchEvent(new CustomEvent("select", { detail: entry.info }));
  }

  filter(text) {
    this.#filter = text.trim().toLowerCase();
    this.#arrange();
  }

  /** `column` null: as they were added. */
  sort(column, down) {
    this.#sort = { column, down };
    for (const th of this.#table.tHead.rows[0].cells) {
      const mine = th.querySelector("button").dataset.column === column;
      th.setAttribute("aria-sort", mine ? (down ? "descending" : "ascending") : "none");
    }
    this.#arrange();
  }

  /** The symbol that takes the place of one that is to be removed. */
  neighbour(symbol) {
    const at = this.#order.indexOf(symbol);
    return this.#order[at + 1] ?? this.#order[at - 1] ?? null;
  }

  get size() {
    return this.#order.length;
  }

  #toggle(column) {
    this.sort(column, this.#sort.column === column && !this.#sort.down);
    this.dispatchEvent(new CustomEvent("sort", { detail: this.#sort }));
  }

  /** Which symbols are shown, in which order. */
  #arrange() {
    let entries = [...this.#entries.values()];
    if (this.#filter) {
      entries = entries.filter(({ info }) => `${info.symbol} ${info.description}`.toLowerCase().includes(this.#filter));
    }
    const column = COLUMNS.find(({ name }) => name === this.#sort.column);
    if (column) {
      const keyed = entries.map((entry) => [column.sort(entry), entry]);
      const sign = this.#sort.down ? -1 : 1;
      keyed.sort(([a], [b]) => compare(a, b, sign));
      entries = keyed.map(([, entry]) => entry);
    }
    this.#order = entries.map(({ info }) => info.symbol);
    this.#layOut();
  }

  #layOut() {
    this.#mustLayOut = true;
    this.#schedule();
  }

  #schedule() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      if (this.#mustLayOut) this.#place();
      for (const entry of this.#dirty) entry.row?.show(entry.quote, entry.flashing);
      this.#dirty.clear();
    });
  }

  /** Puts the rows of what is in view between the two spacers. */
  #place() {
    this.#mustLayOut = false;
    const [from, to] = this.#view();
    const wanted = this.#order.slice(from, to);
    const kept = new Set(wanted);
    for (const [symbol, entry] of this.#entries) {
      if (!entry.row || kept.has(symbol)) continue;
      entry.row.element.remove();
      entry.row = null;
      this.#dirty.delete(entry);
    }
    const now = this.#now();
    let before = this.#above;
    wanted.forEach((symbol, at) => {
      const row = this.#row(this.#entries.get(symbol), now);
      row.mark(symbol === this.#selected, from + at);
      if (before.nextSibling !== row.element) before.after(row.element);
      before = row.element;
    });
    this.#above.style.height = `${from * ROW_PX}px`;
    this.#below.style.height = `${(this.#order.length - to) * ROW_PX}px`;
    this.#table.setAttribute("aria-rowcount", String(this.#order.length + 1));
    const active = this.#entries.get(this.#selected)?.row?.element.id;
    if (active) this.#table.setAttribute("aria-activedescendant", active);
    else this.#table.removeAttribute("aria-activedescendant");
  }

  #row(entry, now) {
    if (!entry.row) {
      entry.row = new Row(entry.info);
      if (entry.quote) entry.row.show(entry.quote, false);
      entry.row.showAge(now);
    }
    return entry.row;
  }

  /** First and last+1 place of what is in view, and a little more. */
  #view() {
    const { scrollTop, clientHeight } = this.#box;
    const from = Math.max(0, Math.floor(scrollTop / ROW_PX) - AROUND);
    const to = Math.min(this.#order.length, Math.ceil((scrollTop + clientHeight) / ROW_PX) + AROUND);
    return [Math.min(from, to), to];
  }

  #second() {
    const now = this.#now();
    for (const { row } of this.#entries.values()) row?.showAge(now);
    if (this.#sort.column && this.#sort.column !== "symbol" && !this.#box.matches(":hover")) this.#arrange();
  }

  #key(event) {
    if (event.target !== this.#table) return; // the buttons of the head have keys of their own
    const at = this.#order.indexOf(this.#selected);
    const last = this.#order.length - 1;
    const page = Math.max(1, Math.floor(this.#box.clientHeight / ROW_PX) - 2);
    const to = {
      ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last, PageDown: Math.min(at + page, last), PageUp: Math.max(at - page, 0),
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const symbol = this.#order[to];
      if (symbol) {
        this.#reveal(to);
        this.select(symbol);
      }
    } else if (event.key === "Delete" && at >= 0) {
      this.dispatchEvent(new CustomEvent("remove", { detail: this.#selected }));
    } else if (event.key === "Enter" && at >= 0) {
      event.preventDefault();
      this.dispatchEvent(new CustomEvent("enter"));
    }
  }

  /** Scrolls as little as needed for that place to be in view, below the head. */
  #reveal(place) {
    const head = this.#table.tHead.offsetHeight;
    const top = place * ROW_PX;
    const room = this.#box.clientHeight - head - ROW_PX;
    if (top < this.#box.scrollTop) this.#box.scrollTop = top;
    else if (top > this.#box.scrollTop + room) this.#box.scrollTop = top - room;
  }
}

/** Unknown values come last, whatever the direction. */
function compare(a, b, sign) {
  if (a == null || b == null) return (a == null) - (b == null);
  return a < b ? -sign : a > b ? sign : 0;
}

/** Stands where rows are that nobody can see. */
function spacer() {
  const row = document.createElement("tr");
  row.className = "spacer";
  row.setAttribute("aria-hidden", "true");
  row.insertCell();
  return row;
}
