// The real binary, as a server and as a participant.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** UNDERTONE names another than the release build. */
export const BINARY = process.env.UNDERTONE ?? fileURLToPath(new URL('../../target/release/undertone', import.meta.url));

/** A file of the repository. */
export const file = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

function run(args) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: cargo build --release, or name another by UNDERTONE`);
  const child = spawn(BINARY, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (text) => { log = (log + text).slice(-4000); });
  const lines = [];
  const ended = new Promise((resolve) => child.once('close', (code) => resolve(code)));
  const first = new Promise((resolve) => createInterface(child.stdout).on('line', (line) => {
    lines.push(line);
    resolve();
  }));
  return { child, lines, first, ended, log: () => log };
}

export class Server {
  /** Starts `undertone serve` on free ports (or those given), for this machine only. */
  static async start({ http = '127.0.0.1:0', flags = [] } = {}) {
    const process = run(['serve', '--http', http, '--media', '127.0.0.1:0', '--json', ...flags]);
    await Promise.race([process.first, process.ended]);
    if (!process.lines.length) throw new Error(`undertone serve did not start: ${process.log()}`);
    const server = new Server();
    server.process = process;
    ({ http: server.http, media: server.media } = JSON.parse(process.lines[0]));
    return server;
  }

  room(name, token = '') {
    return `http://${this.http}/${name}${token && `?token=${token}`}`;
  }

  /** Asks it to go, or with SIGKILL makes it. */
  async stop(signal = 'SIGTERM') {
    this.process.child.kill(signal);
    await this.process.ended;
  }
}

/** `undertone call`; resolves, once it has left, to what it says with --json: the objects, one a line. */
export function call(url, flags) {
  const process = run(['call', url, '--json', ...flags]);
  const result = process.ended.then((code) => {
    if (code !== 0) throw new Error(`undertone call failed (exit code ${code}): ${process.log()}`);
    return process.lines.map((line) => JSON.parse(line));
  });
  return { result, stop: () => process.child.kill() };
}

/** A room link with a token, as `undertone token` prints it. */
export function token(server, key, flags) {
  const { stdout, stderr, status } = spawnSync(BINARY, ['token', '--url', `http://${server.http}`, '--key', key, ...flags], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return stdout.trim();
}
