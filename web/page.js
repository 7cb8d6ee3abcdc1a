// What a person sees and does: the lobby, the call, and what is said when something goes wrong.

import { Call, hasPictures } from './call.js';
import { Media } from './media.js';

/** Waits between tries to come back, in seconds; the last one repeats. */
const BACKOFF = [1, 2, 4, 8, 15];
/** Louder than this is speech (of 1): breath and fans stay below. */
const SPEECH = 0.015;
/** How long a tile stays lit after a word, in ms, so that it does not flicker between syllables. */
const HANGOVER = 500;

/** What each fault is called, and whether the same again can help. `auto`: without being asked. */
const TROUBLE = {
  GONE: { title: 'The server is gone', retry: true, auto: true },
  SHUTTING_DOWN: { title: 'The server is restarting', retry: true, auto: true },
  LOST: { title: 'The connection was lost', retry: true, auto: true },
  MEDIA_PATH: { title: 'No way through for sound and picture', retry: true },
  TOKEN_INVALID: { title: 'This link does not let you in' },
  TOKEN_EXPIRED: { title: 'This link has expired' },
  NOT_PERMITTED: { title: 'This link is for another room' },
  ROOM_UNKNOWN: { title: 'There is no such room' },
  FULL: { title: 'No free place', retry: true },
};

const $ = (id) => document.getElementById(id);
const media = new Media();
const link = new URL(location.href);
const token = link.searchParams.get('token') ?? '';
const granted = claims(token);

let room = roomOf(link);
let call = null;
let tries = 0;
let waiting = 0;
const tiles = new Map();

/** For tests and the curious: the call under way. */
globalThis.undertone = { get call() { return call; }, media };

// ---- Lobby.

function openLobby() {
  show('lobby');
  $('room-field').hidden = Boolean(room);
  $('where').textContent = room;
  $('welcome').textContent = room ? `Join ${room}` : 'Start a call';
  document.title = room ? `${room} · Undertone` : 'Undertone';
  const name = $('name');
  name.value = granted.sub || remembered() || name.value;
  name.readOnly = Boolean(granted.sub);
  (room ? name : $('room')).focus();
}

function roomOf({ pathname }) {
  const name = pathname.split('/').pop();
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // a stray percent sign
  }
}

/** What a token says to its bearer; the server checks it, we only read it. */
function claims(token) {
  try {
    const json = atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(json, (char) => char.charCodeAt(0))));
  } catch {
    return {};
  }
}

function remembered() {
  try {
    return localStorage.getItem('name') ?? '';
  } catch {
    return ''; // storage may be forbidden
  }
}

$('door').onsubmit = (event) => {
  event.preventDefault();
  if (!room) {
    // A path with these would not be a room's.
    room = $('room').value.trim().replace(/[./\\]+/g, '-');
    if (!room) return $('room').focus();
    history.pushState(null, '', `${encodeURIComponent(room)}${location.search}`);
    openLobby();
  }
  try {
    localStorage.setItem('name', $('name').value);
  } catch { /* then not */ }
  media.wake();
  tries = 0;
  enter();
};

async function listDevices() {
  for (const kind of ['audio', 'video']) {
    const devices = await media.list(kind);
    const field = document.querySelector(`[data-device=${kind}]`);
    const select = field.querySelector('select');
    field.hidden = devices.length < 2;
    const current = media.tracks[kind]?.getSettings().deviceId;
    select.replaceChildren(...devices.map(({ label, deviceId }) => new Option(label, deviceId, false, deviceId === current)));
    select.onchange = () => media.choose(kind, select.value);
  }
}

// ---- The call.

