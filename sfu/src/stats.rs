//! What an SFU counts, for `/metrics`, logs and tests.

/// Counts since the SFU began, and who is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rooms that hold somebody.
    pub rooms: u64,
    /// Participants in all rooms.
    pub participants: u64,
    /// Participants whose media path works.
    pub connected: u64,
    /// Datagrams that came in.
    pub datagrams_in: u64,
    /// Datagrams that went out.
    pub datagrams_out: u64,
    /// Bytes that came in, UDP payloads.
    pub bytes_in: u64,
    /// Bytes that went out, UDP payloads.
    pub bytes_out: u64,
    /// Datagrams that are neither STUN, DTLS, RTP nor RTCP.
    pub garbage: u64,
    /// Well-formed datagrams from an address, or for an ICE user name, that belongs to nobody.
    pub unroutable: u64,
    /// Datagrams that a participant's session refused: forged, replayed, early or malformed.
    pub refused: u64,
    /// RTP packets that came in and were new.
    pub packets_in: u64,
    /// RTP packets of no announced stream.
    pub unknown_streams: u64,
    /// RTP packets sent on to subscribers, once per subscriber, retransmissions not counted.
    pub forwarded: u64,
    /// Packets not sent to a subscriber because its link could not carry them, or the key frame had not
    /// come yet.
    pub withheld: u64,
    /// Packets asked for again by subscribers.
    pub nacked: u64,
    /// Of these, answered from the cache.
    pub resent: u64,
    /// Packets that the SFU asked publishers for.
    pub requested: u64,
    /// Of these, recovered.
    pub recovered: u64,
    /// Key frames that subscribers asked for.
    pub key_frames_wanted: u64,
    /// Requests for key frames that went to publishers.
    pub key_frames_asked: u64,
    /// Joins refused: token, version, capacity or message.
    pub joins_refused: u64,
}
