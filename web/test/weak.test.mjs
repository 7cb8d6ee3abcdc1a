// Two browsers on a weak link each: what gets lost is asked for again, sound and pictures, both ways.
//
// SECS: how long it is watched. Default 12. LOSS: percent lost on each way of each link. Default 5. DELAY:
// ms of each way of each link. Default 50. The figures are printed as one line of JSON.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Chromium } from './chromium.mjs';
import { join, watch } from './figures.mjs';
import { Relay } from './relay.mjs';
import { steady } from './steady.mjs';
import { Server } from './undertone.mjs';

const SECS = Number(process.env.SECS ?? 12);
const LOSS = Number(process.env.LOSS ?? 5);
const DELAY = Number(process.env.DELAY ?? 50);
/** Until jitter buffers have learnt that what is lost comes a round trip later. */
const START_UP = 5;
/** Speech comes in packets of 20 ms. */
const PACKETS_A_SECOND = 50;

let relay, server, chromium;
before(async () => {
  relay = await Relay.start({ lossPercent: LOSS, delay: DELAY });
  server = await Server.start({ flags: ['--public', relay.address] });
  relay.target(server.media);
  chromium = await Chromium.start();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  relay?.close();
});

test('a weak link costs delay, not words', () => steady(async () => {
  const [ann, bert] = [await chromium.open(server.room('weak')), await chromium.open(server.room('weak'))];
  try {
    await join(ann, 'Ann');
    await join(bert, 'Bert');
    await new Promise((resolve) => setTimeout(resolve, START_UP * 1000));
    const [figures, others] = await Promise.all([watch(ann, SECS), watch(bert, SECS)]);
    console.log(JSON.stringify({ test: 'weak', loss_percent: LOSS, delay_ms: DELAY, ann: figures, bert: others }));
    assert(relay.lost > 0, 'the link is weak');
    // Two links in a row lose twice as much.
    const lost = 100 * (1 - (1 - LOSS / 100) ** 2);
    for (const { audio_received, seconds, concealed_percent, fps_decoded } of [figures, others]) {
      const arrived = 100 * audio_received / (seconds * PACKETS_A_SECOND);
      assert(arrived > 100 - lost / 3, `${arrived.toFixed(1)} % of the sound arrived, ${lost.toFixed(1)} % got lost at first`);
      assert(concealed_percent < lost / 4, `${concealed_percent} % of the sound is made up, ${lost.toFixed(1)} % got lost`);
      assert(fps_decoded > 20, `${fps_decoded} pictures a second`);
    }
  } finally {
    await Promise.all([ann.close(), bert.close()]);
  }
}));
