//! From packets to what is heard and seen: one receiver for each slot.

mod audio;
mod video;

pub use audio::{AudioReceiver, Origin, Played};
pub use video::VideoReceiver;
