// Our own microphone and camera: opened, switched, explained when they fail.
//
// A camera that is off is closed, so that its light goes out; a microphone that is off is only silenced,
// since opening one again takes half a second of the first sentence.

const CONSTRAINTS = {
  audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  // What one link carries for everybody in the room, as there is no simulcast.
  video: { width: { ideal: 640 }, height: { ideal: 360 }, aspectRatio: { ideal: 16 / 9 }, frameRate: { ideal: 30, max: 30 }, facingMode: 'user' },
};
const NAMES = { audio: 'microphone', video: 'camera' };

/** Emits `change` when a track, or whether it is on, has changed. */
export class Media extends EventTarget {
  tracks = { audio: null, video: null };
  on = { audio: false, video: false };
  /** Why a device is missing: a sentence or two, or ''. */
  problem = { audio: '', video: '' };

  #chosen = { audio: undefined, video: undefined };
  #context = null;
  #analyser = null;

  /** Opens both with one question to the person; what cannot be had is left out and explained. */
  async open() {
    if (!navigator.mediaDevices) {
      this.problem.audio = this.problem.video = 'Browsers give microphone and camera to https pages and localhost only. Open this page by https; until then you can listen.';
      this.#changed();
      return;
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
      stream.getTracks().forEach((track) => this.#adopt(track));
    } catch {
      // One may be missing, taken or forbidden while the other works.
      await this.#openOne('audio');
      await this.#openOne('video');
    }
    this.#changed();
  }

  /** Switches on or off. */
  async set(kind, on) {
    if (kind === 'audio' && this.tracks.audio) {
      this.tracks.audio.enabled = on;
      this.on.audio = on;
    } else if (on) {
      await this.#openOne(kind);
    } else {
      this.#drop(kind);
    }
    this.#changed();
  }

  /** Changes to another device. */
  async choose(kind, deviceId) {
    this.#chosen[kind] = deviceId;
    this.#drop(kind);
    await this.#openOne(kind);
    this.#changed();
  }

  /** The devices there are, of a kind; their names are known only after permission. */
  async list(kind) {
    const devices = await navigator.mediaDevices?.enumerateDevices() ?? [];
    return devices.filter((device) => device.kind === `${kind}input` && device.deviceId);
  }

  /** How loud the microphone is now, 0 to 1. */
  level() {
    if (!this.on.audio || !this.#analyser) return 0;
    const samples = new Float32Array(this.#analyser.fftSize);
    this.#analyser.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
  }

  /** Browsers let sound be analysed only once the person has touched the page. */
  wake() {
    this.#context?.resume();
  }

  close() {
    this.#drop('audio');
    this.#drop('video');
    this.#changed();
  }

  async #openOne(kind) {
    const exact = this.#chosen[kind] && { deviceId: { exact: this.#chosen[kind] } };
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ [kind]: { ...CONSTRAINTS[kind], ...exact } });
      this.#adopt(stream.getTracks()[0]);
    } catch (error) {
      this.problem[kind] = explain(kind, error);
    }
  }

  #adopt(track) {
    const { kind } = track;
    this.#drop(kind);
    this.tracks[kind] = track;
    this.on[kind] = true;
    this.problem[kind] = '';
    track.onended = () => {
      this.#drop(kind);
      this.problem[kind] = `The ${NAMES[kind]} was unplugged or taken away.`;
      this.#changed();
    };
    if (kind === 'audio') this.#listen(track);
  }

  #drop(kind) {
    this.tracks[kind]?.stop();
    this.tracks[kind] = null;
    this.on[kind] = false;
  }

  #listen(track) {
    this.#context ??= new AudioContext();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser);
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

function explain(kind, { name }) {
  const device = NAMES[kind];
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return `This page may not use the ${device}. Allow it by the icon beside the address, then switch it on again.`;
    case 'NotFoundError':
    case 'OverconstrainedError':
      return `No ${device} was found. Plug one in, then switch it on again.`;
    case 'NotReadableError':
    case 'AbortError':
      return `The ${device} is in use by another program, or does not answer. Close the other program, then switch it on again.`;
    default:
      return `The ${device} cannot be used (${name}).`;
  }
}
