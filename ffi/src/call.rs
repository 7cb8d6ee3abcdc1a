//! The C functions.

#![allow(unsafe_code)] // This module is the border: pointers come from C, names are exported to it.

use crate::event::{Polled, ut_event};
use crate::options::{Options, UT_AUDIO, UT_VIDEO, ut_options};
use crate::picture::{self, Pulled, ut_picture};
use crate::result::{guard, ut_result, ut_result::*};
use crate::rings::{Phase, Shared, lock};
use crate::stats::ut_stats;
use crate::worker;
use std::ffi::c_char;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long ut_call_free waits for the goodbye to leave.
const GOODBYE: Duration = Duration::from_millis(1_500);

/// One call, as one participant has it. Opaque.
pub struct ut_call {
    shared: Arc<Shared>,
    options: Options,
    worker: Mutex<Option<JoinHandle<()>>>,
    polled: Mutex<Option<Box<Polled>>>,
    pulled: Mutex<Option<Box<Pulled>>>,
}

/// The library's version, such as "0.1.0". Never NULL, never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn ut_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Makes a call and checks its options; nothing is sent yet. The handle must go to ut_call_free.
///
/// UT_NULL, UT_BAD_ARGUMENT, UT_BAD_URL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_new(options: *const ut_options, call: *mut *mut ut_call) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: a struct as large as its size field says.
        let options = unsafe { Options::read(options)? };
        if call.is_null() {
            return Err(UT_NULL);
        }
        let made = Box::new(ut_call {
            shared: Arc::new(Shared::new(options.sample_rate)),
            options,
            worker: Mutex::default(),
            polled: Mutex::default(),
            pulled: Mutex::default(),
        });
        // SAFETY: not NULL, and the header's rules: room for a pointer.
        unsafe { call.write(Box::into_raw(made)) };
        Ok(())
    })
}

/// Starts the call and returns at once: a thread of the library connects, and carries sound every 10 ms from
/// then on. How it went is told by events. A call is joined once; for another, make another.
///
/// UT_NULL, UT_BAD_STATE, UT_SYSTEM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_join(call: *mut ut_call) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        let mut worker = lock(&call.worker);
        if !call.shared.begin() {
            return Err(UT_BAD_STATE);
        }
        let (shared, options) = (call.shared.clone(), call.options.clone());
        let thread = std::thread::Builder::new().name("undertone".into());
        match thread.spawn(move || worker::work(&shared, &options)) {
            Ok(thread) => *worker = Some(thread),
            Err(_) => {
                call.shared.set_phase(Phase::Over);
                return Err(UT_SYSTEM);
            }
        }
        Ok(())
    })
}

/// Gives sound from the microphone: 16 kHz (or ut_options.sample_rate), mono, 16 bits, any multiple of 10 ms (160
/// samples, 480 at 48 kHz). Never waits: fit for an audio callback. Without it for 100 ms, silence is sent. More than 320 ms at once, or before
/// the call has connected, loses the oldest.
///
/// UT_NULL, UT_BAD_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_push(call: *mut ut_call, pcm: *const i16, samples: usize) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        check_pcm(call, pcm, samples)?;
        // SAFETY: not NULL, and the header's rules: so many samples to read.
        call.shared.push(unsafe { std::slice::from_raw_parts(pcm, samples) });
        Ok(())
    })
}

/// Takes sound for the speaker, everybody mixed: as it is given to ut_call_push, any multiple of 10 ms.
/// Always fills it all, with silence where there is nothing. Never waits: fit for an audio callback. Call it
/// at the speaker's own pace; 10 or 20 ms at a time give the shortest delay.
///
/// UT_NULL, UT_BAD_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_pull(call: *mut ut_call, samples: usize, pcm: *mut i16) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        check_pcm(call, pcm, samples)?;
        // SAFETY: not NULL, and the header's rules: room for so many samples. Zeroed first, since C's memory
        // may never have been written, and a slice of such memory would be undefined.
        let pcm = unsafe {
            pcm.write_bytes(0, samples);
            std::slice::from_raw_parts_mut(pcm, samples)
        };
        call.shared.pull(pcm);
        Ok(())
    })
}

fn check_pcm(call: &ut_call, pcm: *const i16, samples: usize) -> Result<(), ut_result> {
    if pcm.is_null() {
        return Err(UT_NULL);
    }
    // An hour at once is no sound but a wrong unit.
    if samples == 0 || !samples.is_multiple_of(call.shared.rate.frame()) || samples > 1 << 26 {
        return Err(UT_BAD_ARGUMENT);
    }
    Ok(())
}

