// Two pages of one headless Chromium call each other through a weak link; what both said and heard is left in files.
//
//   node bench/peers/chromium.mjs --speech SPEECH_48K.wav --out DIR [--secs 32] [--after 5] [--loss P] [--outage G/B]
//        [--delay MS] [--jitter MS] [--seed N] [--red 1]
//
// DIR gets {a,b}-{said,heard}.pcm (16 bits, mono) with {rate, starts_ms} in .json beside each, on one clock. A line of
// JSON on standard output: sent_kbps (a's, every byte, IP and UDP headers counted), concealed, loss as it was.
// The link is `cargo run -p undertone-io --example relay`; its losses begin `--after` seconds after it.

import { spawn } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Chromium } from '../../web/test/chromium.mjs';

const root = new URL('../..', import.meta.url).pathname;
const options = { secs: 32, after: 5, delay: 20, jitter: 0, loss: 0, seed: 1, red: 0 };
for (let i = 2; i < process.argv.length; i += 2) options[process.argv[i].slice(2)] = process.argv[i + 1];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Runs in the page: one end of the call, which keeps every sample that its tracks deliver.
function end() {
  const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const kept = {};
  async function keep(name, track) {
    const sound = (kept[name] = { samples: [], starts: [] });
    const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1000 }).readable.getReader();
    for (let length = 0; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
      sound.rate = value.sampleRate;
      // When the sound began, as this piece has it: timestamps are of one clock, pieces come without gaps.
      sound.starts.push(performance.timeOrigin + value.timestamp / 1000 - (length * 1000) / value.sampleRate);
      sound.samples.push(Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32767)))));
      length += value.numberOfFrames;
      value.close();
    }
  }
  connection.ontrack = ({ track }) => {
    keep('heard', track);
    // Only what is played is pulled through the jitter buffer.
    const speaker = new Audio();
    speaker.srcObject = new MediaStream([track]);
    speaker.play();
    window.speaker = speaker;
  };
  const gathered = () => new Promise((resolve) => {
    const look = () => connection.iceGatheringState === 'complete' && resolve(connection.localDescription.sdp);
    connection.onicegatheringstatechange = look;
    look();
  });
  return {
    connection,
    async start(red) {
      const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      const stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
      const [track] = stream.getTracks();
      this.track = track;
      connection.addTrack(track, stream);
      keep('said', track);
      this.red = red;
    },
    prefer() {
      const codecs = RTCRtpReceiver.getCapabilities('audio').codecs;
      const isRed = ({ mimeType }) => mimeType.toLowerCase() === 'audio/red';
      const order = [...codecs.filter(isRed), ...codecs.filter((codec) => !isRed(codec))];
      if (this.red) for (const transceiver of connection.getTransceivers()) transceiver.setCodecPreferences(order);
    },
    async offer() {
      this.prefer();
      await connection.setLocalDescription(await connection.createOffer());
      return gathered();
    },
    async answer(sdp) {
      await connection.setRemoteDescription({ type: 'offer', sdp });
      this.prefer();
      await connection.setLocalDescription(await connection.createAnswer());
      return gathered();
    },
    accept: (sdp) => connection.setRemoteDescription({ type: 'answer', sdp }),
    async heardSoFar() {
      const stats = [...(await connection.getStats()).values()].find(({ type }) => type === 'inbound-rtp');
      return { concealed: stats?.concealedSamples ?? 0, samples: stats?.totalSamplesReceived ?? 0 };
    },
    sound(name) {
      const { samples, starts, rate } = kept[name];
      const bytes = new Uint8Array(samples.reduce((sum, { byteLength }) => sum + byteLength, 0));
      let at = 0;
      for (const piece of samples) {
        bytes.set(new Uint8Array(piece.buffer), at);
        at += piece.byteLength;
      }
      let text = '';
      for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
      const middle = [...starts].sort((x, y) => x - y)[starts.length >> 1];
      return { rate, starts_ms: middle, pcm: btoa(text) };
    },
  };
}

/** The description with this one candidate, or with none. */
function withCandidate(sdp, candidate) {
  const lines = sdp.split('\r\n').filter((line) => !/^a=(candidate:|end-of-candidates)/.test(line));
  const place = lines.findIndex((line) => line.startsWith('a=mid:'));
  if (candidate) lines.splice(place + 1, 0, `a=candidate:1 1 udp 2122260223 ${candidate.replace(':', ' ')} typ host`);
  return lines.join('\r\n');
}

const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>end</title>'));
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const chromium = await Chromium.start([
  '--allow-loopback-in-peer-connection', `--use-file-for-fake-audio-capture=${options.speech}%noloop`,
]);
let relay;
try {
  const pages = [];
  for (const name of ['a', 'b']) {
    const page = await chromium.open(`http://localhost:${server.address().port}/${name}`);
    await page.evaluate(`window.end = (${end})()`);
    pages.push(page);
  }
  const [a, b] = pages;
  await Promise.all(pages.map((page) => page.evaluate(`end.start(${Number(options.red) > 0})`)));
  const offer = await a.evaluate('end.offer()');
  const answer = await b.evaluate(`end.answer(${JSON.stringify(withCandidate(offer))})`);
  const [, port] = answer.match(/^a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+) typ host/m);

  const args = ['upstream', 'delay', 'jitter', 'loss', 'outage', 'seed', 'after'];
  options.upstream = `127.0.0.1:${port}`;
  relay = spawn(
    `${root}target/release/examples/relay`,
    args.filter((name) => name in options).flatMap((name) => [`--${name}`, String(options[name])]),
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const lines = createInterface({ input: relay.stdout })[Symbol.asyncIterator]();
  const address = (await lines.next()).value;
  const totals = async () => {
    relay.stdin.write('\n');
    return JSON.parse((await lines.next()).value);
  };
  const started = performance.now();
  await a.evaluate(`end.accept(${JSON.stringify(withCandidate(answer, address))})`);
  for (const page of pages) await page.until('end.connection.connectionState === "connected"');

  // Two seconds for what the losses do to settle, then the measured stretch until the end.
  const look = async () => ({
    at: performance.now(),
    totals: await totals(),
    heard: await Promise.all(pages.map((page) => page.evaluate('end.heardSoFar()'))),
  });
  await sleep(Math.max(0, started + options.after * 1000 + 2000 - performance.now()));
  const first = await look();
  await sleep(Math.max(0, started + options.secs * 1000 - performance.now()));
  const last = await look();

  await mkdir(options.out, { recursive: true });
  for (const [name, page] of [['a', a], ['b', b]]) {
    for (const what of ['said', 'heard']) {
      const { pcm, ...about } = await page.evaluate(`end.sound('${what}')`);
      await writeFile(`${options.out}/${name}-${what}.pcm`, Buffer.from(pcm, 'base64'));
      await writeFile(`${options.out}/${name}-${what}.json`, JSON.stringify(about));
    }
  }
  const ms = last.at - first.at;
  const of = (name) => last.totals[name] - first.totals[name];
  const heard = (name) => last.heard.reduce((sum, it, end) => sum + it[name] - first.heard[end][name], 0);
  console.log(JSON.stringify({
    sent_kbps: (8 * (of('up_bytes') + of('down_bytes'))) / 2 / ms,
    concealed_ratio: heard('concealed') / heard('samples'),
    lost_ratio: of('lost_datagrams') / of('datagrams'),
    from_ms: await a.evaluate('performance.timeOrigin + performance.now()') - (performance.now() - first.at),
    chromium: (await chromium.send('Browser.getVersion')).product,
  }));
} finally {
  relay?.stdin.end();
  server.close();
  await chromium.close();
}
