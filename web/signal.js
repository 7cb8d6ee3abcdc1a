// The messages of a signalling channel, read and written by hand.
//
// Why: the protocol is protobuf (signaling/proto/undertone.proto), so that every peer can grow; a browser
// needs four kinds of field of it, which fit on a page and need no library. One WebSocket binary frame
// holds one Message. In JavaScript a message is an object with one key, the name of its body:
//
//     encode({ join: { room: 'kitchen', name: 'Ann', version: 1 } })
//     decode(bytes)  // { slots: { slots: [{ mid: '2', participant: 7, kind: AUDIO, active: true }] } }
//
// Wire: https://protobuf.dev/programming-guides/encoding. A field is a key (number << 3 | wire type), then
// its value. A field that holds its default (0, '', false) is not written; read, it is the default.
// Unknown fields are skipped: they come from a newer peer.

export const VERSION = 1;
export const AUDIO = 1, VIDEO = 2; // MediaKind
export const OFFER = 1, ANSWER = 2; // Description.Kind

/** Error.code, by number. */
export const ERRORS = [
  'UNSPECIFIED', 'TOKEN_INVALID', 'TOKEN_EXPIRED', 'NOT_PERMITTED', 'ROOM_UNKNOWN', 'FULL',
  'BAD_DESCRIPTION', 'BAD_MESSAGE', 'VERSION', 'SHUTTING_DOWN', 'MEDIA_PATH', 'INTERNAL',
];

// name: [number, type]; a type is uint, bool, string, or the name of a message; [type] repeats.
const SCHEMA = {
  Message: {
    join: [1, 'Join'], joined: [2, 'Joined'], description: [3, 'Description'], candidate: [4, 'Candidate'],
    roster: [5, 'Roster'], slots: [6, 'Slots'], mute: [7, 'Mute'], leave: [8, 'Leave'], error: [9, 'Error'],
    ping: [10, 'Ping'], pong: [11, 'Pong'],
  },
  Join: { token: [1, 'string'], room: [2, 'string'], name: [3, 'string'], version: [4, 'uint'] },
  Joined: {
    participant: [1, 'uint'], room: [2, 'string'], participants: [3, ['Participant']],
    publish: [4, 'bool'], subscribe: [5, 'bool'], version: [6, 'uint'],
  },
  Participant: {
    id: [1, 'uint'], name: [2, 'string'], audio: [3, 'bool'], video: [4, 'bool'],
    muted: [5, 'bool'], video_muted: [6, 'bool'],
  },
  Description: { kind: [1, 'uint'], sdp: [2, 'string'] },
  Candidate: { candidate: [1, 'string'], mid: [2, 'string'] },
  Roster: { participants: [1, ['Participant']] },
  Slots: { slots: [1, ['Slot']] },
  Slot: { mid: [1, 'string'], participant: [2, 'uint'], kind: [3, 'uint'], active: [4, 'bool'] },
  Mute: { kind: [1, 'uint'], muted: [2, 'bool'] },
  Leave: {},
  Error: { code: [1, 'uint'], message: [2, 'string'], hint: [3, 'string'] },
  Ping: { id: [1, 'uint'] },
  Pong: { id: [1, 'uint'] },
};

const VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5; // wire types
const DEFAULTS = { uint: 0, bool: false, string: '' };

/** The bytes of a message. Unknown names are a programmer's mistake and throw. */
export function encode(message) {
  return Uint8Array.from(write('Message', message));
}

function write(type, object) {
  const out = [];
  for (const [name, value] of Object.entries(object)) {
    const field = SCHEMA[type][name];
    if (!field) throw new TypeError(`${type} has no field ${name}`);
    const [number, declared] = field;
    const kind = Array.isArray(declared) ? declared[0] : declared;
    for (const item of Array.isArray(declared) ? value : [value]) {
      if (item === DEFAULTS[kind] && !Array.isArray(declared)) continue;
      if (kind === 'uint' || kind === 'bool') {
        out.push(...varint(number << 3 | VARINT), ...varint(Number(item)));
      } else {
        const bytes = kind === 'string' ? new TextEncoder().encode(item) : write(kind, item);
        out.push(...varint(number << 3 | LENGTH), ...varint(bytes.length));
        for (const byte of bytes) out.push(byte); // a spread would put a long SDP on the stack
      }
    }
  }
  return out;
}

/** Seven bits a byte, the lowest first; the top bit says that more follow. Exact up to 2^53. */
function varint(value) {
  const out = [];
  for (; value > 0x7f; value = Math.floor(value / 128)) out.push(value % 128 | 0x80);
  out.push(value);
  return out;
}

/** Reads a message; `{}` for a body that this version does not know. Throws a RangeError for garbage. */
export function decode(bytes) {
  return read('Message', bytes);
}

function read(type, bytes) {
  const fields = Object.entries(SCHEMA[type]);
  const object = {};
  // A body of Message is there or not; other fields have defaults.
  if (type !== 'Message') {
    for (const [name, [, kind]] of fields) object[name] = Array.isArray(kind) ? [] : DEFAULTS[kind];
  }
  let at = 0;
  const take = (length) => {
    if (at + length > bytes.length) throw new RangeError(`a ${type} ends too early`);
    return bytes.subarray(at, at += length);
  };
  const number = () => {
    for (let value = 0, shift = 0; shift < 70; shift += 7) {
      const [byte] = take(1);
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError(`a number in a ${type} is too long`);
  };
  while (at < bytes.length) {
    const key = number();
    const wire = key % 8;
    const value = wire === VARINT ? number() : take(size(wire, number));
    const [name, [, declared]] = fields.find(([, [n]]) => n === Math.floor(key / 8)) ?? [null, []];
    const kind = Array.isArray(declared) ? declared[0] : declared;
    const expected = kind === 'uint' || kind === 'bool' ? VARINT : LENGTH;
    if (!name || wire !== expected) continue;
    let item = value;
    if (kind === 'bool') item = value !== 0;
    else if (kind === 'string') item = new TextDecoder().decode(value);
    else if (kind !== 'uint') item = read(kind, value);
    if (Array.isArray(declared)) object[name].push(item);
    else object[name] = item;
  }
  return object;
}

/** How many bytes a field that is no varint has. */
function size(wire, number) {
  if (wire === LENGTH) return number();
  if (wire === FIXED64) return 8;
  if (wire === FIXED32) return 4;
  throw new RangeError(`there is no wire type ${wire}`);
}
