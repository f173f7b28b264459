/** One row of the watch list: its cells, filled from the symbol's information and its newest quote. */

import * as format from "./format.js";

/** In the order of the table's head. `sort` gives what a column is sorted by, of { info, quote }. */
export const COLUMNS = [
  { name: "symbol", sort: ({ info }) => info.symbol },
  { name: "last", number: true, sort: ({ quote }) => quote?.last },
  { name: "change", number: true, sort: ({ quote }) => quote?.ch },
  { name: "percent", number: true, sort: ({ quote }) => quote?.chp },
  { name: "bid", number: true, sort: ({ quote }) => quote?.bid },
  { name: "ask", number: true, sort: ({ quote }) => quote?.ask },
  { name: "volume", number: true, sort: ({ quote }) => quote?.vol },
  { name: "session", sort: ({ quote }) => (quote?.session ? format.session(quote.session) : null) },
  { name: "delay", sort: ({ info, quote }) => quote?.delay_s ?? info.delay_s },
  { name: "age", number: true, sort: ({ quote }) => (quote?.last_ms == null ? null : -quote.last_ms) },
];

let rows = 0;

export class Row {
  #cells;
  #digits;
  #shown = null; // the quote in the cells

  constructor(info) {
    this.element = document.createElement("tr");
    this.element.dataset.symbol = info.symbol;
    this.element.id = `row-${++rows}`; // a symbol may have characters that no id has
    this.#cells = Object.fromEntries(COLUMNS.map(({ name, number }) => [name, this.#cell(name, number)]));
    this.#digits = format.decimals(info.price_scale);
    const [exchange, ticker] = info.symbol.split(":");
    const strong = Object.assign(document.createElement("strong"), { textContent: ticker });
    const small = Object.assign(document.createElement("small"), { textContent: `${exchange} · ${info.description}` });
    this.#cells.symbol.replaceChildren(strong, small);
    this.#cells.symbol.title = info.description;
    this.#cells.delay.textContent = format.delay(info.update_mode, info.delay_s);
    this.#cells.delay.title = info.full_name ? `prices from ${info.full_name} (${info.venue})` : "";
  }

  /** `flashing` is false for what was known already, as in a snapshot or a row that was scrolled into view. */
  show(quote, flashing) {
    const before = this.#shown;
    const put = (name, text, direction = 0) => {
      const cell = this.#cells[name];
      if (cell.textContent === text) return;
      cell.textContent = text;
      if (flashing && before) flash(cell, direction);
    };
    const moved = direction(quote.last, before?.last);
    put("last", format.price(quote.last, this.#digits), moved);
    put("change", format.change(quote.ch, this.#digits), moved);
    put("percent", format.percent(quote.chp), moved);
    put("bid", format.price(quote.bid, this.#digits), direction(quote.bid, before?.bid));
    put("ask", format.price(quote.ask, this.#digits), direction(quote.ask, before?.ask));
    put("volume", format.volume(quote.vol));
    const sign = Math.sign(quote.ch ?? quote.chp ?? 0);
    this.#cells.change.dataset.sign = this.#cells.percent.dataset.sign = sign;
    this.#cells.session.textContent = format.session(quote.session);
    this.#cells.session.dataset.session = quote.session ?? "";
    if (quote.mode) this.#cells.delay.textContent = format.delay(quote.mode, quote.delay_s);
    this.#shown = quote;
  }

  showAge(nowMs) {
    const last = this.#shown?.last_ms;
    const text = format.age(last == null ? null : nowMs - last);
    if (this.#cells.age.textContent !== text) this.#cells.age.textContent = text;
  }

  mark(selected, place) {
    this.element.setAttribute("aria-selected", String(selected));
    this.element.setAttribute("aria-rowindex", String(place + 2)); // the head is row 1
  }

  #cell(name, number) {
    const cell = this.element.insertCell();
    cell.textContent = format.unknown;
    cell.className = number ? `number ${name}` : name;
    return cell;
  }
}

function direction(now, before) {
  return now == null || before == null ? 0 : Math.sign(now - before);
}

/** Two animations with the same look take turns, so that a second change restarts it without a reflow. */
function flash(cell, direction) {
  const name = direction > 0 ? "up" : direction < 0 ? "down" : "same";
  const turn = cell.dataset.turn === "a" ? "b" : "a";
  cell.dataset.turn = turn;
  cell.dataset.flash = `${name}-${turn}`;
}
