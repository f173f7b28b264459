/**
 * Client of the live protocol (docs/live-protocol.md): one websocket that is kept alive, and a wish that survives
 * reconnects. For pages and programs; needs wishes.js beside it and nothing else. docs/browser-client.md shows its use.
 *
 * Events (CustomEvent, payload in `detail`):
 *   connection  { state: "connecting" | "open" | "waiting" | "closed", reason, retryInMs }
 *   hello       the server's greeting: limits, heartbeat, simulated
 *   feed        state of the market data feed
 *   quote, bar  whole state, latest wins; `snapshot: true` for those that answer a subscription. A closed bar may come
 *               twice after a reconnect: place bars by `t`
 *   recovery    { recovered: true | false | null } after a reconnect, or when the server lost its place: true, the
 *               closed bars that were missed come as `bar` events; otherwise fetch them from /api/v1/bars
 *   subscribed  { id, quotes, bars, refused }: all that is watched now
 *   refused     { item, code, reason }: the server will not send this item
 *   problem     { code, message }: a numbered error
 *
 * Calls may be as many as one likes: those of one moment are told together, and later ones after a pause (wishes.js).
 * Loss: quotes and forming bars are conflated by the server, the latest always arrives; nothing is queued here.
 */

import { Wishes } from "./wishes.js";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const SETTLED_MS = 10_000; // the delay starts anew only after a connection has lived this long
const GREETING_MS = 15_000; // from the beginning of an attempt to `hello`
const SILENCE_FACTOR = 2.5; // of the server's heartbeat period: then the connection is taken for dead
const FIRST_FINAL_CODE = 4500; // closing codes from here to 4999 say: do not reconnect
const UNCHECKED = 4013; // the server cannot tell at the moment: asked again
const ASK_AGAIN_MS = 3000;

export class LiveClient extends EventTarget {
  #url;
  #credentials;
  #WebSocket;
  #random;
  #attempt = null; // the connection, or the one that is being made
  #wishes = new Wishes();
  #wishTimer = 0;
  #requestId = 0;
  #failures = 0;
  #retryTimer = 0;
  #askTimer = 0;
  #unchecked = new Set(); // items to ask for again when it fires
  #watchdog = 0;
  #silenceMs = 0;
  #clockMs = 0; // the server's clock minus ours
  #place = null; // { epoch, offset } in the server's log of closed bars: all before it has been received
  #greeted = false; // by any server so far
  #resumption = null; // { ids, begun, recovered } of requests that resume; #place stands still until all are answered

  /**
   * @param {string} url  for example wss://example.org/ws/v1/
   * @param {object} [options]
   * @param {() => Promise<{ticket: string} | {key: string}>} [options.credentials]  asked before each connection; for
   *   programs, which have no session here
   * @param {typeof WebSocket} [options.WebSocket]  where the platform has none (Node before 22)
   * @param {() => number} [options.random]  of the jitter, in [0, 1)
   */
  constructor(url, { credentials = null, WebSocket = globalThis.WebSocket, random = Math.random } = {}) {
    super();
    this.#url = url;
    this.#credentials = credentials;
    this.#WebSocket = WebSocket;
    this.#random = random;
  }