function enter() {
  clearInterval(waiting);
  $('join').disabled = true;
  $('join').textContent = 'Joining…';
  const url = new URL('ws', location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  url.search = '';
  call = new Call({ url, room, token, name: $('name').value.trim(), tracks: media.tracks });
  call.addEventListener('joined', onJoined);
  call.addEventListener('connected', () => {
    tries = 0;
    banner('');
  });
  call.addEventListener('unstable', () => banner('Your connection is unstable…'));
  call.addEventListener('change', render);
  call.addEventListener('fault', ({ fault }) => onFault(fault));
}

function onJoined() {
  $('trouble').close();
  clearStage(); // after a server's restart, numbers mean other people
  show('call');
  banner('Connecting…');
  if (!call.publish) media.close();
  for (const kind of ['audio', 'video']) call.setMuted(kind, !media.on[kind]);
  if (!call.publish) toast('Your link lets you listen only.');
  else if (!media.tracks.audio) toast(media.problem || 'You have no microphone: the others cannot hear you.');
  else if (!hasPictures()) toast('This browser has no H.264: you will hear the others, but not see them.');
  navigator.wakeLock?.request('screen').catch(() => {});
  render();
}

function leave() {
  if (call?.self) toast('You left the call.');
  call?.leave();
  call = null;
  clearInterval(waiting);
  $('trouble').close();
  clearStage();
  openLobby();
}

function clearStage() {
  tiles.forEach(({ element }) => element.remove());
  tiles.clear();
  known = null;
}

function onFault({ code, message, hint, wasConnected }) {
  // A path that has worked comes back more often than not.
  const kind = code === 'MEDIA_PATH' && wasConnected ? 'LOST' : code;
  const { title = 'The call cannot go on', retry, auto } = TROUBLE[kind] ?? {};
  $('trouble-title').textContent = title;
  $('trouble-text').textContent = message;
  $('trouble-hint').textContent = hint;
  $('retry').hidden = !retry;
  $('retry').textContent = 'Try again';
  $('join').disabled = false;
  $('join').textContent = 'Join';
  if (auto) {
    let seconds = BACKOFF[Math.min(tries++, BACKOFF.length - 1)];
    const count = () => {
      $('retry').textContent = `Try again (${seconds})`;
      if (seconds-- === 0) retryNow();
    };
    waiting = setInterval(count, 1000);
    count();
  }
  if (!$('trouble').open) $('trouble').showModal();
}

function retryNow() {
  $('retry').textContent = 'Trying…';
  enter();
}

$('retry').onclick = retryNow;
$('back').onclick = leave;
$('trouble').oncancel = (event) => {
  event.preventDefault();
  leave();
};
$('leave').onclick = leave;
addEventListener('pagehide', () => call?.leave());
addEventListener('pageshow', ({ persisted }) => persisted && leave());
addEventListener('popstate', () => location.reload());

// ---- Tiles.

/** Who was here when we last looked: number to name; null before the first look. */
let known = null;

/** Makes the stage what roster, slots and our own devices say. */
function render() {
  if (!call?.self) return;
  greet();
  const people = [...call.roster.values()].filter(({ id }) => id !== call.self);
  const self = call.roster.get(call.self);
  const wanted = self ? [...people, self] : people;
  for (const [id, { element }] of tiles) {
    if (!wanted.some((person) => person.id === id)) {
      element.remove();
      tiles.delete(id);
    }
  }
  for (const person of wanted) {
    const tile = tiles.get(person.id) ?? addTile(person);
    const own = person.id === call.self;
    const muted = own ? !media.on.audio : person.muted || !person.audio;
    tile.element.querySelector('.name').textContent = own ? 'You' : person.name;
    tile.element.querySelector('.initials').textContent = initials(person.name);
    tile.element.classList.toggle('is-muted', muted);
    tile.element.setAttribute('aria-label', `${person.name}${own ? ' (you)' : ''}${muted ? ', muted' : ''}`);
    const slot = own ? null : call.slotOf(person.id, 'video');
    const track = own ? media.tracks.video : slot?.active ? call.receiver(slot.mid)?.track : null;
    showTrack(tile, track);
  }
  // In the roster's order, ourselves last; moved only if need be, since a moved video stutters.
  const ordered = wanted.map(({ id }) => tiles.get(id).element);
  const present = $('stage').querySelectorAll('.tile');
  if (ordered.some((element, n) => element !== present[n])) $('stage').append(...ordered);
  const alone = people.length === 0;
  $('alone').hidden = !alone;
  tiles.get(call.self)?.element.classList.toggle('floating', people.length === 1);
  playVoices();
  arrange();
}

function addTile({ id, name }) {
  const element = $('tile').content.cloneNode(true).firstElementChild;
  const hue = [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 360, 7);
  element.style.setProperty('--hue', hue);
  const tile = { element, video: element.querySelector('video'), track: null, spoke: -HANGOVER };
  tile.video.classList.toggle('mirrored', id === call.self);
  tiles.set(id, tile);
  return tile;
}

/** A picture is shown from its first frame on, so that nobody sees the one who was in the slot before. */
function showTrack(tile, track) {
  if (tile.track === track) return;
  tile.track = track;
  tile.video.hidden = true;
  tile.video.srcObject = track ? new MediaStream([track]) : null;
  if (!track) return;
  const reveal = () => tile.track === track && (tile.video.hidden = false);
  if (tile.video.requestVideoFrameCallback) tile.video.requestVideoFrameCallback(reveal);
  else reveal();
}

/** Each audio slot plays by an element of its own, whoever is in it. */
function playVoices() {
  const tracks = call.pc?.getReceivers().map(({ track }) => track).filter(({ kind }) => kind === 'audio') ?? [];
  const voices = [...$('voices').children];
  if (tracks.length === voices.length && voices.every((voice, n) => voice.srcObject.getTracks()[0] === tracks[n])) return;
  $('voices').replaceChildren(...tracks.map((track) => {
    const voice = new Audio();
    voice.srcObject = new MediaStream([track]);
    voice.play().catch(() => banner('Click anywhere to hear the others.'));
    return voice;
  }));
}

addEventListener('pointerdown', () => {
  for (const voice of $('voices').children) {
    if (voice.paused) voice.play().then(() => banner(''), () => {});
  }
});

function initials(name) {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0] ?? '').join('').toUpperCase();
}

