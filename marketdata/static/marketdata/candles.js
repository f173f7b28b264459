/**
 * The candlestick chart: history from the API, older bars as one scrolls back, the last candle live, gaps marked.
 *
 * Events: history (detail: { failure } with a sentence, "" once it is there), gaps (detail: the list of them).
 */

import * as format from "./format.js";
import { GapMarks, places } from "./gap-marks.js";
import { fetchBars, fetchGaps, merge } from "./history.js";

const PAGE = 1000;
const MOST_BARS = 50_000; // in memory: further back one chooses a longer interval
const MISSED_PAGE = 5000;
const LOAD_BEFORE = 50; // bars left of the visible ones at which older history is fetched
const FIRST_VIEW = 120;
const AGAIN_MS = 4000;
const GAPS_SOON_MS = 2000; // after a late bar, of which more may follow
const GAPS_EVERY_MS = 300_000; // pulls fetch what is missing in the meantime
const DAYS = ["1d", "1w", "1M"];

export class Candles extends EventTarget {
  #box;
  #chart;
  #price;
  #volume;
  #marks = new GapMarks();
  #bars = []; // { t, o, h, l, c, v, closed }, ascending
  #gaps = [];
  #more = false;
  #loading = false; // of older history
  #hasHistory = false; // the newest page is there
  #mustRecover = false; // as soon as it is
  #missedSince = null; // closed bars from here on may have been missed
  #shown = null; // { symbol, interval, zone: of the exchange }
  #abort = new AbortController(); // answers to an older choice are dropped
  #work = new AbortController(); // of it: the newest page, or what was missed
  #timer = 0;
  #gapsTimer = 0;
  #zone = "UTC";
  #colours = {};