  /** Connects, or tries at once instead of waiting longer; nothing while a connection is there or being made. */
  connect() {
    if (this.#attempt) return;
    clearTimeout(this.#retryTimer);
    const attempt = { socket: null, openedAt: 0, greeted: false, log: null, reconnect: null }; // as `bye` says
    this.#attempt = attempt;
    this.#silenceMs = GREETING_MS;
    this.#listenForSilence();
    this.#emit("connection", { state: "connecting", reason: "" });
    if (this.#attempt !== attempt) return; // a listener has closed the client
    if (!this.#credentials) this.#open(attempt, null);
    else {
      this.#credentials().then(
        (auth) => this.#attempt === attempt && this.#open(attempt, auth),
        (error) => this.#end(attempt, error.message),
      );
    }
  }

  /** Ends the connection for good; what is subscribed is kept for another `connect`. */
  close() {
    clearTimeout(this.#retryTimer);
    const attempt = this.#attempt;
    if (attempt) this.#end(attempt, "", true);
    else this.#emit("connection", { state: "closed", reason: "" });
  }

  /** Adds to what is wanted; already subscribed items cost nothing. */
  subscribe(items) {
    this.#wishes.add(items);
    Promise.resolve().then(() => this.#ask()); // with the other wishes of this moment
  }

  unsubscribe(items) {
    this.#wishes.remove(items);
    Promise.resolve().then(() => this.#ask());
  }

  /** Now by the server's clock, in milliseconds; ours until the first greeting. */
  now() {
    return Date.now() + this.#clockMs;
  }

  #open(attempt, auth) {
    const socket = new this.#WebSocket(this.#url);
    attempt.socket = socket;
    socket.onopen = () => {
      attempt.openedAt = performance.now();
      if (auth) socket.send(JSON.stringify({ op: "auth", ...auth }));
    };
    socket.onmessage = ({ data }) => {
      if (this.#attempt !== attempt) return;
      let message;
      try {
        message = JSON.parse(data);
      } catch {
        this.#end(attempt, "the server sent something that is no JSON");
        return;
      }
      this.#receive(attempt, message);
      this.#listenForSilence();
    };
    socket.onclose = ({ code, reason }) => {
      const reconnect = attempt.reconnect ?? (code < FIRST_FINAL_CODE || code > 4999);
      this.#end(attempt, reason, !reconnect);
    };
    socket.onerror = () => {}; // always followed by close
  }

  /** Does not wait for the closing handshake: a dead network would never answer it. */
  #end(attempt, reason, final = attempt.reconnect === false) {
    if (this.#attempt !== attempt) return;
    this.#attempt = null;
    clearTimeout(this.#watchdog);
    clearTimeout(this.#wishTimer);
    clearTimeout(this.#askTimer);
    this.#askTimer = 0;
    this.#unchecked.clear(); // the next greeting is answered with all that is wanted
    attempt.socket?.close();
    if (final) {
      this.#emit("connection", { state: "closed", reason });
      return;
    }
    if (attempt.openedAt && performance.now() - attempt.openedAt > SETTLED_MS) this.#failures = 0;
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 16);
    const retryInMs = ceiling * (0.5 + this.#random() / 2); // jitter: a restarted server is not stormed
    this.#retryTimer = setTimeout(() => this.connect(), retryInMs);
    this.#emit("connection", { state: "waiting", reason, retryInMs });
  }

  #receive(attempt, message) {
    switch (message.type) {
      case "hello":
        this.#greet(attempt, message);
        break;
      case "ping":
        this.#send({ op: "pong", n: message.n });
        break;
      case "snapshot":
      case "update":
        this.#take(attempt, message);
        break;
      case "subscribed":
        this.#granted(attempt, message);
        break;
      case "status":
        this.#tell(attempt, "feed", message.feed);
        break;
      case "error":
        this.#tell(attempt, "problem", message);
        this.#answered(attempt, message.id, null); // it may have been refused whole
        break;
      case "bye":
        attempt.reconnect = message.reconnect ?? null;
        break;
      default: // a newer server may say more; an older client ignores it
    }
    if (this.#attempt !== attempt) return; // a listener has closed the client, and may have missed some of it
    if (message.log && message.type !== "hello" && !this.#resumption) this.#place = message.log;
  }

  #greet(attempt, message) {
    this.#silenceMs = message.heartbeat_s * 1000 * SILENCE_FACTOR;
    this.#clockMs = message.server_ms - Date.now();
    Object.assign(attempt, { greeted: true, log: message.log ?? null });
    const again = this.#greeted;
    this.#greeted = true;
    this.#wishes.begin();
    if (!again || !this.#wishes.wantsBars()) this.#place = attempt.log;
    this.#tell(attempt, "connection", { state: "open", reason: "" });
    this.#tell(attempt, "hello", message);
    this.#tell(attempt, "feed", message.feed);
    if (this.#attempt === attempt) this.#resume(again);
  }

  /** All that is wanted; after a reconnect from the place where the last connection ended. */
  #resume(again) {
    const resumes = again && this.#wishes.wantsBars();
    this.#resumption = resumes ? { ids: new Set(), begun: false, recovered: true } : null;
    this.#wishes.repeat();
    this.#ask();
  }

  /** One request that resumes. */
  #answered(attempt, id, recovered) {
    if (this.#attempt !== attempt || !this.#resumption?.ids.delete(id)) return;
    this.#resumption.begun = true;
    this.#resumption.recovered &&= recovered;
    this.#conclude(attempt);
  }

  /** After the answer to the last of them: whether all have recovered. */
  #conclude(attempt) {
    if (!this.#resumption || this.#resumption.ids.size || this.#wishes.owesBars) return;
    const all = this.#resumption.recovered;
    this.#resumption = null;
    if (all !== true) this.#place = attempt.log;
    this.#tell(attempt, "recovery", { recovered: all });
  }

  #take(attempt, message) {
    const snapshot = message.type === "snapshot";
    if (snapshot && message.recovered === false) {
      if (!this.#resumption) this.#tell(attempt, "recovery", { recovered: false });
      else if (this.#resumption.begun) this.#resumption.recovered = false; // after it was said of some
    }
    for (const quote of message.quotes ?? []) this.#tell(attempt, "quote", { ...quote, snapshot });
    for (const bar of message.bars ?? []) this.#tell(attempt, "bar", { ...bar, snapshot });
  }

  #granted(attempt, message) {
    const refused = message.refused ?? [];
    const unchecked = refused.filter(({ code }) => code === UNCHECKED).map(({ item }) => item);
    for (const item of [...(message.quotes ?? []), ...(message.bars ?? [])]) this.#unchecked.delete(item);
    for (const item of unchecked) this.#unchecked.add(item);
    if (unchecked.length) this.#askAgain();
    if (!this.#wishes.wantsBars(unchecked)) this.#answered(attempt, message.id, message.recovered ?? null);
    this.#tell(attempt, "subscribed", message);
    for (const refusal of refused) this.#tell(attempt, "refused", refusal);
  }

  /** One timer for all: what is refused while it runs is asked for with the rest. */
  #askAgain() {
    this.#askTimer ||= setTimeout(() => {
      this.#askTimer = 0;
      this.#wishes.repeat(this.#unchecked);
      this.#unchecked.clear();
      if (this.#resumption) this.#resume(true);
      else this.#ask();
    }, ASK_AGAIN_MS * (0.5 + this.#random()));
  }

  /** Tells what the server has not been told, or does so at the end of the pause; while it resumes, from where. */
  #ask() {
    const attempt = this.#attempt;
    if (!attempt?.greeted) return; // the greeting is answered with all that is wanted
    clearTimeout(this.#wishTimer);
    for (const message of this.#wishes.take(performance.now())) {
      const id = ++this.#requestId;
      if (message.op === "subscribe" && message.bars.length && this.#resumption) {
        this.#resumption.ids.add(id);
        if (this.#place) message.since = this.#place;
      }
      this.#send({ id, ...message });
    }
    const pauseMs = this.#wishes.pauseMs(performance.now());
    if (pauseMs !== null) this.#wishTimer = setTimeout(() => this.#ask(), pauseMs);
    this.#conclude(attempt);
  }

  #listenForSilence() {
    clearTimeout(this.#watchdog);
    const attempt = this.#attempt;
    if (!attempt) return; // a listener has closed the client
    this.#watchdog = setTimeout(() => this.#end(attempt, "the server is silent"), this.#silenceMs);
  }

  #send(message) {
    const socket = this.#attempt?.socket;
    if (socket?.readyState === 1) socket.send(JSON.stringify(message));
  }

  /** What the server said; nothing more of it once a listener has closed the client. */
  #tell(attempt, name, detail) {
    if (this.#attempt === attempt) this.#emit(name, detail);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
