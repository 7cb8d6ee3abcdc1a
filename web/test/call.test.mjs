// A headless Chromium holds a call: with another Chromium, and with `undertone call`.
//
// SECS: how long each is watched, after a start-up that is not judged. Default 12. Each test prints its
// figures as one line of JSON.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { after, before, test } from 'node:test';
import { Chromium } from './chromium.mjs';
import { join, watch } from './figures.mjs';
import { steady } from './steady.mjs';
import { Server, call, file } from './undertone.mjs';

const SECS = Number(process.env.SECS ?? 12);
const START_UP = 3;

let server, chromium;
before(async () => {
  server = await Server.start();
  chromium = await Chromium.start();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Both directions of a browser's call are in order. */
function assertGood(page, figures) {
  assert.deepEqual(page.errors, [], 'the page has errors');
  assert.equal(figures.dtls, 'connected');
  assert(figures.srtp, 'SRTP is in use');
  const packets = 50 * figures.seconds;
  assert(figures.audio_sent > 0.9 * packets, `sends 50 audio packets a second: ${figures.audio_sent}`);
  assert(figures.audio_received > 0.9 * packets, `receives 50 audio packets a second: ${figures.audio_received}`);
  assert(figures.audio_energy > 0, 'something is heard');
  assert(figures.concealed_percent < 1, `${figures.concealed_percent} % of the sound is made up`);
  assert(figures.video_sent > 0 && figures.video_received > 0, 'pictures go both ways');
  assert(figures.fps_decoded >= 24, `${figures.fps_decoded} pictures a second are decoded`);
  assert(figures.fps_sent >= 24, `${figures.fps_sent} pictures a second are sent`);
  assert.equal(figures.reported_lost, 0, 'the server misses nothing');
  assert.equal(figures.lost, 0, 'the browser misses nothing');
}

test('two browsers hold a call', () => steady(async () => {
  const ann = await chromium.open(server.room('two'));
  const bert = await chromium.open(server.room('two'));
  try {
    await join(ann, 'Ann');
    await join(bert, 'Bert');
    await sleep(START_UP);
    const [figures, others] = await Promise.all([watch(ann, SECS), watch(bert, SECS)]);
    console.log(JSON.stringify({ test: 'chromium-chromium', ann: figures, bert: others }));
    assertGood(ann, figures);
    assertGood(bert, others);
  } finally {
    await Promise.all([ann.close(), bert.close()]);
  }
}));

test('a browser and undertone call hold a call', () => steady(async () => {
  const out = await mkdtemp(path(tmpdir(), 'undertone-call-'));
  const page = await chromium.open(server.room('mixed'));
  await join(page, 'Ann');
  const secs = SECS + START_UP + 3;
  const speech = file('testdata/speech/librivox_austen_0870.wav');
  const other = call(server.room('mixed'), ['--in', speech, '--video', 'pattern', '--secs', String(secs), '--out', out]);
  try {
    await page.until('[...undertone.call.slots.values()].filter(({ active }) => active).length === 2');
    await sleep(START_UP);
    const figures = await watch(page, SECS);
    const [result] = (await other.result).filter(({ schema }) => schema === 'undertone.call/1');
    console.log(JSON.stringify({ test: 'chromium-undertone', chromium: figures, undertone: result }));
    assertGood(page, figures);
    const { heard, packets, video } = result;
    assert(packets.received > 45 * SECS, `undertone hears the browser: ${packets.received} packets`);
    assert.equal(packets.lost, 0, 'undertone misses nothing');
    assert.equal(packets.bad + packets.unauthentic, 0, 'no packet is refused');
    assert(heard.concealed_ratio < 0.01, `${100 * heard.concealed_ratio} % of what undertone plays is made up`);
    assert(video.fps >= 24, `undertone decodes ${video.fps} pictures a second`);
    assert.equal(video.undecodable, 0, 'each picture can be decoded');
  } finally {
    other.stop();
    await page.close();
    await rm(out, { recursive: true });
  }
}));
