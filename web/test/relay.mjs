// A weak link in front of a server's media port: datagrams get lost, wait in a queue and come late.
//
// Why: browsers' own network emulation leaves WebRTC alone, and the machine's needs root.

import { createSocket } from 'node:dgram';

/** IPv4 and UDP: what a link carries beside the datagram. */
const HEADERS = 28;

const bind = (socket) => new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));

/** Loses by a fixed sequence of numbers, so that two runs differ only in timing. */
function lottery(percent, seed) {
  let state = seed;
  return () => (state = state * 48271 % 2147483647) % 10_000 < percent * 100;
}

/**
 * One way of one client's link, in the order that `undertone lab` has: loss, then the rate with its queue (drop-tail, so
 * many ms long), then the delay.
 */
class Way {
  carried = 0;
  lost = 0;
  /** Dropped from a full queue. */
  dropped = 0;
  bytes = 0;
  #isLost;
  #link;
  /** When the datagrams before have all left. */
  #free = 0;
  /** What is under way, in order: timers alone do not keep it. */
  #due = [];
  #timer = null;

  constructor({ lossPercent = 0, rateKbps = Infinity, queue = 300, delay = 0 }, seed) {
    this.#isLost = lottery(lossPercent, seed);
    this.#link = { rateKbps, queue, delay };
  }

  carry(bytes, send) {
    const now = performance.now();
    const { rateKbps, queue, delay } = this.#link;
    if (this.#isLost()) {
      this.lost++;
      return;
    }
    if (this.#free - now > queue) {
      this.dropped++;
      return;
    }
    this.carried++;
    this.bytes += bytes.length + HEADERS;
    this.#free = Math.max(this.#free, now) + (bytes.length + HEADERS) * 8 / rateKbps;
    this.#due.push({ at: this.#free + delay, send });
    this.#arm(now);
  }

  close() {
    clearTimeout(this.#timer);
    this.#due = [];
  }

  #arm(now) {
    if (this.#timer || !this.#due.length) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      const now = performance.now();
      // A timer may fire up to a millisecond early.
      while (this.#due.length && this.#due[0].at < now + 1) this.#due.shift().send();
      this.#arm(now);
    }, this.#due[0].at - now);
  }
}

export class Relay {
  #front = createSocket('udp4');
  #clients = new Map();
  #link;

  /** One whose clients each have such a link; `up` and `down` say what is different in one direction. */
  static async start(link = {}) {
    const relay = new Relay();
    relay.impair(link);
    await bind(relay.#front);
    relay.address = `127.0.0.1:${relay.#front.address().port}`;
    return relay;
  }

  /** What link those have who come from now on. */
  impair({ up = {}, down = {}, ...both }) {
    this.#link = { up: { ...both, ...up }, down: { ...both, ...down } };
  }

  /** Carries between clients and this address from now on. Each client gets an address of its own. */
  target(address) {
    const port = Number(address.split(':')[1]);
    this.#front.on('message', async (bytes, from) => {
      const key = `${from.address}:${from.port}`;
      let client = this.#clients.get(key);
      if (!client) {
        client = { back: createSocket('udp4'), up: new Way(this.#link.up, 7), down: new Way(this.#link.down, 11) };
        this.#clients.set(key, client);
        client.ready = bind(client.back);
        client.back.on('message', (bytes) => {
          client.down.carry(bytes, () => this.#front.send(bytes, from.port, from.address));
        });
      }
      await client.ready;
      client.up.carry(bytes, () => client.back.send(bytes, port, '127.0.0.1'));
    });
  }

  /** What was lost so far, by chance or from a full queue. */
  get lost() {
    return [...this.#clients.values()].reduce((sum, { up, down }) => sum + up.lost + up.dropped + down.lost + down.dropped, 0);
  }

  /** What each client's link carried and lost, in the order in which they came. */
  counts() {
    const count = ({ carried, lost, dropped, bytes }) => ({ carried, lost, dropped, bytes });
    return [...this.#clients.values()].map(({ up, down }) => ({ up: count(up), down: count(down) }));
  }

  close() {
    this.#front.close();
    for (const { back, up, down } of this.#clients.values()) {
      back.close();
      up.close();
      down.close();
    }
  }
}
