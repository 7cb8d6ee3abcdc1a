// Undertone: voice and video calls for networks that others give up on.
//
// A call in C:
//
//     ut_options options = { .size = sizeof options, .room_url = url, .name = "Ada", .send = UT_AUDIO };
//     ut_call *call;
//     if (ut_call_new(&options, &call) != UT_OK) ...
//     ut_call_join(call);                         // returns at once; events tell how it went
//     every 10 ms, at the sound device's pace:    // 16 kHz, mono, 16 bits; or 48 kHz, and music
//         ut_call_push(call, microphone, 160);
//         ut_call_pull(call, 160, speaker);
//     a few times a second:
//         while (ut_call_poll(call, &event) == UT_OK) ...
//     ut_call_free(call);
//
// Rules, the same for every function:
//   - Inputs come first, outputs last. An output is written only if the result is UT_OK.
//   - A pointer that must not be NULL is checked, and answered with UT_NULL; any other must be valid.
//     Texts are UTF-8 and end with a NUL.
//   - There are no callbacks: the library never runs your code. Its threads take no signals, SIGPIPE included.
//   - Any function may be called from any thread, also at the same time, with two exceptions. What
//     ut_call_poll and ut_call_pull_picture return is valid until the next call of the same function, so
//     let one thread call each of them. And ut_call_free must be the last call of all for its handle.
//   - No function waits for the network; only ut_call_free may take a moment.
//   - A panic inside becomes UT_PANIC; nothing unwinds into your code.
//   - Sound devices are yours: the library opens none, and runs where there is none.
//
// To link: -lundertone. The static library also wants the C++ runtime and what
// `cargo rustc -p undertone-ffi --crate-type staticlib -- --print native-static-libs` names.


#ifndef UNDERTONE_H
#define UNDERTONE_H

// Generated from ffi/src by cbindgen: edit there, then UPDATE_GOLDEN=1 cargo test -p undertone-ffi.

#include <stddef.h>
#include <stdint.h>

// Sound. A flag for ut_options.send, ut_call_mute, ut_participant and ut_event.
#define UT_AUDIO 1

// Pictures. Likewise.
#define UT_VIDEO 2

// For ut_options.effort: a slow processor, or one that has other things to do.
#define UT_EFFORT_LOW 1

// What nearly every processor has to spare.
#define UT_EFFORT_MEDIUM 2

// Whatever helps.
#define UT_EFFORT_HIGH 3

// For ut_options.sound: a voice, to be understood on any network.
#define UT_SPEECH 1

// An instrument, a song: mono, the full band up to 20 kHz. Where the path is too thin or lossy a voice is sent instead
// until it carries music again, and UT_EVENT_SENDING tells.
#define UT_MUSIC 2

// For ut_options.video_prefer: motion. Pictures become smaller, as faces may.
#define UT_SMOOTH 1

// Detail. They become fewer, as those of a screen or a page may.
#define UT_CLEAR 2

// What came of it. Codes keep their numbers for ever; new ones may come.
enum ut_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Done.
  UT_OK = 0,
  // Nothing waits at present. Not an error: ask again later.
  UT_DRAINED = 1,
  // A pointer is NULL that must not be.
  UT_NULL = 2,
  // A value is out of its range: a length, a size field, an unknown flag, text that is not UTF-8.
  UT_BAD_ARGUMENT = 3,
  // The room's link cannot be read. It looks like https://calls.example.org/ROOM?token=TOKEN
  UT_BAD_URL = 4,
  // Not now: the call was joined already, or is not joined yet.
  UT_BAD_STATE = 5,
  // The server refuses the token: ask for a new link.
  UT_REFUSED = 6,
  // Nobody answers there, or no longer: check the network and the address, then try again.
  UT_UNREACHABLE = 7,
  // The server's certificate is not to be trusted, or the one given is no PEM.
  UT_TLS = 8,
  // The other side broke the protocol: is it another version?
  UT_PEER = 9,
  // A codec failed, or a picture has the wrong size.
  UT_MEDIA = 10,
  // The operating system gave no thread, socket or file descriptor.
  UT_SYSTEM = 11,
  // A bug in this library, caught. The call is over; free it and report the text on stderr.
  UT_PANIC = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum ut_result ut_result;
#else
typedef uint32_t ut_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What happened. New kinds may come: ignore what you do not know.
enum ut_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // The server let us in; participant is our own number.
  UT_EVENT_JOINED = 1,
  // Who is in the room now: participants, the whole list.
  UT_EVENT_ROSTER = 2,
  // Media flows; setup_ms says how long that took.
  UT_EVENT_CONNECTED = 3,
  // Somebody else is heard or seen (media) in a slot: participant, or 0 for nobody.
  UT_EVENT_SLOT = 4,
  // The call is over, as we or the server wanted. Always the last event.
  UT_EVENT_ENDED = 5,
  // The call is over, as nobody wanted: code and text say why. Always the last event.
  UT_EVENT_FAILED = 6,
  // Other sound is sent from now on: UT_SPEECH, because the path does not carry the music that was asked for (text
  // says why), or UT_MUSIC again.
  UT_EVENT_SENDING = 7,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum ut_event_kind ut_event_kind;