  constructor(container) {
    super();
    const { createChart, CandlestickSeries, HistogramSeries } = globalThis.LightweightCharts;
    this.#box = container;
    this.#chart = createChart(container, {
      autoSize: true,
      layout: { attributionLogo: false }, // the page's footer carries the attribution; the logo would need inline styles
      timeScale: { timeVisible: true, secondsVisible: false, tickMarkFormatter: (t, kind) => this.#tick(t, kind) },
      localization: { timeFormatter: (t) => this.#shownTime(t * 1000) },
      rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.22 } },
    });
    this.#price = this.#chart.addSeries(CandlestickSeries, {});
    this.#price.attachPrimitive(this.#marks);
    this.#volume = this.#chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" } });
    this.#chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < LOAD_BEFORE && this.#more) this.#older();
    });
    container.addEventListener("keydown", (event) => this.#key(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
    setInterval(() => this.#findGaps(), GAPS_EVERY_MS);
    this.restyle();
  }

  /** Colours come from the page's CSS variables, so that both themes are written once. */
  restyle() {
    const css = getComputedStyle(document.documentElement);
    const colour = (name) => css.getPropertyValue(`--${name}`).trim();
    this.#colours = { up: colour("up-soft"), down: colour("down-soft"), gap: colour("gap") };
    this.#chart.applyOptions({
      layout: { background: { color: "transparent" }, textColor: colour("text") },
      grid: { vertLines: { color: colour("line") }, horzLines: { color: colour("line") } },
      rightPriceScale: { borderColor: colour("line") },
      timeScale: { borderColor: colour("line") },
    });
    const [upColor, downColor] = [colour("up"), colour("down")];
    this.#price.applyOptions({ upColor, downColor, wickUpColor: upColor, wickDownColor: downColor, borderVisible: false });
    this.#draw();
  }

  /** Days and longer are shown by the exchange's calendar, whatever the zone. */
  setZone(zone) {
    this.#zone = zone;
    this.#draw();
  }

  /** `info` as of /api/v1/symbols. Live bars may come before the history does. */
  show(info, interval) {
    this.#shown = { symbol: info.symbol, interval, zone: info.timezone || "UTC" };
    const digits = format.decimals(info.price_scale);
    this.#price.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
    this.#begin();
  }

  /** A live bar of the shown symbol and interval: replaces a candle, opens the next, or fills a hole. */
  update(bar) {
    if (bar.s !== this.#shown?.symbol || bar.i !== this.#shown.interval) return;
    const last = this.#bars.at(-1);
    if (last && bar.t < last.t) {
      if (bar.t < this.#bars[0].t) return; // it is there when one scrolls back
      this.#bars = merge(this.#bars, [bar]);
      this.#gaps = this.#gaps.filter(({ start, end }) => bar.t < start || bar.t >= end); // what is left of it is asked for
      this.#draw();
      this.#findGapsSoon();
      return;
    }
    if (last?.t === bar.t) this.#bars[this.#bars.length - 1] = bar;
    else this.#bars.push(bar);
    if (this.#bars.length > MOST_BARS + PAGE) {
      this.#bars.splice(0, PAGE);
      this.#draw();
      return;
    }
    this.#price.update(candle(bar));
    this.#volume.update(column(bar, this.#colours));
    this.#describe();
  }

  /** Closed bars may have been missed: those since the last closed one, until the platform gives them. */
  recover() {
    this.#mustRecover = !this.#hasHistory; // what is on its way may have been read too early
    if (this.#hasHistory) {
      this.#missedSince ??= this.#bars.findLast((bar) => bar.closed)?.t ?? this.#bars[0]?.t ?? 0;
      this.#untilItWorks((signal) => this.#missed(signal));
    }
  }

  get #isDaily() {
    return DAYS.includes(this.#shown?.interval);
  }

  #begin() {
    this.#abort.abort();
    this.#abort = new AbortController();
    [this.#bars, this.#gaps, this.#more, this.#loading] = [[], [], false, false];
    [this.#hasHistory, this.#mustRecover, this.#missedSince] = [false, false, null];
    this.#draw();
    this.#newest();
  }

  #newest() {
    this.#untilItWorks(async (signal) => {
      const { bars, more } = await this.#fetch({ limit: PAGE }, signal);
      [this.#more, this.#hasHistory, this.#missedSince] = [more, true, null];
      this.#bars = merge(bars, this.#bars);
      this.#draw();
      this.#chart.timeScale().setVisibleLogicalRange(this.#newestView());
      this.#findGaps();
      if (this.#mustRecover) this.recover();
    });
  }

  async #missed(signal) {
    const { bars, more } = await this.#fetch({ start_ms: this.#missedSince, limit: MISSED_PAGE }, signal);
    if (more) {
      this.#begin(); // anew, so much was missed
      return;
    }
    this.#missedSince = null;
    this.#bars = merge(this.#bars, bars);
    this.#draw();
    this.#findGaps();
  }

  #fetch(range, signal) {
    return fetchBars(this.#shown.symbol, this.#shown.interval, range, signal);
  }

  /** One such work at a time: the next one ends it, and each choice of a chart begins with one. */
  async #untilItWorks(work) {
    clearTimeout(this.#timer);
    this.#work.abort();
    this.#work = new AbortController();
    const { signal } = this.#work;
    try {
      await work(signal);
      if (!signal.aborted) this.#say("");
    } catch (error) {
      if (signal.aborted) return;
      this.#say(`History of ${this.#shown.symbol} could not be loaded, trying again: ${error.message}`);
      this.#timer = setTimeout(() => this.#untilItWorks(work), AGAIN_MS * (0.5 + Math.random()));
    }
  }

  async #older() {
    if (this.#loading || !this.#bars.length || this.#bars.length >= MOST_BARS) return;
    this.#loading = true;
    const { signal } = this.#abort;
    try {
      const { bars, more } = await this.#fetch({ before_ms: this.#bars[0].t, limit: PAGE }, signal);
      this.#more = more;
      this.#bars = merge(bars, this.#bars);
      this.#draw();
      this.#say("");
      this.#findGaps();
    } catch (error) {
      if (!signal.aborted) this.#say(`Older history of ${this.#shown.symbol} could not be loaded: ${error.message}`);
    } finally {
      if (!signal.aborted) this.#loading = false;
    }
  }

  #findGapsSoon() {
    clearTimeout(this.#gapsTimer);
    this.#gapsTimer = setTimeout(() => this.#findGaps(), GAPS_SOON_MS);
  }

  /** Asks for the whole loaded range: what was missing may be there now. Marks are worth no alarm, and come again. */
  async #findGaps() {
    if (this.#bars.length < 2) return;
    const { symbol, interval } = this.#shown;
    const { signal } = this.#abort;
    try {
      this.#gaps = await fetchGaps(symbol, interval, this.#bars[0].t, this.#bars.at(-1).t, signal);
    } catch (error) {
      if (!signal.aborted) console.warn(`gaps of ${symbol}: ${error.message}`);
      return;
    }
    this.#draw();
  }

  /** What the canvas shows, in words, for those who cannot see it. */
  #describe() {
    const last = this.#bars.at(-1);
    const { symbol, interval } = this.#shown;
    const [first, close] = [this.#bars[0]?.t ?? "", last?.c ?? ""];
    const shown = { symbol, interval, bars: this.#bars.length, first, last: last?.t ?? "", close, gaps: this.#gaps.length };
    Object.assign(this.#box.dataset, shown);
    const price = last ? `last price ${last.c}, of ${this.#shownTime(last.t)}` : "no bars";
    this.#box.setAttribute("aria-label", `Candlestick chart of ${symbol}, ${interval}, ${price}`);
  }

  /** All bars again, with empty places where some are missing. */
  #draw() {
    const there = new Set(this.#bars.map((bar) => bar.t));
    const empty = this.#gaps.flatMap(places).filter((t) => !there.has(t));
    const points = [...this.#bars.map(candle), ...empty.map((t) => ({ time: t / 1000 }))];
    this.#price.setData(points.sort((a, b) => a.time - b.time));
    this.#volume.setData(this.#bars.map((bar) => column(bar, this.#colours)));
    this.#marks.set(this.#gaps, this.#colours.gap);
    if (this.#shown) this.#describe();
    this.dispatchEvent(new CustomEvent("gaps", { detail: this.#gaps }));
  }

  #newestView() {
    const places = this.#price.data().length;
    return { from: places - FIRST_VIEW, to: places + 4 };
  }

  #say(failure) {
    this.dispatchEvent(new CustomEvent("history", { detail: { failure } }));
  }

  #key(event) {
    const scale = this.#chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    if (!range) return;
    const width = range.to - range.from;
    const moved = { ArrowLeft: [-width / 10, 0], ArrowRight: [width / 10, 0], "+": [width / 5, 0], "-": [-width / 5, 0] }[event.key];
    if (moved) {
      const [from] = moved;
      const to = event.key.startsWith("Arrow") ? range.to + from : range.to;
      scale.setVisibleLogicalRange({ from: range.from + from, to });
      event.preventDefault();
    } else if (event.key === "End" || event.key === "Home") {
      scale.setVisibleLogicalRange(event.key === "End" ? this.#newestView() : { from: 0, to: FIRST_VIEW });
      event.preventDefault();
    }
  }

  #shownTime(ms) {
    return this.#time(ms, this.#isDaily ? DATE : DATE_AND_TIME);
  }

  #time(ms, options) {
    return format.moment(ms, this.#isDaily ? this.#shown.zone : this.#zone, options);
  }

  /** The library counts days in UTC: the zone's own midnight gets the date, whatever weight the mark has. */
  #tick(seconds, kind) {
    const ms = seconds * 1000;
    if (this.#isDaily || kind < 2) return this.#time(ms, [{ year: "numeric" }, { month: "short" }][kind] ?? DAY);
    const time = this.#time(ms, TIME);
    return time === "00:00" ? this.#time(ms, DAY) : time;
  }
}

const TIME = { hour: "2-digit", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };
const DATE = { dateStyle: "medium" };
const DATE_AND_TIME = { dateStyle: "medium", timeStyle: "short" };

const candle = ({ t, o, h, l, c }) => ({ time: t / 1000, open: o, high: h, low: l, close: c });

const column = ({ t, o, c, v }, { up, down }) => ({ time: t / 1000, value: v ?? 0, color: c >= o ? up : down });
