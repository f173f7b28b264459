/**
 * What a client of the live protocol wants, and the messages that tell the server; used by live-client.js. Time comes
 * in, messages come out.
 *
 * Wishes are gathered: what was told is followed by a pause, and what comes in the meantime is told together at its
 * end. So the server hears at most ten messages a second on average, half of what it takes, however many wishes there
 * are. Of several wishes for an item the last one counts, and what the server was not told need not be taken back.
 */

const ITEMS_PER_MESSAGE = 500; // of up to 80 characters: below the server's 64 KiB
const MESSAGES_AT_ONCE = 20; // the server takes 100
const PAUSE_MS = 100; // for each message; the server takes 20 a second, pongs among them
const KINDS = ["bars", "quotes"]; // in the order in which they are told

export class Wishes {
  #wanted = ofEachKind();
  #told = ofEachKind(); // what this connection was asked for and may be sending
  #untold = ofEachKind(); // wishes for these; each is either wanted, or told and wanted no more
  #nextMs = 0; // the end of the pause

  add(items) {
    for (const [kind, item] of pairs(items)) {
      this.#wanted[kind].add(item);
      this.#untold[kind].add(item);
    }
  }

  remove(items) {
    for (const [kind, item] of pairs(items)) {
      this.#wanted[kind].delete(item);
      if (this.#told[kind].has(item)) this.#untold[kind].add(item);
      else this.#untold[kind].delete(item);
    }
  }

  /** To be told once more: these of what is wanted, or all of it. */
  repeat(items = null) {
    for (const [kind, item] of pairs(this.#wanted)) {
      if (!items || items.has(item)) this.#untold[kind].add(item);
    }
  }

  /** A new connection: nothing has been told; what is to be told, `repeat` says. */
  begin() {
    [this.#told, this.#untold, this.#nextMs] = [ofEachKind(), ofEachKind(), 0];
  }

  wantsBars(items = this.#wanted.bars) {
    return [...items].some((item) => this.#wanted.bars.has(item));
  }

  /** Whether bars remain to be asked for. */
  get owesBars() {
    return this.wantsBars(this.#untold.bars);
  }

  /** What to send now: { op, quotes, bars } each. */
  take(nowMs) {
    if (nowMs < this.#nextMs) return [];
    const untold = pairs(this.#untold);
    const wanted = ([kind, item]) => this.#wanted[kind].has(item);
    const messages = [
      ...parts("unsubscribe", untold.filter((pair) => !wanted(pair))), // first: there is room for so many items
      ...parts("subscribe", untold.filter(wanted)),
    ].slice(0, MESSAGES_AT_ONCE);
    for (const message of messages) this.#tell(message);
    this.#nextMs = nowMs + messages.length * PAUSE_MS;
    return messages;
  }

  /** How long to wait for the next `take`; null while there is nothing to tell. */
  pauseMs(nowMs) {
    const isDone = KINDS.every((kind) => !this.#untold[kind].size);
    return isDone ? null : Math.max(0, this.#nextMs - nowMs);
  }

  #tell(message) {
    for (const [kind, item] of pairs(message)) {
      this.#untold[kind].delete(item);
      if (message.op === "subscribe") this.#told[kind].add(item);
      else this.#told[kind].delete(item);
    }
  }
}

const ofEachKind = () => ({ bars: new Set(), quotes: new Set() });

const pairs = (items) => KINDS.flatMap((kind) => [...(items[kind] ?? [])].map((item) => [kind, item]));

function parts(op, items) {
  const messages = [];
  for (let at = 0; at < items.length; at += ITEMS_PER_MESSAGE) {
    const message = { op, quotes: [], bars: [] };
    for (const [kind, item] of items.slice(at, at + ITEMS_PER_MESSAGE)) message[kind].push(item);
    messages.push(message);
  }
  return messages;
}
