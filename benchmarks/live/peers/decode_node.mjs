// What @mathieuc/tradingview makes of recorded texts: `node decode_node.mjs RECORDED.json`, then `bars N` or `quotes N` on
// stdin for N passes. Its own parser and its own sessions, without a socket.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import readline from "node:readline";

const require = createRequire(import.meta.url);
const { parseWSPacket } = require("@mathieuc/tradingview/src/protocol.js");
const chart = require("@mathieuc/tradingview/src/chart/session.js");
const quote = require("@mathieuc/tradingview/src/quote/session.js");

const recorded = JSON.parse(readFileSync(process.argv[2]));

function handle(session, texts) {
  for (const text of texts) {
    for (const packet of parseWSPacket(text)) if (packet.m) session.onData({ type: packet.m, data: packet.p });
  }
}

function bars() {
  const client = { sessions: {}, send() {} };
  const session = new (chart(client))();
  handle(Object.values(client.sessions).find((one) => one.type === "chart"), recorded.bars);
  return session.periods.length;
}

function quotes() {
  const client = { sessions: {}, send() {} };
  const session = new (quote(client))();
  const newest = new Map();
  for (const spec of new Set(recorded.quotes.flatMap(parseWSPacket).map((one) => one.p?.[1]?.n).filter(Boolean))) {
    const { symbol } = JSON.parse(spec.slice(1));
    new session.Market(symbol).onData((data) => newest.set(symbol, data));
  }
  return () => {
    handle(Object.values(client.sessions)[0], recorded.quotes);
    return newest.size;
  };
}

const acts = { bars, quotes: quotes() };
console.log('{"ready":1}');
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [kind, passes] = line.split(" ");
  let count = 0;
  for (let pass = 0; pass < Number(passes); pass++) count = acts[kind]();
  console.log(JSON.stringify({ count }));
}
