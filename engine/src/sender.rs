//! From microphone and camera to coded frames.

mod audio;
mod ladder;
mod video;

pub use audio::{AudioSender, Speaking};
pub use ladder::Prefer;
pub use video::{Filmed, VideoSender};
