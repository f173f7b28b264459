/** Numbers and times as a trader reads them. `unknown` stands where the source gave nothing. */

export const unknown = "–";
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });

/** Decimals of a price with ticks of minMove/priceScale. */
export function decimals(priceScale) {
  return Math.max(0, Math.round(Math.log10(priceScale || 100)));
}

const byDigits = new Map(); // a formatter is dear to make

export function price(value, digits) {
  if (value == null) return unknown;
  if (!byDigits.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    byDigits.set(digits, new Intl.NumberFormat("en", options));
  }
  return byDigits.get(digits).format(value);
}

/** A price's change since the previous close, with its sign. */
export function change(value, digits) {
  return value == null ? unknown : `${value > 0 ? "+" : ""}${price(value, digits)}`;
}

export function percent(value) {
  return value == null ? unknown : `${value > 0 ? "+" : ""}${value.toFixed(2)}%`;
}

export function volume(value) {
  return value == null ? unknown : compact.format(value);
}

/** "12 s", "5 min", "3 h", "2 d" */
export function age(ms) {
  if (ms == null || !Number.isFinite(ms)) return unknown;
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** "4:07" or "1:04:07" until a moment. */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const SESSIONS = { market: "open", out_of_session: "closed", pre_market: "pre-market", post_market: "after hours" };

export function session(value) {
  return value == null ? unknown : (SESSIONS[value] ?? value);
}

/** "real time", "15 min delayed", "end of day" */
export function delay(mode, seconds) {
  if (mode === "endofday") return "end of day";
  if (!mode) return unknown;
  return seconds ? `${Math.round(seconds / 60)} min delayed` : "real time";
}

const zoned = new Map();

/** A moment in a time zone; `options` as of Intl.DateTimeFormat. */
export function moment(ms, zone, options) {
  const key = `${zone} ${JSON.stringify(options)}`;
  if (!zoned.has(key)) zoned.set(key, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone, hourCycle: "h23" }));
  return zoned.get(key).format(ms);
}
