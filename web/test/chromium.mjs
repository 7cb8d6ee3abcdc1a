// A headless Chromium with a fake microphone and camera, driven without dependencies.
//
// Why: the DevTools protocol over --remote-debugging-pipe is JSON messages ended by a zero byte, written to
// the browser's file descriptor 3 and read from its 4. No port, no WebSocket, no library.
// Reference: https://chromedevtools.github.io/devtools-protocol/

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FLAGS = [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream=fps=30', '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required', '--remote-debugging-pipe',
  // Several pages at once, each as awake as if it were in front.
  '--disable-renderer-backgrounding', '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows',
];

export class Chromium {
  #process;
  #profile;
  #next = 1;
  #waiting = new Map();
  #listeners = new Map();
  #buffer = [];

  /** Starts one with an empty profile. CHROMIUM names another binary. */
  static async start(flags = []) {
    const binary = process.env.CHROMIUM ?? '/usr/bin/chromium';
    if (!existsSync(binary)) {
      throw new Error(`${binary} is not there: apt-get install chromium, or name another by CHROMIUM`);
    }
    const chromium = new Chromium();
    chromium.#profile = await mkdtemp(join(tmpdir(), 'undertone-chromium-'));
    chromium.#process = spawn(binary, [...FLAGS, ...flags, `--user-data-dir=${chromium.#profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    chromium.#process.stdio[4].on('data', (chunk) => chromium.#read(chunk));
    chromium.#process.on('exit', (code) => chromium.#ended(`Chromium ended (exit code ${code})`));
    chromium.#process.on('error', (error) => chromium.#ended(error.message));
    chromium.#process.stdio[3].on('error', () => {}); // told by exit
    await chromium.send('Browser.getVersion');
    return chromium;
  }

  /** Opens a page in a window of its own. */
  async open(url, { width = 1280, height = 800 } = {}) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank', newWindow: true, width, height });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId, targetId);
    await page.prepare({ width, height });
    await page.goto(url);
    return page;
  }

  /** Sends a command; resolves to its result. */
  send(method, params = {}, sessionId) {
    const id = this.#next++;
    const message = JSON.stringify({ id, method, params, sessionId });
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { method, resolve, reject });
      this.#process.stdio[3].write(`${message}\0`);
    });
  }

  /** Calls back for events of one page. */
  on(sessionId, listener) {
    this.#listeners.set(sessionId, listener);
  }

  async close() {
    const process = this.#process;
    if (process.exitCode === null && process.signalCode === null) {
      const gone = new Promise((resolve) => process.once('exit', resolve));
      this.send('Browser.close').catch(() => {});
      const patience = setTimeout(() => process.kill('SIGKILL'), 5000);
      await gone;
      clearTimeout(patience);
    }
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #read(chunk) {
    for (let end; (end = chunk.indexOf(0)) >= 0; chunk = chunk.subarray(end + 1)) {
      const text = Buffer.concat([...this.#buffer, chunk.subarray(0, end)]).toString();
      this.#buffer = [];
      this.#receive(JSON.parse(text));
    }
    if (chunk.length) this.#buffer.push(chunk);
  }

  #receive({ id, result, error, method, params, sessionId }) {
    if (method) return this.#listeners.get(sessionId)?.(method, params);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new Error(`${waiting.method}: ${error.message}`));
    else waiting?.resolve(result);
  }

  #ended(reason) {
    for (const { method, reject } of this.#waiting.values()) reject(new Error(`${method}: ${reason}`));
    this.#waiting.clear();
  }
}

export class Page {
  /** Uncaught errors and console.error of the page; a test checks that there are none. */
  errors = [];
  #chromium;
  #session;
  #target;

  constructor(chromium, session, target) {
    this.#chromium = chromium;
    this.#session = session;
    this.#target = target;
    chromium.on(session, (method, params) => {
      if (method === 'Runtime.exceptionThrown') {
        const { exception, text } = params.exceptionDetails;
        this.errors.push(exception?.description ?? text);
      }
      if (method === 'Log.entryAdded' && params.entry.level === 'error') {
        this.errors.push(`${params.entry.text} ${params.entry.url ?? ''}`);
      }
    });
  }

  send(method, params) {
    return this.#chromium.send(method, params, this.#session);
  }

  async prepare({ width, height, phone = false, dark = false }) {
    await this.send('Page.enable');
    await this.send('Runtime.enable');
    await this.send('Log.enable');
    await this.resize({ width, height, phone });
    await this.theme(dark);
  }

  resize({ width, height, phone = false }) {
    const deviceScaleFactor = phone ? 2 : 1;
    return this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor, mobile: phone });
  }

  theme(dark) {
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }];
    return this.send('Emulation.setEmulatedMedia', { features });
  }

  async goto(url) {
    const { errorText } = await this.send('Page.navigate', { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await this.until('document.readyState === "complete"');
  }

  /** The value of an expression (awaited) in the page. The person is taken to have touched it. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression, awaitPromise: true, returnByValue: true, userGesture: true,
    });
    if (exceptionDetails) {
      throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    }
    return result.value;
  }

  /** Waits until an expression is true, and returns its value. */
  async until(expression, seconds = 20) {
    const deadline = performance.now() + seconds * 1000;
    for (;;) {
      const value = await this.evaluate(expression).catch(() => false); // a page under way has no context
      if (value) return value;
      if (performance.now() > deadline) {
        throw new Error(`not so after ${seconds} s: ${expression}${this.errors.map((error) => `\n  page: ${error}`).join('')}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  async close() {
    await this.#chromium.send('Target.closeTarget', { targetId: this.#target });
  }

  /** A PNG of what is to be seen. */
  async screenshot() {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(data, 'base64');
  }
}
