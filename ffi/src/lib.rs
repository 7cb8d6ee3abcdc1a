//! The C door: `libundertone`, a call in a handful of functions, for whoever embeds one in an app.
//!
//! Invariant: nothing that C does within the rules of `include/undertone.h` makes this crate block for long,
//! unwind, or touch memory that is not its own; a NULL, a wrong length or a panic becomes a code.
//!
//! ```text
//!  app's threads                          worker thread (one for each call)
//!  ut_call_push ──▶ microphone ring ──▶ ┐
//!  ut_call_pull ◀── speaker ring    ◀── ┤ io::run, every 10 ms ── engine::Call
//!  ut_call_poll ◀── events          ◀── ┘
//! ```
//!
//! C polls: there are no callbacks, so no code of the app ever runs on a thread of ours. The header is
//! generated from this source by cbindgen; `tests/header.rs` holds it to that.
//!
//! Not here: sound devices and cameras (the platform's own are better), the server.

// Every function takes pointers from C: the contract is stated once, at the top of the header.
#![allow(clippy::missing_safety_doc)]
// Names are C's, so that the header reads like the source.
#![allow(non_camel_case_types)]

mod call;
mod event;
mod options;
mod picture;
mod result;
mod rings;
mod stats;
mod worker;

pub use call::*;
pub use event::{ut_event, ut_event_kind, ut_participant};
pub use options::{UT_AUDIO, UT_VIDEO, ut_options};
pub use picture::ut_picture;
pub use result::{ut_result, ut_result_text};
pub use stats::ut_stats;
