// Runs the live client in Node: commands as JSON lines on stdin, [method, ...values] or ["all", ...commands], each event
// as a JSON line on stdout.
// node --experimental-websocket client.mjs MODULE OPTIONS, where OPTIONS has url, and ticketUrl or refuse if credentials are asked,
// and closeAt, [event, state], if a listener shall close the client at the first such event.

import { createInterface } from "node:readline";

const [path, text] = process.argv.slice(2);
const { url, key, ticketUrl, refuse, closeAt } = JSON.parse(text);
const before = Object.getOwnPropertyNames(globalThis);
const { LiveClient } = await import(path);
const globals = Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name));

async function credentials() {
  if (refuse) throw new Error(refuse);
  if (!ticketUrl) return { key };
  const response = await fetch(ticketUrl, { method: "POST", headers: { Authorization: `Bearer ${key}` } });
  return { ticket: (await response.json()).ticket };
}

const say = (event, detail) => process.stdout.write(`${JSON.stringify({ event, ...detail })}\n`);
const client = new LiveClient(url, { random: () => 0, ...(key || refuse ? { credentials } : {}) });
for (const name of ["connection", "hello", "feed", "quote", "bar", "recovery", "subscribed", "refused", "problem"]) {
  client.addEventListener(name, ({ detail }) => say(name, { detail }));
}
if (closeAt) {
  const [name, state] = closeAt;
  client.addEventListener(name, function listen({ detail }) {
    if (state && detail.state !== state) return;
    client.removeEventListener(name, listen);
    client.close();
  });
}
say("loaded", { globals });
for await (const line of createInterface({ input: process.stdin })) {
  const [method, ...values] = JSON.parse(line);
  const calls = method === "all" ? values : [[method, ...values]]; // of one moment
  for (const [name, ...given] of calls) {
    const result = client[name](...given);
    if (result !== undefined) say("result", { result });
  }
}
client.close();
