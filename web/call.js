// A call: one WebSocket, one RTCPeerConnection, and what both say about the room. No DOM in here.
//
// One offer per call. Its media lines are fixed: our microphone, our camera, then receive slots. The server
// puts other participants' streams into the slots and says by `Slots` messages who is in which, so nothing
// is ever negotiated again. What goes wrong becomes one `fault` event; then the call is over, and a new one
// may be started with the same tracks.

import { ANSWER, AUDIO, ERRORS, OFFER, VERSION, VIDEO, decode, encode } from './signal.js';

/** Receive slots: the three loudest speakers, and the pictures that a screen has room for. */
const AUDIO_SLOTS = 3, VIDEO_SLOTS = 8;
/** Without simulcast every link in the room carries this one picture. */
const VIDEO_BITS_PER_SECOND = 800_000;
/** How long the media path may take until UDP is taken for blocked: some ten tries of ICE and DTLS. */
const PATH_TIMEOUT = 12_000;
/** A server that has said nothing for this long is gone, whatever TCP believes. */
const PING_EVERY = 5_000, SILENCE = 15_000;

const KINDS = { audio: AUDIO, video: VIDEO };

/**
 * Why a call ended against one's will.
 * `code` is an error code of the protocol (see signal.js), or GONE: the server is not reached any more.
 * `wasConnected`: media flowed before, so the same again may well work.
 */
export class Fault {
  constructor(code, message, hint, wasConnected = false) {
    Object.assign(this, { code, message, hint, wasConnected });
  }
}

/**
 * Events: `joined` (ourselves known), `connected` (media flows), `unstable` (it does not, for now),
 * `change` (roster or slots), `fault` (with `.fault`).
 */
export class Call extends EventTarget {
  /** Our number in the room, once joined. */
  self = 0;
  /** We may send media; a token can say otherwise. */
  publish = true;
  /** Who is in the room: number to Participant, in the order of joining. */
  roster = new Map();
  /** The receive slots in use: mid to Slot. */
  slots = new Map();
  /** Media flows. */
  connected = false;
  pc = null;

  #socket;
  #tracks;
  #senders = {};
  #wasConnected = false;
  #over = false;
  #heard = 0;
  #timers = [];

  /** `tracks`: { audio, video }, each a MediaStreamTrack or null. */
  constructor({ url, room, token, name, tracks }) {
    super();
    this.#tracks = { ...tracks };
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = 'arraybuffer';
    this.#socket.onopen = () => this.#send({ join: { token, room, name, version: VERSION } });
    this.#socket.onmessage = ({ data }) => this.#receive(new Uint8Array(data));
    this.#socket.onclose = () => this.#gone();
    this.#heard = performance.now();
    this.#timers.push(setInterval(() => this.#watch(), PING_EVERY));
  }

  /** Sends another track, or none, without negotiation. */
  async setTrack(kind, track) {
    this.#tracks[kind] = track;
    // A declined line's sender is dead; its track waits for another call.
    await this.#senders[kind]?.replaceTrack(track).catch(() => {});
  }

  /** Tells the others that we stop or resume sending. */
  setMuted(kind, muted) {
    if (this.self) this.#send({ mute: { kind: KINDS[kind], muted } });
  }

  /** Leaves; nothing more will happen. */
  leave() {
    this.#send({ leave: {} });
    this.#end();
  }

  /** The slot in which a participant's picture (or voice) now is, with its receiver. */
  slotOf(participant, kind) {
    for (const slot of this.slots.values()) {
      if (slot.participant === participant && slot.kind === KINDS[kind]) return slot;
    }
    return null;
  }

  /** The receiver of a slot. */
  receiver(mid) {
    return this.pc?.getTransceivers().find((transceiver) => transceiver.mid === mid)?.receiver ?? null;
  }

  /** How loud a participant's voice is now, 0 to 1. */
  level(participant) {
    const slot = this.slotOf(participant, 'audio');
    if (!slot?.active) return 0;
    const [source] = this.receiver(slot.mid)?.getSynchronizationSources() ?? [];
    // A source that fell silent keeps its last level: only what was just played counts.
    const fresh = source && performance.timeOrigin + performance.now() - source.timestamp < 500;
    return fresh ? source.audioLevel ?? 0 : 0;
  }

