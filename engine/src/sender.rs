//! From microphone and camera to coded frames.

mod audio;
mod video;

pub use audio::{AudioSender, Speaking};
pub use video::VideoSender;