/** Says who came and went. */
function greet() {
  const present = new Map([...call.roster.values()].map(({ id, name }) => [id, name]));
  if (known) {
    for (const [id, name] of present) if (!known.has(id) && id !== call.self) toast(`${name} joined`);
    for (const [id, name] of known) if (!present.has(id)) toast(`${name} left`);
  }
  known = present;
}

/** Finds the number of columns that makes the tiles largest. They are 16:9, or cut down to what there is room for. */
function arrange() {
  const stage = $('stage');
  const count = stage.querySelectorAll('.tile:not(.floating)').length;
  if (!count) return;
  const gap = 12;
  const tallest = count === 1 ? 4 / 3 : 1;
  let best = { area: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    let width = (stage.clientWidth - gap * (columns - 1)) / columns;
    let height = (stage.clientHeight - gap * (rows - 1)) / rows;
    width = Math.min(width, height * 16 / 9);
    height = Math.min(height, width * tallest);
    if (width * height > best.area) best = { area: width * height, width, height };
  }
  stage.style.setProperty('--width', `${Math.floor(best.width)}px`);
  stage.style.setProperty('--height', `${Math.floor(best.height)}px`);
}

new ResizeObserver(arrange).observe($('stage'));

// ---- Our own devices.

function renderMedia() {
  for (const kind of ['audio', 'video']) {
    const [on, off] = kind === 'audio' ? ['mic', 'mic-off'] : ['camera', 'camera-off'];
    const label = kind === 'audio'
      ? (media.on.audio ? 'Mute your microphone' : 'Unmute your microphone')
      : (media.on.video ? 'Switch your camera off' : 'Switch your camera on');
    for (const button of document.querySelectorAll(`[data-toggle=${kind}]`)) {
      button.querySelector('use').setAttribute('href', `#${media.on[kind] ? on : off}`);
      button.classList.toggle('off', !media.on[kind]);
      button.disabled = call?.publish === false;
      button.setAttribute('aria-label', label);
      button.title = `${label} (${kind === 'audio' ? 'm' : 'v'})`;
    }
  }
  const preview = $('preview');
  preview.hidden = !media.tracks.video;
  if (preview.srcObject?.getTracks()[0] !== media.tracks.video) {
    preview.srcObject = media.tracks.video && new MediaStream([media.tracks.video]);
  }
  $('loudness').hidden = !media.on.audio;
  $('problem').textContent = media.problem;
  $('problem').hidden = !media.problem;
}

