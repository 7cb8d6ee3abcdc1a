// What the page does and says when something is not as it should be.

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { after, before, test } from 'node:test';
import { Chromium } from './chromium.mjs';
import { join } from './figures.mjs';
import { Server, token } from './undertone.mjs';

const KEY = 'a key for the test, of thirty-two bytes';

let chromium, open, closed;
before(async () => {
  open = await Server.start();
  closed = await Server.start({ flags: ['--key', KEY] });
  chromium = await Chromium.start();
});
after(async () => {
  await chromium?.close();
  await open?.stop();
  await closed?.stop();
});

const press = (page, selector) => page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
const text = (page, id) => page.evaluate(`document.getElementById(${JSON.stringify(id)}).innerText`);
const trouble = async (page, title, seconds) => {
  await page.until(`document.getElementById('trouble').open`, seconds);
  assert.equal(await text(page, 'trouble-title'), title);
};
/** The tile of somebody, from what a person sees of it. */
const tile = (name) => `[...document.querySelectorAll('.tile')].find((tile) => tile.querySelector('.name').innerText === ${JSON.stringify(name)})`;

test('everybody sees who is there, who is muted, whose camera is off', async () => {
  const ann = await chromium.open(open.room('tiles'));
  const bert = await chromium.open(open.room('tiles'));
  await join(ann, 'Ann Lee');
  assert.equal(await ann.evaluate(`document.getElementById('alone').hidden`), false);
  await join(bert, 'Bert');
  await ann.until(`${tile('Bert')} && !${tile('Bert')}.querySelector('video').hidden`);
  assert.equal(await ann.evaluate(`document.getElementById('alone').hidden`), true);
  // The fake microphone beeps once a second.
  await ann.until(`${tile('Bert')}.classList.contains('speaking')`);

  await press(bert, '#call [data-toggle=audio]');
  await ann.until(`${tile('Bert')}.getAttribute('aria-label') === 'Bert, muted'`);
  await press(bert, '#call [data-toggle=video]');
  await ann.until(`${tile('Bert')}.querySelector('video').hidden`);
  assert.equal(await bert.evaluate('undertone.media.tracks.video'), null, 'the camera is closed, its light off');
  await press(bert, '#call [data-toggle=video]');
  await press(bert, '#call [data-toggle=audio]');
  await ann.until(`!${tile('Bert')}.querySelector('video').hidden`);
  await ann.until(`${tile('Bert')}.getAttribute('aria-label') === 'Bert'`);

  await press(bert, '#leave');
  await ann.until(`!${tile('Bert')}`);
  assert.equal(await bert.evaluate(`document.getElementById('lobby').hidden`), false);
  await press(ann, '#leave');
  assert.deepEqual([...ann.errors, ...bert.errors], []);
});

test('the keyboard is enough', async () => {
  const page = await chromium.open(open.room('keys'));
  await page.until(`!document.getElementById('preview').hidden`);
  const key = (key, code = '') => page.send('Input.dispatchKeyEvent', { type: 'keyDown', key, text: key.length > 1 ? code : key })
    .then(() => page.send('Input.dispatchKeyEvent', { type: 'keyUp', key }));
  await page.evaluate(`document.getElementById('name').value = ''`);
  for (const letter of 'vim') await key(letter);
  assert.equal(await page.evaluate(`document.getElementById('name').value`), 'vim', 'letters are letters in a field');
  await key('Enter', '\r');
  await page.until('undertone.call?.connected');
  await key('m');
  await page.until('!undertone.media.on.audio');
  await key('v');
  await page.until('!undertone.media.on.video');
  await press(page, '#leave');
});

test('without permission one may still listen, and is told how to speak', async () => {
  const strict = await Chromium.start(['--use-fake-ui-for-media-stream=deny']);
  try {
    const page = await strict.open(open.room('listen'));
    await page.until(`!document.getElementById('problem').hidden`);
    assert.match(await text(page, 'problem'), /may not use the microphone or camera.*Change that/);
    await press(page, '#join');
    await page.until('undertone.call?.connected');
    const label = `document.querySelector('#call [data-toggle=audio]').getAttribute('aria-label')`;
    assert.equal(await page.evaluate(label), 'Unmute your microphone');
  } finally {
    await strict.close();
  }
});

test('a link without a token, with a wrong one, for another room', async () => {
  const page = await chromium.open(closed.room('kitchen'));
  await press(page, '#join');
  await trouble(page, 'This link does not let you in');
  assert.equal(await page.evaluate(`document.getElementById('retry').hidden`), true, 'trying again would not help');
  await press(page, '#back');

  await page.goto(closed.room('kitchen', 'a.b.c'));
  await press(page, '#join');
  await trouble(page, 'This link does not let you in');

  const link = token(closed, KEY, ['--room', 'attic', '--name', 'Zoë']);
  await page.goto(link.replace('/attic', '/kitchen'));
  await press(page, '#join');
  await trouble(page, 'This link is for another room');

  const expired = token(closed, KEY, ['--room', 'attic', '--name', 'Zoë', '--minutes', '0']);
  // Clocks may differ by five seconds.
  await new Promise((resolve) => setTimeout(resolve, 6000));
  await page.goto(expired);
  await press(page, '#join');
  await trouble(page, 'This link has expired');

  await page.goto(link);
  assert.equal(await page.evaluate(`document.getElementById('name').value`), 'Zoë', 'the token says who one is');
  await join(page, 'ignored');
  assert.deepEqual(await page.evaluate('[...undertone.call.roster.values()].map(({ name }) => name)'), ['Zoë']);
  await press(page, '#leave');
});

test('the server goes and comes back, and so does the call', async () => {
  let server = await Server.start();
  const page = await chromium.open(server.room('phoenix'));
  await join(page, 'Ann');
  await server.stop();
  await trouble(page, 'The server is restarting');
  await page.until(`/Try again \\(\\d+\\)/.test(document.getElementById('retry').innerText)`);
  server = await Server.start({ http: server.http });
  await page.until(`undertone.call?.connected && !document.getElementById('trouble').open`, 30);

  await server.stop('SIGKILL');
  await trouble(page, 'The server is gone', 30);
  await press(page, '#back');
  assert.equal(await page.evaluate(`document.getElementById('lobby').hidden`), false);
});

test('blocked UDP is named', async () => {
  // A socket that never answers is what a firewall looks like from here.
  const hole = createSocket('udp4');
  await new Promise((resolve) => hole.bind(0, '127.0.0.1', resolve));
  const server = await Server.start({ flags: ['--public', `127.0.0.1:${hole.address().port}`] });
  try {
    const page = await chromium.open(server.room('walled'));
    await press(page, '#join');
    await trouble(page, 'No way through for sound and picture', 30);
    assert.match(await text(page, 'trouble-hint'), /block UDP/);
    assert.equal(await page.evaluate(`document.getElementById('retry').hidden`), false);
  } finally {
    await server.stop();
    hole.close();
  }
});
