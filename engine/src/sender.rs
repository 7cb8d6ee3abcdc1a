//! From microphone and camera to coded frames.

mod audio;
mod video;

pub use audio::AudioSender;
pub use video::VideoSender;
