//! What a call is told at its beginning.

use crate::result::ut_result::{self, *};
use std::ffi::{CStr, c_char};
use undertone_engine::{Coding, Effort, Prefer, VideoConfig};
use undertone_io::ws::Trust;
use undertone_media::{Bitrate, SampleRate, Sound};
use undertone_signaling::url::RoomUrl;

/// Sound. A flag for ut_options.send, ut_call_mute, ut_participant and ut_event.
pub const UT_AUDIO: u32 = 1;
/// Pictures. Likewise.
pub const UT_VIDEO: u32 = 2;
/// For ut_options.effort: a slow processor, or one that has other things to do.
pub const UT_EFFORT_LOW: u32 = 1;
/// What nearly every processor has to spare.
pub const UT_EFFORT_MEDIUM: u32 = 2;
/// Whatever helps.
pub const UT_EFFORT_HIGH: u32 = 3;

/// For ut_options.sound: a voice, to be understood on any network.
pub const UT_SPEECH: u32 = 1;
/// An instrument, a song: mono, the full band up to 20 kHz. Where the path is too thin or lossy a voice is sent instead
/// until it carries music again, and UT_EVENT_SENDING tells.
pub const UT_MUSIC: u32 = 2;

/// For ut_options.video_prefer: motion. Pictures become smaller, as faces may.
pub const UT_SMOOTH: u32 = 1;
/// Detail. They become fewer, as those of a screen or a page may.
pub const UT_CLEAR: u32 = 2;

/// The largest picture side: H.264 level 5.1 ends at 4096.
const MAX_SIDE: u32 = 4096;
/// As many others as anybody can tell apart.
const MAX_SLOTS: u32 = 50;

/// What a call is told at its beginning. Zero means the default everywhere, so name only what matters:
///
///     ut_options options = { .size = sizeof options, .room_url = url, .name = "Ada", .send = UT_AUDIO };
///
/// Nothing of it is kept: it may go as soon as ut_call_new has returned.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ut_options {
    /// sizeof(ut_options), so that later versions can add fields.
    pub size: usize,
    /// The room's link with its token, as the server's operator hands it out. Required.
    pub room_url: *const c_char,
    /// The name that others see; a name in the token wins. Default "guest".
    pub name: *const c_char,
    /// Text of a certificate (PEM) to trust instead of the system's authorities. Default NULL: the system's.
    pub trust_pem: *const c_char,
    /// What will be sent: UT_AUDIO, UT_VIDEO, both, or 0 to listen only.
    pub send: u32,
    /// How many others can be heard at once. Default 3.
    pub audio_slots: u32,
    /// How many others can be seen at once. Default 0: pictures nobody shows cost nothing.
    pub video_slots: u32,
    /// Size of the pictures that will be sent, in pixels; even. Default 640 × 360.
    pub video_width: u32,
    /// Their height.
    pub video_height: u32,
    /// Pictures a second. Default 30.
    pub video_fps: u32,
    /// The most that pictures may take, in kbit/s. Default 1500 up to 640×360, 2500 up to 1280×720, 4000 above.
    pub video_max_kbps: u32,
    /// How much of the processor coding and decoding speech may take: UT_EFFORT_LOW, UT_EFFORT_MEDIUM or
    /// UT_EFFORT_HIGH. Default medium.
    pub effort: u32,
    /// Not 0: send next to nothing while nobody speaks. Default 0.
    pub dtx: u32,
    /// What will be sent of sound: UT_SPEECH or UT_MUSIC. Default speech.
    pub sound: u32,
    /// Samples a second of what is pushed and pulled: 16000 or 48000. Default 16000, for music 48000.
    pub sample_rate: u32,
    /// What our pictures keep longest where the path carries few bits: UT_SMOOTH or UT_CLEAR. Default smooth.
    pub video_prefer: u32,
}

/// The same, checked and owned.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) url: RoomUrl,
    pub(crate) name: String,
    pub(crate) trust: Trust,
    pub(crate) audio: bool,
    pub(crate) sample_rate: SampleRate,
    pub(crate) sound: Sound,
    pub(crate) coding: Coding,
    pub(crate) video: Option<VideoConfig>,
    pub(crate) audio_slots: usize,
    pub(crate) video_slots: usize,
}

