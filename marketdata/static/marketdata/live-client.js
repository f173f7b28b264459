/**
 * Client of the live protocol (docs/live-protocol.md): one websocket, kept alive, with a wish that survives reconnects.
 * Dependency-free ES module.
 *
 *   const client = new LiveClient("wss://example.org/ws/v1/");
 *   client.addEventListener("quote", ({ detail }) => console.log(detail.s, detail.last));
 *   client.addEventListener("bar", ({ detail }) => console.log(detail.s, detail.i, detail.c, detail.closed));
 *   client.subscribe({ quotes: ["NASDAQ:AAPL"], bars: ["NASDAQ:AAPL@1m"] });
 *
 * Events (CustomEvent, payload in `detail`):
 *   connection  { state: "connecting" | "open" | "waiting" | "closed", reason, retryInMs }
 *   hello       the server's greeting: limits, heartbeat, simulated
 *   feed        state of the market data feed
 *   quote, bar  one quote or bar, whole state, latest wins; `snapshot: true` for those that answer a subscription
 *   refused     { item, code, reason }: the server will not send this item
 *   problem     { code, message }: a numbered error
 *
 * Loss: quotes and forming bars are conflated by the server, the latest always arrives; nothing is queued here.
 */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 30_000;
const SILENCE_FACTOR = 2.5; // of the server's heartbeat period: then the connection is taken for dead
const SETTLED_MS = 10_000; // the delay starts anew only after a connection has lived this long
const FIRST_FINAL_CODE = 4500; // closing codes from here to 4999 say: do not reconnect

export class LiveClient extends EventTarget {
  #url;
  #socket = null;
  #quotes = new Set();
  #bars = new Set();
  #requestId = 0;
  #failures = 0;
  #timer = 0;
  #watchdog = 0;
  #silenceMs = 60_000;
  #final = false;

  /** @param {string} url  websocket address, for example wss://example.org/ws/v1/ */
  constructor(url) {
    super();
    this.#url = url;
  }

  connect() {
    this.#final = false;
    clearTimeout(this.#timer);
    this.#emit("connection", { state: "connecting", reason: "" });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    const openedAt = { ms: 0 };
    socket.onopen = () => {
      openedAt.ms = performance.now();
      this.#listenForSilence();
    };
    socket.onmessage = (message) => {
      this.#listenForSilence();
      this.#receive(JSON.parse(message.data));
    };
    socket.onclose = (event) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      clearTimeout(this.#watchdog);
      if (openedAt.ms && performance.now() - openedAt.ms > SETTLED_MS) this.#failures = 0;
      if (this.#final || (event.code >= FIRST_FINAL_CODE && event.code <= 4999)) {
        this.#emit("connection", { state: "closed", reason: event.reason });
      } else {
        this.#retry(event.reason);
      }
    };
  }

  close() {
    this.#final = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }

  /** Adds to what is wanted; already subscribed items cost nothing. */
  subscribe({ quotes = [], bars = [] }) {
    for (const item of quotes) this.#quotes.add(item);
    for (const item of bars) this.#bars.add(item);
    this.#send({ op: "subscribe", id: ++this.#requestId, quotes, bars });
  }

  unsubscribe({ quotes = [], bars = [] }) {
    for (const item of quotes) this.#quotes.delete(item);
    for (const item of bars) this.#bars.delete(item);
    this.#send({ op: "unsubscribe", id: ++this.#requestId, quotes, bars });
  }

  #receive(message) {
    switch (message.type) {
      case "hello":
        this.#silenceMs = message.heartbeat_s * 1000 * SILENCE_FACTOR;
        this.#emit("connection", { state: "open", reason: "" });
        this.#emit("hello", message);
        this.#emit("feed", message.feed);
        if (this.#quotes.size || this.#bars.size) {
          this.#send({ op: "subscribe", id: ++this.#requestId, quotes: [...this.#quotes], bars: [...this.#bars] });
        }
        break;
      case "ping":
        this.#send({ op: "pong", n: message.n });
        break;
      case "snapshot":
      case "update": {
        const snapshot = message.type === "snapshot";
        for (const quote of message.quotes ?? []) this.#emit("quote", { ...quote, snapshot });
        for (const bar of message.bars ?? []) this.#emit("bar", { ...bar, snapshot });
        break;
      }
      case "subscribed":
        for (const refusal of message.refused ?? []) this.#emit("refused", refusal);
        break;
      case "status":
        this.#emit("feed", message.feed);
        break;
      case "error":
        this.#emit("problem", message);
        break;
      case "bye":
        this.#final = message.reconnect === false;
        break;
      default: // a newer server may say more; an older client ignores it
    }
  }

  #listenForSilence() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#socket?.close(4000, "silence"), this.#silenceMs);
  }

  #retry(reason) {
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 16);
    const retryInMs = ceiling * (0.5 + Math.random() / 2); // jitter: a restarted server is not stormed
    this.#emit("connection", { state: "waiting", reason, retryInMs });
    this.#timer = setTimeout(() => this.connect(), retryInMs);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
