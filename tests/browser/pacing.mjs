// Plays wishes.js in made-up time: reads [[ms, method, items], ...] on stdin, prints [[ms, message], ...].
// node pacing.mjs MODULE

const { Wishes } = await import(process.argv[2]);
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const wishes = new Wishes();
wishes.begin();
const said = [];
let now = 0;

function tellUntil(end) {
  for (let pause = wishes.pauseMs(now); pause !== null && now + pause <= end; pause = wishes.pauseMs(now)) {
    now += pause;
    for (const message of wishes.take(now)) said.push([now, message]);
  }
  now = end;
}

for (const [at, method, items] of JSON.parse(Buffer.concat(chunks))) {
  if (at > now) tellUntil(at);
  wishes[method](items);
}
tellUntil(now + 3_600_000);
process.stdout.write(JSON.stringify(said));