impl Options {
    /// Reads what C gave.
    ///
    /// # Safety
    /// `options` is NULL, or points at `size` readable bytes that begin with their `size` field; its texts
    /// are NULL or end with a NUL.
    #[allow(unsafe_code)] // Pointers from C.
    pub(crate) unsafe fn read(options: *const ut_options) -> Result<Options, ut_result> {
        // SAFETY: the caller's promise; `read_sized` itself never reads past `size`.
        let options = unsafe { read_sized(options)? };
        if options.room_url.is_null() {
            return Err(UT_NULL);
        }
        // SAFETY: the caller's promise.
        let (url, name, pem) =
            unsafe { (text(options.room_url)?, text(options.name)?, text(options.trust_pem)?) };
        let url = RoomUrl::parse(url).map_err(|_| UT_BAD_URL)?;
        if options.send & !(UT_AUDIO | UT_VIDEO) != 0
            || options.audio_slots > MAX_SLOTS
            || options.video_slots > MAX_SLOTS
        {
            return Err(UT_BAD_ARGUMENT);
        }
        let sound = match options.sound {
            0 | UT_SPEECH => Sound::Speech,
            UT_MUSIC => Sound::Music,
            _ => return Err(UT_BAD_ARGUMENT),
        };
        Ok(Options {
            url,
            name: if name.is_empty() { "guest" } else { name }.into(),
            trust: if pem.is_empty() { Trust::System } else { Trust::Certificate(pem.into()) },
            audio: options.send & UT_AUDIO != 0,
            sample_rate: sample_rate(options.sample_rate, sound)?,
            sound,
            coding: coding(&options)?,
            video: if options.send & UT_VIDEO != 0 { Some(video(&options)?) } else { None },
            audio_slots: or(options.audio_slots, 3) as usize,
            video_slots: options.video_slots as usize,
        })
    }
}

fn sample_rate(hz: u32, sound: Sound) -> Result<SampleRate, ut_result> {
    match (hz, sound) {
        (0, Sound::Speech) => Ok(SampleRate::Wide),
        (0, Sound::Music) => Ok(SampleRate::Full),
        (hz, _) => SampleRate::from_hz(hz).ok_or(UT_BAD_ARGUMENT),
    }
}

fn coding(options: &ut_options) -> Result<Coding, ut_result> {
    let effort = match options.effort {
        UT_EFFORT_LOW => Effort::Low,
        0 | UT_EFFORT_MEDIUM => Effort::Medium,
        UT_EFFORT_HIGH => Effort::High,
        _ => return Err(UT_BAD_ARGUMENT),
    };
    Ok(Coding { effort, dtx: options.dtx != 0 })
}

fn video(options: &ut_options) -> Result<VideoConfig, ut_result> {
    let default = VideoConfig::default();
    let width = or(options.video_width, default.width as u32);
    let height = or(options.video_height, default.height as u32);
    let fps = or(options.video_fps, default.fps);
    let side = |pixels: u32| pixels.is_multiple_of(2) && (16..=MAX_SIDE).contains(&pixels);
    if !side(width) || !side(height) || fps > 120 {
        return Err(UT_BAD_ARGUMENT);
    }
    let mut config = VideoConfig::new(width as usize, height as usize, fps);
    if options.video_max_kbps > 0 {
        config.max_bitrate = Bitrate::from_kbps(u64::from(options.video_max_kbps));
    }
    config.prefer = match options.video_prefer {
        0 | UT_SMOOTH => Prefer::Smooth,
        UT_CLEAR => Prefer::Clear,
        _ => return Err(UT_BAD_ARGUMENT),
    };
    Ok(config)
}

fn or(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}