/// Gives a picture from the camera, of the size in the options. It is copied. Pictures that the path cannot
/// carry are left out.
///
/// UT_NULL, UT_BAD_ARGUMENT (a stride), UT_MEDIA (the size), UT_BAD_STATE (the options have no UT_VIDEO).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_push_picture(call: *mut ut_call, picture: *const ut_picture) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        // SAFETY: the header's rules: NULL, or a whole ut_picture.
        let picture = unsafe { picture.as_ref() }.ok_or(UT_NULL)?;
        let video = call.options.video.ok_or(UT_BAD_STATE)?;
        // SAFETY: the header's rules: planes as large as the picture says.
        let frame = unsafe { picture::copy(picture, (video.width, video.height), call.shared.clock.now())? };
        *lock(&call.shared.camera) = Some(frame);
        Ok(())
    })
}

/// Takes the newest picture of somebody, once. The library owns it: it is valid until the next
/// ut_call_pull_picture or ut_call_free of the same call.
///
/// UT_DRAINED: no new picture. UT_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_pull_picture(
    call: *mut ut_call,
    picture: *mut *const ut_picture,
) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        if picture.is_null() {
            return Err(UT_NULL);
        }
        let (participant, frame) = call.shared.picture().ok_or(UT_DRAINED)?;
        let pulled = Pulled::new(participant, frame);
        // SAFETY: not NULL, and the header's rules: room for a pointer.
        unsafe { picture.write(pulled.picture()) };
        *lock(&call.pulled) = Some(pulled);
        Ok(())
    })
}

/// Takes the next event. The library owns it: it is valid until the next ut_call_poll or ut_call_free of the
/// same call. Ask a few times a second; at most 256 events wait, of which the oldest are forgotten first.
///
/// UT_DRAINED: no event at present. UT_NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_poll(call: *mut ut_call, event: *mut *const ut_event) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        if event.is_null() {
            return Err(UT_NULL);
        }
        let polled = Polled::new(call.shared.told().ok_or(UT_DRAINED)?);
        // SAFETY: not NULL, and the header's rules: room for a pointer.
        unsafe { event.write(polled.event()) };
        *lock(&call.polled) = Some(polled);
        Ok(())
    })
}

/// The account of the call so far, a tenth of a second old at most. Set stats->size before.
///
/// UT_NULL, UT_BAD_ARGUMENT (the size).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_stats(call: *const ut_call, stats: *mut ut_stats) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        let account = *lock(&call.shared.stats);
        // SAFETY: the header's rules: NULL, or a struct as large as its size field says.
        unsafe { account.write(stats) }
    })
}

/// Stops (muted not 0) or resumes sending: UT_AUDIO, UT_VIDEO or both. Others are told. Before the call has
/// connected it is remembered.
///
/// UT_NULL, UT_BAD_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_mute(call: *mut ut_call, media: u32, muted: u32) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        if media == 0 || media & !(UT_AUDIO | UT_VIDEO) != 0 {
            return Err(UT_BAD_ARGUMENT);
        }
        if muted != 0 {
            call.shared.muted.fetch_or(media, AcqRel);
        } else {
            call.shared.muted.fetch_and(!media, AcqRel);
        }
        Ok(())
    })
}

/// Says goodbye and ends the call; returns at once. UT_EVENT_ENDED follows within 10 ms, or, if the server
/// has not answered yet, within 10 s.
///
/// UT_NULL, UT_BAD_STATE (never joined).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_leave(call: *mut ut_call) -> ut_result {
    guard(|| {
        // SAFETY: the header's rules: NULL, or a handle from ut_call_new that is not freed.
        let call = unsafe { call.as_ref() }.ok_or(UT_NULL)?;
        if call.shared.phase() == Phase::New {
            return Err(UT_BAD_STATE);
        }
        call.shared.leaving.store(true, Release);
        Ok(())
    })
}

/// Frees a call, and leaves it before if that was not done. Takes a few milliseconds, and 1.5 s at the very
/// most, where a server takes no goodbye any more. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ut_call_free(call: *mut ut_call) {
    if call.is_null() {
        return;
    }
    guard(|| {
        // SAFETY: the header's rules: from ut_call_new, and never used again.
        let call = unsafe { Box::from_raw(call) };
        call.shared.leaving.store(true, Release);
        let Some(worker) = lock(&call.worker).take() else { return Ok(()) };
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(2);
        while call.shared.phase() == Phase::Talking && waited < GOODBYE {
            std::thread::sleep(step);
            waited += step;
        }
        // A worker that still waits for the network is let go: it owns what it uses, and ends by itself.
        if call.shared.phase() == Phase::Over {
            let _ = worker.join();
        }
        Ok(())
    });
}
