//! From packets to what is heard and seen: one receiver for each slot.

mod audio;
mod video;

pub use audio::{AudioReceiver, Formats, Listening, Origin, Played};
pub(crate) use audio::{empty, empty_duration, protected};
pub use video::VideoReceiver;