/// A copy of the caller's struct: what an older caller does not know is zero, what a newer one knows beyond
/// us is left.
///
/// # Safety
/// As for [`Options::read`].
#[allow(unsafe_code)] // Pointers from C.
unsafe fn read_sized(options: *const ut_options) -> Result<ut_options, ut_result> {
    if options.is_null() {
        return Err(UT_NULL);
    }
    // SAFETY: not NULL, and the first field is there whatever the version.
    let size = unsafe { options.cast::<usize>().read() };
    if size < std::mem::offset_of!(ut_options, name) {
        return Err(UT_BAD_ARGUMENT);
    }
    let mut copy = ut_options {
        size: 0,
        room_url: std::ptr::null(),
        name: std::ptr::null(),
        trust_pem: std::ptr::null(),
        send: 0,
        audio_slots: 0,
        video_slots: 0,
        video_width: 0,
        video_height: 0,
        video_fps: 0,
        video_max_kbps: 0,
        effort: 0,
        dtx: 0,
        sound: 0,
        sample_rate: 0,
        video_prefer: 0,
    };
    let known = size.min(size_of::<ut_options>());
    // SAFETY: both sides hold `known` bytes; every bit pattern is a value of these integers and pointers.
    unsafe {
        std::ptr::copy_nonoverlapping(options.cast::<u8>(), (&raw mut copy).cast::<u8>(), known);
    }
    Ok(copy)
}

/// A text from C; NULL is the empty one.
///
/// # Safety
/// `text` is NULL or ends with a NUL, and outlives the result.
#[allow(unsafe_code)] // Pointers from C.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, ut_result> {
    if text.is_null() {
        return Ok("");
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| UT_BAD_ARGUMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null;

    fn some() -> ut_options {
        ut_options {
            size: size_of::<ut_options>(),
            room_url: c"http://127.0.0.1:7880/room?token=t".as_ptr(),
            name: null(),
            trust_pem: null(),
            send: UT_AUDIO,
            audio_slots: 0,
            video_slots: 0,
            video_width: 0,
            video_height: 0,
            video_fps: 0,
            video_max_kbps: 0,
            effort: 0,
            dtx: 0,
            sound: 0,
            sample_rate: 0,
            video_prefer: 0,
        }
    }

    #[allow(unsafe_code)] // What C does.
    fn read(options: &ut_options) -> Result<Options, ut_result> {
        // SAFETY: a whole struct with static texts.
        unsafe { Options::read(options) }
    }

    #[test]
    fn zero_means_the_default() {
        let options = read(&some()).unwrap();
        assert_eq!((options.name.as_str(), options.audio_slots, options.video_slots), ("guest", 3, 0));
        assert!(options.audio && options.video.is_none());
        assert_eq!(options.coding, Coding::default());
        let coding = read(&ut_options { effort: UT_EFFORT_HIGH, dtx: 1, ..some() }).unwrap().coding;
        assert_eq!(coding, Coding { effort: Effort::High, dtx: true });
        assert_eq!((options.sound, options.sample_rate), (Sound::Speech, SampleRate::Wide));
        let music = read(&ut_options { sound: UT_MUSIC, ..some() }).unwrap();
        assert_eq!((music.sound, music.sample_rate), (Sound::Music, SampleRate::Full));
        let heard = read(&ut_options { sample_rate: 48_000, ..some() }).unwrap();
        assert_eq!((heard.sound, heard.sample_rate), (Sound::Speech, SampleRate::Full));
        let seen = read(&ut_options { send: UT_VIDEO, ..some() }).unwrap();
        assert_eq!(seen.video, Some(VideoConfig::default()));
        let clear = read(&ut_options { send: UT_VIDEO, video_prefer: UT_CLEAR, ..some() }).unwrap();
        assert_eq!(clear.video.map(|video| video.prefer), Some(Prefer::Clear));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |options: ut_options| read(&options).unwrap_err();
        assert_eq!(refused(ut_options { size: 0, ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { room_url: null(), ..some() }), UT_NULL);
        assert_eq!(refused(ut_options { room_url: c"ftp://x/y".as_ptr(), ..some() }), UT_BAD_URL);
        assert_eq!(refused(ut_options { name: c"\xff".as_ptr(), ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { send: 4, ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { send: UT_VIDEO, video_width: 641, ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { send: UT_VIDEO, video_prefer: 3, ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { audio_slots: u32::MAX, ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { effort: 4, ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { sound: 3, ..some() }), UT_BAD_ARGUMENT);
        assert_eq!(refused(ut_options { sample_rate: 44_100, ..some() }), UT_BAD_ARGUMENT);
    }

    #[test]
    fn an_older_caller_need_not_know_newer_fields() {
        let old = ut_options { size: std::mem::offset_of!(ut_options, send), send: 77, ..some() };
        let options = read(&old).unwrap();
        assert!(!options.audio, "what lies beyond the caller's size is not read");
    }
}
