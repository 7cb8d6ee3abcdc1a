//! From packets to what is heard and seen: one receiver for each slot.

mod audio;
mod video;

pub(crate) use audio::protected;
pub use audio::{AudioReceiver, Formats, Origin, Played};
pub use video::VideoReceiver;