#else
typedef uint32_t ut_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// One call, as one participant has it. Opaque.
typedef struct ut_call ut_call;

// What a call is told at its beginning. Zero means the default everywhere, so name only what matters:
//
//     ut_options options = { .size = sizeof options, .room_url = url, .name = "Ada", .send = UT_AUDIO };
//
// Nothing of it is kept: it may go as soon as ut_call_new has returned.
typedef struct ut_options {
  // sizeof(ut_options), so that later versions can add fields.
  size_t size;
  // The room's link with its token, as the server's operator hands it out. Required.
  const char *room_url;
  // The name that others see; a name in the token wins. Default "guest".
  const char *name;
  // Text of a certificate (PEM) to trust instead of the system's authorities. Default NULL: the system's.
  const char *trust_pem;
  // What will be sent: UT_AUDIO, UT_VIDEO, both, or 0 to listen only.
  uint32_t send;
  // How many others can be heard at once. Default 3.
  uint32_t audio_slots;
  // How many others can be seen at once. Default 0: pictures nobody shows cost nothing.
  uint32_t video_slots;
  // Size of the pictures that will be sent, in pixels; even. Default 640 × 360.
  uint32_t video_width;
  // Their height.
  uint32_t video_height;
  // Pictures a second. Default 30.
  uint32_t video_fps;
  // The most that pictures may take, in kbit/s. Default 1500 up to 640×360, 2500 up to 1280×720, 4000 above.
  uint32_t video_max_kbps;
  // How much of the processor coding and decoding speech may take: UT_EFFORT_LOW, UT_EFFORT_MEDIUM or
  // UT_EFFORT_HIGH. Default medium.
  uint32_t effort;
  // Not 0: send next to nothing while nobody speaks. Default 0.
  uint32_t dtx;
  // What will be sent of sound: UT_SPEECH or UT_MUSIC. Default speech.
  uint32_t sound;
  // Samples a second of what is pushed and pulled: 16000 or 48000. Default 16000, for music 48000.
  uint32_t sample_rate;
  // What our pictures keep longest where the path carries few bits: UT_SMOOTH or UT_CLEAR. Default smooth.
  uint32_t video_prefer;
} ut_options;

// A picture, planar YUV 4:2:0 (I420).
typedef struct ut_picture {
  // Whose it is. Ignored in what is pushed.
  uint32_t participant;
  // Luma width in pixels.
  uint32_t width;
  // Luma height in pixels.
  uint32_t height;
  // Bytes from one row of y to the next.
  uint32_t y_stride;
  // Bytes from one row of u to the next, and of v.
  uint32_t uv_stride;
  // Luma.
  const uint8_t *y;
  // Blue difference, half as wide and as high.
  const uint8_t *u;
  // Red difference, likewise.
  const uint8_t *v;
} ut_picture;

// Somebody in the room.
typedef struct ut_participant {
  // Their number in this room, from 1.
  uint32_t id;
  // What they send: UT_AUDIO, UT_VIDEO or both.
  uint32_t sends;
  // Of that, what is muted; only UT_AUDIO is told.
  uint32_t muted;
  // Their name (UTF-8). Not unique, and chosen by them: never trust it as markup.
  const char *name;
} ut_participant;

// Something that happened. Owned by the library: it and all that it points at is valid until the next
// ut_call_poll or ut_call_free of the same call. Later versions may add fields at the end.
typedef struct ut_event {
  // What. The fields below have a meaning where the kind says so, else they are 0, empty or NULL.
  ut_event_kind kind;
  // Who.
  uint32_t participant;
  // Which slot: its place among those for the same media.
  uint32_t slot;
  // UT_AUDIO or UT_VIDEO.
  uint32_t media;
  // From the first word to the server until media could flow, in milliseconds.
  uint32_t setup_ms;
  // Why the call failed.
  ut_result code;
  // Whose fault that is and what to do, for people (UTF-8). Never NULL.
  const char *text;
  // How many participants follow.
  size_t participant_count;
  // Who is in the room.
  const struct ut_participant *participants;
  // What is sent: UT_SPEECH or UT_MUSIC.
  uint32_t sound;
} ut_event;

