/** The candlestick chart: history from the API, older bars as one scrolls back, the last candle live. */

import * as format from "./format.js";

const PAGE = 1000;
const LOAD_BEFORE = 50; // bars left of the visible ones at which older history is fetched

export class Candles {
  #box;
  #chart;
  #price;
  #volume;
  #bars = []; // {t, o, h, l, c, v}, ascending
  #request = 0; // answers to an older choice are dropped
  #more = false;
  #loading = false;
  #shown = null;
  #zone = "UTC";

  constructor(container, { onError }) {
    const { createChart, CandlestickSeries, HistogramSeries } = globalThis.LightweightCharts;
    this.onError = onError;
    this.#box = container;
    this.#chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false }, // the page's footer carries the attribution; the logo would need inline styles
      timeScale: { timeVisible: true, secondsVisible: false, tickMarkFormatter: (t, kind) => this.#tick(t, kind) },
      localization: { timeFormatter: (t) => this.#time(t, { dateStyle: "medium", timeStyle: "short" }) },
      rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.22 } },
    });
    this.#price = this.#chart.addSeries(CandlestickSeries, {});
    this.#volume = this.#chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" } });
    this.#chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < LOAD_BEFORE && this.#more) this.#older();
    });
    this.restyle();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
  }

  /** Colours come from the page's CSS variables, so that both themes are written once. */
  restyle() {
    const css = getComputedStyle(document.documentElement);
    const [text, line, up, down] = ["--text", "--line", "--up", "--down"].map((n) => css.getPropertyValue(n).trim());
    this.#chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: text },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.#price.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
  }

  setZone(zone) {
    this.#zone = zone;
    this.#draw();
  }

  async show(info, interval) {
    this.#shown = { symbol: info.symbol, interval };
    this.#bars = [];
    this.#draw();
    const digits = format.decimals(info.price_scale);
    this.#price.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
    await this.#fetch({}, (bars) => {
      this.#bars = merge(bars, this.#bars);
      this.#draw();
      this.#chart.timeScale().setVisibleLogicalRange({ from: this.#bars.length - 120, to: this.#bars.length + 4 });
    });
  }

  /** A live bar of the shown symbol and interval: replaces the last candle or opens the next. */
  update(bar) {
    if (bar.s !== this.#shown?.symbol || bar.i !== this.#shown.interval) return;
    const last = this.#bars.at(-1);
    if (last && bar.t < last.t) {
      const at = this.#bars.findIndex((one) => one.t === bar.t);
      if (at < 0) return; // older than what is loaded: it is there when one scrolls back
      this.#bars[at] = bar;
      this.#draw();
      return;
    }
    if (last?.t === bar.t) this.#bars[this.#bars.length - 1] = bar;
    else this.#bars.push(bar);
    this.#price.update(candle(bar));
    this.#volume.update(column(bar, this.#colours()));
    this.#describe();
  }

  /** What the canvas shows, in words, for those who cannot see it. */
  #describe() {
    const last = this.#bars.at(-1);
    const { symbol, interval } = this.#shown;
    Object.assign(this.#box.dataset, { bars: this.#bars.length, interval, close: last?.c ?? "" });
    this.#box.setAttribute("aria-label", `Candlestick chart of ${symbol}, ${interval}, last close ${last?.c ?? "unknown"}`);
  }

  /** Closed bars may have been missed while the connection was away: the newest page again, merged into what is here. */
  refresh() {
    if (!this.#shown || this.#loading) return;
    this.#fetch({}, (bars) => {
      this.#bars = merge(this.#bars, bars);
      this.#draw();
    });
  }

  #older() {
    if (this.#loading || !this.#bars.length) return;
    this.#fetch({ before_ms: this.#bars[0].t }, (bars) => {
      this.#bars = merge(bars, this.#bars);
      this.#draw();
    });
  }

  async #fetch(range, use) {
    const request = ++this.#request;
    this.#loading = true;
    const { symbol, interval } = this.#shown;
    const query = new URLSearchParams({ symbol, interval, limit: PAGE, ...range });
    try {
      const response = await fetch(`/api/v1/bars?${query}`);
      const answer = await response.json();
      if (request !== this.#request) return;
      if (!response.ok) throw new Error(answer.detail ?? response.statusText);
      this.#more = answer.more;
      use(answer.bars.map(([t, o, h, l, c, v]) => ({ t, o, h, l, c, v })));
      this.onError("");
    } catch (error) {
      if (request === this.#request) this.onError(`History of ${symbol} could not be loaded: ${error.message}`);
    } finally {
      if (request === this.#request) this.#loading = false;
    }
  }

  #draw() {
    const colours = this.#colours();
    this.#price.setData(this.#bars.map(candle));
    this.#volume.setData(this.#bars.map((bar) => column(bar, colours)));
    if (this.#shown) this.#describe();
  }

  #colours() {
    const css = getComputedStyle(document.documentElement);
    return { up: css.getPropertyValue("--up-soft").trim(), down: css.getPropertyValue("--down-soft").trim() };
  }

  #time(seconds, options) {
    return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: this.#zone }).format(seconds * 1000);
  }

  #tick(seconds, kind) {
    const options = [
      { year: "numeric" },
      { month: "short" },
      { day: "numeric", month: "short" },
      { hour: "2-digit", minute: "2-digit" },
      { hour: "2-digit", minute: "2-digit", second: "2-digit" },
    ][kind];
    return this.#time(seconds, options);
  }
}

const candle = ({ t, o, h, l, c }) => ({ time: t / 1000, open: o, high: h, low: l, close: c });

const column = ({ t, o, c, v }, { up, down }) => ({ time: t / 1000, value: v ?? 0, color: c >= o ? up : down });

/** Two ascending lists as one; where both have a time, the second wins. */
function merge(older, newer) {
  const byTime = new Map([...older, ...newer].map((bar) => [bar.t, bar]));
  return [...byTime.values()].sort((a, b) => a.t - b.t);
}
