// The same job with Node's `ws`: `node node_ws.mjs PORT REDIS_PORT CHANNEL BATCH_MS`. One frame for each tick, sent to each
// watcher as its documentation broadcasts; with BATCH_MS the newest quotes of so many milliseconds together.
import net from "node:net";
import { WebSocketServer } from "ws";

const [port, redisPort, channel, batchMs] = process.argv.slice(2);
const batched = batchMs !== "0";
const watchers = new Map();
const latest = new Map();
const changed = new Map();

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), perMessageDeflate: false, backlog: 4096 });
server.on("connection", (browser) => {
  let symbols = [];
  changed.set(browser, new Set());
  browser.on("message", (data) => {
    symbols = JSON.parse(data).quotes;
    for (const symbol of symbols) {
      if (!watchers.has(symbol)) watchers.set(symbol, new Set());
      watchers.get(symbol).add(browser);
    }
  });
  browser.on("close", () => {
    changed.delete(browser);
    for (const symbol of symbols) watchers.get(symbol).delete(browser);
  });
});

function hear(block) {
  for (const line of block.toString().split("\n")) {
    if (!line.startsWith("q|")) continue;
    const end = line.indexOf("|", 2);
    const symbol = line.slice(2, end);
    const to = watchers.get(symbol) ?? [];
    if (batched) {
      latest.set(symbol, line.slice(end + 1));
      for (const browser of to) changed.get(browser).add(symbol);
    } else {
      const quote = Buffer.from(line.slice(end + 1));
      for (const browser of to) browser.send(quote, { binary: false });
    }
  }
}

if (batched) {
  setInterval(() => {
    for (const [browser, symbols] of changed) {
      if (!symbols.size) continue;
      browser.send(`[${Array.from(symbols, (symbol) => latest.get(symbol)).join(",")}]`);
      symbols.clear();
    }
  }, Number(batchMs));
}

// Just as much of Redis' protocol as a subscriber needs: arrays of three, of which the third is the block.
let rest = Buffer.alloc(0);
const redis = net.connect(Number(redisPort), "127.0.0.1", () => redis.write(`SUBSCRIBE ${channel}\r\n`));
redis.on("data", (data) => {
  rest = rest.length ? Buffer.concat([rest, data]) : data;
  for (;;) {
    const message = rest.indexOf("*3\r\n$7\r\nmessage\r\n");
    if (message < 0) return;
    const name = rest.indexOf(channel, message + 17);
    const size = name + channel.length + 2;
    const end = rest.indexOf("\r\n", size);
    if (name < 0 || end < 0) return;
    const length = Number(rest.subarray(size + 1, end));
    if (rest.length < end + 2 + length + 2) return;
    hear(rest.subarray(end + 2, end + 2 + length));
    rest = rest.subarray(end + 2 + length + 2);
  }
});