// The account of a call so far. Set size to sizeof(ut_stats) before asking; of what a newer library knows,
// so many bytes are written. Counters run from the beginning and sum over everybody heard or seen; a delay
// is that of the worst; 0 also means that it is not known yet.
typedef struct ut_stats {
  // In: sizeof(ut_stats). Out: how many bytes were written.
  size_t size;
  // Every byte that left, IP and UDP headers counted.
  uint64_t wire_sent_bytes;
  // Every byte that came, likewise.
  uint64_t wire_received_bytes;
  // What the path is thought to carry, in bit/s.
  uint64_t estimate_bps;
  // Coded rate of our speech, without headers, in bit/s.
  uint64_t speech_bps;
  // Packets of speech that came, each counted once.
  uint64_t audio_received;
  // Of those sent to us, packets that did not come the first time.
  uint64_t audio_lost;
  // Of them, those that came when asked for again.
  uint64_t audio_repaired;
  // Speech played as it was sent or repaired in full, in milliseconds.
  uint64_t played_ms;
  // Speech made up because nothing came, in milliseconds.
  uint64_t concealed_ms;
  // Pictures sent.
  uint64_t video_sent;
  // Pictures received and decoded.
  uint64_t video_decoded;
  // How often a picture froze.
  uint64_t video_freezes;
  // Samples that ut_call_pull asked for and had to be silence, since they were asked for too early.
  uint64_t speaker_missing;
  // Samples that ut_call_push brought faster than the call could take them.
  uint64_t microphone_dropped;
  // From the first word to the server until media could flow.
  uint32_t setup_ms;
  // Round trip to the server.
  uint32_t rtt_ms;
  // Speech in one of our packets.
  uint32_t packet_ms;
  // Jitter of what comes (RFC 3550).
  uint32_t jitter_ms;
  // Delay that the jitter buffer aims at.
  uint32_t target_ms;
  // From their microphone to our speaker, sound devices left out.
  uint32_t mouth_to_ear_ms;
} ut_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A code in a few words of English, for a log. Never NULL, never to be freed.
const char *ut_result_text(uint32_t result);

// The library's version, such as "0.1.0". Never NULL, never to be freed.
const char *ut_version(void);

// Makes a call and checks its options; nothing is sent yet. The handle must go to ut_call_free.
//
// UT_NULL, UT_BAD_ARGUMENT, UT_BAD_URL.
ut_result ut_call_new(const struct ut_options *options, struct ut_call **call);

// Starts the call and returns at once: a thread of the library connects, and carries sound every 10 ms from
// then on. How it went is told by events. A call is joined once; for another, make another.
//
// UT_NULL, UT_BAD_STATE, UT_SYSTEM.
ut_result ut_call_join(struct ut_call *call);

// Gives sound from the microphone: 16 kHz (or ut_options.sample_rate), mono, 16 bits, any multiple of 10 ms (160
// samples, 480 at 48 kHz). Never waits: fit for an audio callback. Without it for 100 ms, silence is sent. More than 320 ms at once, or before
// the call has connected, loses the oldest.
//
// UT_NULL, UT_BAD_ARGUMENT.
ut_result ut_call_push(struct ut_call *call, const int16_t *pcm, size_t samples);

// Takes sound for the speaker, everybody mixed: as it is given to ut_call_push, any multiple of 10 ms.
// Always fills it all, with silence where there is nothing. Never waits: fit for an audio callback. Call it
// at the speaker's own pace; 10 or 20 ms at a time give the shortest delay.
//
// UT_NULL, UT_BAD_ARGUMENT.
ut_result ut_call_pull(struct ut_call *call, size_t samples, int16_t *pcm);

// Gives a picture from the camera, of the size in the options. It is copied. Pictures that the path cannot
// carry are left out.
//
// UT_NULL, UT_BAD_ARGUMENT (a stride), UT_MEDIA (the size), UT_BAD_STATE (the options have no UT_VIDEO).
ut_result ut_call_push_picture(struct ut_call *call, const struct ut_picture *picture);

// Takes the newest picture of somebody, once. The library owns it: it is valid until the next
// ut_call_pull_picture or ut_call_free of the same call.
//
// UT_DRAINED: no new picture. UT_NULL.
ut_result ut_call_pull_picture(struct ut_call *call, const struct ut_picture **picture);

// Takes the next event. The library owns it: it is valid until the next ut_call_poll or ut_call_free of the
// same call. Ask a few times a second; at most 256 events wait, of which the oldest are forgotten first.
//
// UT_DRAINED: no event at present. UT_NULL.
ut_result ut_call_poll(struct ut_call *call, const struct ut_event **event);

// The account of the call so far, a tenth of a second old at most. Set stats->size before.
//
// UT_NULL, UT_BAD_ARGUMENT (the size).
ut_result ut_call_stats(const struct ut_call *call, struct ut_stats *stats);

// Stops (muted not 0) or resumes sending: UT_AUDIO, UT_VIDEO or both. Others are told. Before the call has
// connected it is remembered.
//
// UT_NULL, UT_BAD_ARGUMENT.
ut_result ut_call_mute(struct ut_call *call, uint32_t media, uint32_t muted);

// Says goodbye and ends the call; returns at once. UT_EVENT_ENDED follows within 10 ms, or, if the server
// has not answered yet, within 10 s.
//
// UT_NULL, UT_BAD_STATE (never joined).
ut_result ut_call_leave(struct ut_call *call);

// Frees a call, and leaves it before if that was not done. Takes a few milliseconds, and 1.5 s at the very
// most, where a server takes no goodbye any more. NULL is fine.
void ut_call_free(struct ut_call *call);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* UNDERTONE_H */