  /** Round trip in ms, and packets received and lost since the start; null before media flows. */
  async quality() {
    const report = await this.pc?.getStats();
    if (!report) return null;
    const quality = { rtt: null, received: 0, lost: 0 };
    for (const stat of report.values()) {
      if (stat.type === 'candidate-pair' && stat.nominated && stat.currentRoundTripTime !== undefined) {
        quality.rtt = Math.round(stat.currentRoundTripTime * 1000);
      } else if (stat.type === 'inbound-rtp') {
        quality.received += stat.packetsReceived;
        quality.lost += Math.max(0, stat.packetsLost);
      }
    }
    return quality.rtt === null ? null : quality;
  }

  // ---- Signalling.

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(encode(message));
  }

  #receive(bytes) {
    this.#heard = performance.now();
    if (this.#over) return;
    let message;
    try {
      message = decode(bytes);
    } catch {
      this.#fail('BAD_MESSAGE', 'The server said something that cannot be read.', 'Reload the page: it may be older than the server.');
      return;
    }
    if (message.joined) this.#joined(message.joined);
    else if (message.roster) this.#setRoster(message.roster.participants);
    else if (message.slots) this.#setSlots(message.slots.slots);
    else if (message.description?.kind === ANSWER) this.#answer(message.description.sdp);
    else if (message.ping) this.#send({ pong: message.ping });
    else if (message.error) {
      const { code, message: text, hint } = message.error;
      this.#fail(ERRORS[code] ?? 'UNSPECIFIED', text, hint);
    } else if (message.leave) this.#gone();
  }

  #joined({ participant, participants, publish }) {
    this.self = participant;
    this.publish = publish;
    this.#setRoster(participants);
    this.#emit('joined');
    this.#offer();
  }

  #setRoster(participants) {
    this.roster = new Map(participants.map((participant) => [participant.id, participant]));
    this.#emit('change');
  }

  #setSlots(slots) {
    this.slots = new Map(slots.map((slot) => [slot.mid, slot]));
    this.#emit('change');
  }

  #watch() {
    if (performance.now() - this.#heard > SILENCE) this.#gone();
    else this.#send({ ping: { id: Math.floor(performance.now()) } });
  }

  // ---- Media.

  async #offer() {
    const pc = this.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    pc.onconnectionstatechange = () => this.#pathChanged();
    this.#timers.push(setTimeout(() => {
      if (!this.#wasConnected) this.#noPath();
    }, PATH_TIMEOUT));
    try {
      const audio = pc.addTransceiver('audio', { direction: 'sendonly' });
      preferCopies(audio);
      this.#senders.audio = audio.sender;
      const video = pc.addTransceiver('video', { direction: 'sendonly' });
      preferH264(video, RTCRtpSender);
      this.#senders.video = video.sender;
      for (let n = 0; n < AUDIO_SLOTS; n++) pc.addTransceiver('audio', { direction: 'recvonly' });
      for (let n = 0; n < VIDEO_SLOTS; n++) {
        preferH264(pc.addTransceiver('video', { direction: 'recvonly' }), RTCRtpReceiver);
      }
      for (const kind of ['audio', 'video']) {
        if (this.publish) await this.#senders[kind].replaceTrack(this.#tracks[kind]);
      }
      const { type, sdp } = await pc.createOffer();
      await pc.setLocalDescription({ type, sdp: withAudioNack(sdp) });
      // The server is ICE-lite and learns our address from our checks: no need to wait for candidates.
      this.#send({ description: { kind: OFFER, sdp: pc.localDescription.sdp } });
    } catch (error) {
      this.#fail('BAD_DESCRIPTION', `This browser cannot offer media: ${error.message}`, 'Use a current browser.');
    }
  }

  async #answer(sdp) {
    try {
      await this.pc.setRemoteDescription({ type: 'answer', sdp });
    } catch (error) {
      if (this.#over) return;
      this.#fail('BAD_DESCRIPTION', `The server's answer cannot be used: ${error.message}`, 'Tell whoever runs the server.');
      return;
    }
    const parameters = this.#senders.video.getParameters();
    for (const encoding of parameters.encodings) encoding.maxBitrate = VIDEO_BITS_PER_SECOND;
    // Without a common codec the line was declined, and there is nothing to limit.
    if (parameters.encodings.length) this.#senders.video.setParameters(parameters).catch(() => {});
  }

  #pathChanged() {
    const state = this.pc.connectionState;
    this.connected = state === 'connected';
    if (this.connected) {
      this.#wasConnected = true;
      this.#emit('connected');
    } else if (state === 'failed') {
      this.#noPath();
    } else if (state === 'disconnected') {
      this.#emit('unstable');
    }
  }

  // ---- The end.

  #noPath() {
    if (this.#wasConnected) {
      this.#fail('MEDIA_PATH', 'Sound and picture no longer get through.', 'Check your network.');
    } else {
      this.#fail('MEDIA_PATH', 'Sound and picture do not get through to the server.',
        'Many company and guest networks block UDP. Try another network, such as a phone\'s hotspot.');
    }
  }

  #gone() {
    this.#fail('GONE', 'The server cannot be reached.', 'Check your network.');
  }

  #fail(code, message, hint) {
    if (this.#over) return;
    this.#end();
    const event = new Event('fault');
    event.fault = new Fault(code, message, hint, this.#wasConnected);
    this.dispatchEvent(event);
  }

  #end() {
    this.#over = true;
    this.connected = false;
    // A timeout's number works here as well.
    this.#timers.forEach(clearInterval);
    this.#socket.close();
    this.pc?.close();
  }

  #emit(type) {
    if (!this.#over) this.dispatchEvent(new Event(type));
  }
}

