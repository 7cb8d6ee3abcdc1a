// A weak link in front of a server's media port: datagrams get lost and come late.

import { createSocket } from 'node:dgram';

const bind = (socket) => new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));

/** Loses by a fixed sequence of numbers, so that two runs differ only in timing. */
function lottery(percent, seed) {
  let state = seed;
  return () => (state = state * 48271 % 2147483647) % 10_000 < percent * 100;
}

export class Relay {
  /** What was carried and what was lost. */
  carried = 0;
  lost = 0;
  #front = createSocket('udp4');
  #clients = new Map();

  /** One that loses so many percent of the datagrams, and holds the rest for so many ms, each way. */
  static async start({ lossPercent = 0, delay = 0 }) {
    const relay = new Relay();
    relay.lossPercent = lossPercent;
    relay.delay = delay;
    await bind(relay.#front);
    relay.address = `127.0.0.1:${relay.#front.address().port}`;
    return relay;
  }

  /** Carries between clients and this address from now on. Each client gets an address of its own. */
  target(address) {
    const port = Number(address.split(':')[1]);
    this.#front.on('message', async (bytes, from) => {
      const key = `${from.address}:${from.port}`;
      let client = this.#clients.get(key);
      if (!client) {
        client = { back: createSocket('udp4'), up: lottery(this.lossPercent, 7), down: lottery(this.lossPercent, 11) };
        this.#clients.set(key, client);
        client.ready = bind(client.back);
        client.back.on('message', (bytes) => this.#carry(client.down, () => this.#front.send(bytes, from.port, from.address)));
      }
      await client.ready;
      this.#carry(client.up, () => client.back.send(bytes, port, '127.0.0.1'));
    });
  }

  close() {
    this.closed = true;
    this.#front.close();
    for (const { back } of this.#clients.values()) back.close();
  }

  #carry(isLost, send) {
    if (isLost()) {
      this.lost++;
      return;
    }
    this.carried++;
    setTimeout(() => this.closed || send(), this.delay);
  }
}
