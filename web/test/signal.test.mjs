// Messages survive the wire, and the bytes are those that the server reads and writes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ANSWER, AUDIO, ERRORS, VIDEO, decode, encode } from '../signal.js';

const hex = (bytes) => Buffer.from(bytes).toString('hex');

// The same bytes as in signaling/tests/message.rs, where prost writes them.
test('the wire format is fixed', () => {
  assert.equal(hex(encode({ ping: { id: 5 } })), '52020805');
  assert.equal(hex(encode({ description: { kind: ANSWER, sdp: 'v' } })), '1a050802120176');
  const error = { code: ERRORS.indexOf('TOKEN_EXPIRED'), message: '', hint: 'h' };
  assert.equal(hex(encode({ error })), '4a0508021a0168');
});

test('a message comes back as it went', () => {
  const participant = { id: 300, name: 'Zoë', audio: true, video: false, muted: false, video_muted: true };
  const slot = { mid: '12', participant: 300, kind: VIDEO, active: true };
  for (const message of [
    { join: { token: 't', room: 'kitchen', name: 'Ann', version: 1 } },
    { joined: { participant: 1, room: 'r', participants: [participant, { ...participant, id: 2 }], publish: true, subscribe: false, version: 1 } },
    { description: { kind: ANSWER, sdp: 'v=0\r\n'.repeat(20_000) } },
    { roster: { participants: [] } },
    { slots: { slots: [slot, { ...slot, kind: AUDIO }] } },
    { mute: { kind: AUDIO, muted: true } },
    { leave: {} },
    { pong: { id: 2 ** 53 - 1 } },
  ]) assert.deepEqual(decode(encode(message)), message);
});

test('what a newer peer says is skipped', () => {
  assert.deepEqual(decode(Uint8Array.of(0x9a, 0x06, 0x02, 0x08, 0x01)), {}, 'body 99');
  // Ping with field 15 in every wire type, then id 7.
  const ping = Uint8Array.of(
    0x52, 24, 0x78, 0x96, 0x01, 0x79, 0, 0, 0, 0, 0, 0, 0, 0, 0x7a, 1, 65, 0x7d, 0, 0, 0, 0, 0x7d, 0, 0, 0, 0,
    0x08, 0x07,
  );
  ping[1] = ping.length - 2;
  assert.deepEqual(decode(ping), { ping: { id: 7 } });
});

test('garbage throws and never loops', () => {
  assert.throws(() => decode(Uint8Array.of(0x0a, 0x7f)), RangeError, 'cut short');
  assert.throws(() => decode(Uint8Array.of(0x0b)), RangeError, 'a group');
  assert.throws(() => decode(new Uint8Array(20).fill(0xff)), RangeError, 'an endless number');
  let seed = 1;
  const random = () => (seed = seed * 48271 % 2147483647);
  for (let round = 0; round < 5000; round++) {
    const bytes = Uint8Array.from({ length: random() % 40 }, () => random() % 256);
    try {
      decode(bytes);
    } catch (error) {
      assert(error instanceof RangeError, error.stack);
    }
  }
});

test('a misspelt field is an error here, not on the server', () => {
  assert.throws(() => encode({ join: { nmae: 'Ann' } }), TypeError);
});

test('the schema has the fields of the .proto file', () => {
  const source = readFileSync(new URL('../../signaling/proto/undertone.proto', import.meta.url), 'utf8');
  const codes = [...source.matchAll(/ERROR_CODE_(\w+) = (\d+);/g)];
  assert.deepEqual(codes.map(([, name]) => name), ERRORS);
  // Every field of every message, with any value, is written under its number.
  const text = source.replace(/\/\/.*$/gm, '');
  const bodies = [...text.matchAll(/^    (\w+) (\w+) = (\d+);/gm)];
  assert.equal(bodies.length, 11);
  for (const [, type, body, number] of bodies) {
    const block = text.match(new RegExp(`^message ${type} \\{(\\}|[^]*?\\n\\})`, 'm'))[1].replace(/enum \w+ \{[^]*?\}/, '');
    for (const [, repeated, kind, name, field] of block.matchAll(/^  (repeated )?(\w+) (\w+) = (\d+);/gm)) {
      const value = { string: 'x', bool: true }[kind] ?? (/^u|Kind|Code/.test(kind) ? 1 : {});
      const bytes = encode({ [body]: { [name]: repeated ? [value] : value } });
      assert.equal(bytes[0] >> 3, Number(number), body);
      assert.equal(bytes[2] >> 3, Number(field), `${type}.${name}`);
    }
  }
});
