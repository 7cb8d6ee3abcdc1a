//! Microphone and speaker (being written).