/** Whether this browser can do pictures here at all; some builds lack H.264. */
export function hasPictures() {
  return baseline(RTCRtpSender).length > 0 && baseline(RTCRtpReceiver).length > 0;
}

/** H.264, constrained baseline, packetization-mode=1 (RFC 6184): what every browser and undertone decode. */
function baseline(side) {
  const codecs = side.getCapabilities('video')?.codecs ?? [];
  const fits = ({ mimeType, sdpFmtpLine = '' }) => /\/h264$/i.test(mimeType)
    && /packetization-mode=1/.test(sdpFmtpLine) && /profile-level-id=42/i.test(sdpFmtpLine);
  // 42e0xx is constrained baseline; 4200xx, plain baseline, is what some call the same.
  const isConstrained = ({ sdpFmtpLine }) => /=42e0/i.test(sdpFmtpLine);
  return codecs.filter(fits).sort((a, b) => isConstrained(b) - isConstrained(a));
}

/**
 * Lets lost packets of sound be asked for again (generic NACK, RFC 4585 §6.2.1). Browsers can, but offer it
 * for pictures alone; one syllable back is worth a round trip.
 */
function withAudioNack(sdp) {
  const [, opus] = sdp.match(/^a=rtpmap:(\d+) opus\/48000/m) ?? [];
  return opus ? sdp.replaceAll(`a=fmtp:${opus} `, `a=rtcp-fb:${opus} nack\r\n$&`) : sdp;
}

/**
 * Each packet of sound also carries the one before (RFC 2198). What the server has to ask for comes a round trip later, and a
 * listener's browser does not wait for that where only one packet in twenty takes so long. It costs as much again as the sound.
 */
function preferCopies(transceiver) {
  const isCopies = ({ mimeType }) => /\/red$/i.test(mimeType);
  const codecs = RTCRtpSender.getCapabilities('audio')?.codecs ?? [];
  if (codecs.some(isCopies)) transceiver.setCodecPreferences([...codecs].sort((a, b) => isCopies(b) - isCopies(a)));
}

/** Leaves a video line this one codec and its retransmissions; without it, the server declines the line. */
function preferH264(transceiver, side) {
  const [codec] = baseline(side);
  if (!codec) return;
  const rtx = side.getCapabilities('video').codecs.filter(({ mimeType }) => /\/rtx$/i.test(mimeType));
  transceiver.setCodecPreferences([codec, ...rtx]);
}