media.addEventListener('change', () => {
  renderMedia();
  if (call?.self && call.publish) {
    for (const kind of ['audio', 'video']) {
      call.setTrack(kind, media.tracks[kind]);
      call.setMuted(kind, !media.on[kind]);
    }
    render();
  }
});

async function toggle(kind) {
  if (call?.publish === false) return;
  media.wake();
  await media.set(kind, !media.on[kind]);
  if (!media.tracks[kind] && media.problem) toast(media.problem);
}

for (const button of document.querySelectorAll('[data-toggle]')) {
  button.onclick = () => toggle(button.dataset.toggle);
}
addEventListener('keydown', ({ key, target, ctrlKey, metaKey, altKey, repeat }) => {
  if (ctrlKey || metaKey || altKey || repeat || target.closest('input, select, dialog')) return;
  if (key === 'm') toggle('audio');
  if (key === 'v') toggle('video');
});
navigator.mediaDevices?.addEventListener('devicechange', listDevices);

// ---- What lives.

/** Speaking lights and the lobby's meter, ten times a second. */
setInterval(() => {
  if (!$('lobby').hidden) {
    // Speech has some 0.02 to 0.3: a root makes both ends visible.
    $('loudness').value = Math.min(1, Math.sqrt(media.level() * 3));
    return;
  }
  const now = performance.now();
  for (const [id, tile] of tiles) {
    const level = id === call?.self ? media.level() : call?.level(id) ?? 0;
    if (level > SPEECH) tile.spoke = now;
    tile.element.classList.toggle('speaking', now - tile.spoke < HANGOVER);
  }
}, 100);

/** How the link does, every two seconds: since the last look, not since the start. */
let before = { received: 0, lost: 0 };
setInterval(async () => {
  const now = call?.connected ? await call.quality() : null;
  if (!now) return $('quality').textContent = '';
  const lost = Math.max(0, now.lost - before.lost), received = now.received - before.received;
  const share = lost + received > 0 ? 100 * lost / (lost + received) : 0;
  before = now;
  $('quality').textContent = share < 0.5 ? `${now.rtt} ms` : `${now.rtt} ms · ${share.toFixed(0)} % lost`;
  $('quality').title = 'Round trip to the server, and packets that did not arrive';
}, 2000);

function show(view) {
  for (const main of document.querySelectorAll('main')) main.hidden = main.id !== view;
  document.body.dataset.view = view;
  $('copy').hidden = view !== 'call';
  $('join').disabled = false;
  $('join').textContent = 'Join';
  if (view === 'lobby') $('quality').textContent = '';
}

function banner(text) {
  $('banner').textContent = text;
  $('banner').hidden = !text;
}

let fading = 0;
function toast(text) {
  $('toast').textContent = text;
  $('toast').classList.add('shown');
  clearTimeout(fading);
  fading = setTimeout(() => $('toast').classList.remove('shown'), Math.max(3000, text.length * 60));
}

async function copyLink() {
  // A token admits one person under one name: it is not for passing on.
  const shared = new URL(location.pathname, location.href);
  try {
    await navigator.clipboard.writeText(shared);
    toast(token ? 'Link copied. Guests also need a token of their own.' : 'Link copied');
  } catch {
    toast(shared.href);
  }
}
$('copy').onclick = copyLink;
document.querySelector('[data-copy]').onclick = copyLink;

openLobby();
renderMedia();
if (granted.publish !== false) media.open().then(listDevices);
