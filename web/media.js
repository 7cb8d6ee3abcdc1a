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

  /** Why a device is missing: the name of the browser's exception, or a reason of ours; '' if it is not. */
  #failed = { audio: '', video: '' };
  #chosen = { audio: undefined, video: undefined };
  #context = null;
  #analyser = null;

  /** What is wrong with our devices and what to do about it, in a sentence or two; '' if all is well. */
  get problem() {
    const { audio, video } = this.#failed;
    if (audio && audio === video) return explain('microphone or camera', audio);
    return [audio && explain(NAMES.audio, audio), video && explain(NAMES.video, video)].filter(Boolean).join(' ');
  }

  /** Opens both with one question to the person; what cannot be had is left out and explained. */
  async open() {
    if (!navigator.mediaDevices) {
      this.#failed = { audio: 'insecure', video: 'insecure' };
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
    if (!navigator.mediaDevices) return;
    const exact = this.#chosen[kind] && { deviceId: { exact: this.#chosen[kind] } };
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ [kind]: { ...CONSTRAINTS[kind], ...exact } });
      this.#adopt(stream.getTracks()[0]);
    } catch (error) {
      this.#failed[kind] = error.name;
    }
  }

  #adopt(track) {
    const { kind } = track;
    this.#drop(kind);
    this.tracks[kind] = track;
    this.on[kind] = true;
    this.#failed[kind] = '';
    track.onended = () => {
      this.#drop(kind);
      this.#failed[kind] = 'gone';
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

function explain(device, reason) {
  switch (reason) {
    case 'insecure':
      return 'Browsers give microphone and camera to https pages and localhost only. Open this page by https; here you can listen.';
    case 'gone':
      return `The ${device} was unplugged or taken away.`;
    case 'NotAllowedError':
    case 'SecurityError':
      return `This page may not use the ${device}. Change that by the icon beside the address, then switch on again.`;
    case 'NotFoundError':
    case 'OverconstrainedError':
      return `No ${device} was found. Plug one in, then switch on again.`;
    case 'NotReadableError':
    case 'AbortError':
      return `The ${device} does not answer, or another program uses it. Close that program, then switch on again.`;
    default:
      return `The ${device} cannot be used (${reason}).`;
  }
}
