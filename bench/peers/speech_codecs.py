"""Speech codecs that are not ours, over a link that loses packets: stock Opus, Opus with RED, SILK, AMR-WB.

Every peer gets the same budget: `wire_kbps` is payload plus 40 bytes (IPv4, UDP, RTP) a packet, all that a peer adds
(in-band FEC, copies, tables of contents) comes out of it, and each is told the true loss. `lost` says which packets
never come. A receiver that holds a redundant copy in a later packet waits for it, however long; what it has no copy of it
conceals as its decoder does.

Needs `bench/peers/setup`.
"""

import ctypes
import importlib.util
import pathlib

import numpy as np

RATE = 16_000
HEADERS = 40
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Infeasible(Exception):
    """The budget is too small for this codec and packet time."""


def payload_bytes(wire_kbps, packet_ms):
    """What a packet may hold on average."""
    return wire_kbps * packet_ms / 8 - HEADERS


def packets_of(pcm, packet_ms):
    """The samples of each packet, silence after the last."""
    size = RATE * packet_ms // 1000
    count = -(-len(pcm) // size)
    return np.pad(pcm, (0, count * size - len(pcm))).reshape(count, size)


def pointer(samples):
    return samples.ctypes.data_as(ctypes.POINTER(ctypes.c_int16))


class Opus:
    """libopus 1.6.1 as shipped: application VOIP, bandwidth and mode chosen by itself, in-band FEC (LBRR) under loss.

    `deep`: the decoder's neural networks on (deep PLC, NoLACE), which an application has to ask for.
    """

    VOIP = 2048
    SET_BITRATE, SET_COMPLEXITY, SET_INBAND_FEC, SET_PACKET_LOSS = 4002, 4010, 4012, 4014
    LEAST_KBPS = 6

    def __init__(self, fec=True, deep=False):
        self.fec, self.deep = fec, deep
        self.lib = ctypes.CDLL(str(ROOT / "target/peers/libopus.so"))
        self.lib.opus_encoder_create.restype = self.lib.opus_decoder_create.restype = ctypes.c_void_p

    def encode(self, pcm, packet_ms, payload, loss_percent):
        kbps = payload * 8 / packet_ms
        if kbps < self.LEAST_KBPS:
            raise Infeasible
        error = ctypes.c_int()
        encoder = ctypes.c_void_p(self.lib.opus_encoder_create(RATE, 1, self.VOIP, ctypes.byref(error)))
        fec = self.fec and loss_percent > 0
        for request, value in [
            (self.SET_BITRATE, round(kbps * 1000)),
            (self.SET_COMPLEXITY, 10),
            (self.SET_INBAND_FEC, int(fec)),
            (self.SET_PACKET_LOSS, round(loss_percent) if fec else 0),
        ]:
            assert self.lib.opus_encoder_ctl(encoder, request, ctypes.c_int(value)) == 0
        room = ctypes.create_string_buffer(4000)
        packets = []
        for samples in packets_of(pcm, packet_ms):
            size = self.lib.opus_encode(encoder, pointer(np.ascontiguousarray(samples)), len(samples), room, len(room))
            assert size > 0, size
            packets.append(room.raw[:size])
        self.lib.opus_encoder_destroy(encoder)
        return packets

    def decode(self, packets, packet_ms):
        """`None` is a lost packet: recovered from the one after it if that came, else concealed."""
        error = ctypes.c_int()
        decoder = ctypes.c_void_p(self.lib.opus_decoder_create(RATE, 1, ctypes.byref(error)))
        self.lib.opus_decoder_ctl(decoder, self.SET_COMPLEXITY, ctypes.c_int(10 if self.deep else 0))
        size = RATE * packet_ms // 1000
        out = np.zeros((len(packets), size), np.int16)
        for packet, after, samples in zip(packets, packets[1:] + [None], out):
            recover = packet is None and after is not None and self.fec
            data = after if recover else packet
            got = self.lib.opus_decode(decoder, data, len(data or b""), pointer(samples), size, int(recover))
            assert got == size, got
        self.lib.opus_decoder_destroy(decoder)
        return out.reshape(-1)

    def extra_bytes(self, packet_ms, copies):
        """RFC 2198: four bytes a copy and one for the newest, if there is any."""
        return 4 * copies + 1 if copies else 0


class Silk:
    """The SILK SDK 1.0.9, which Opus grew out of: 16 kHz, complexity 2, its own in-band FEC (LBRR, two packets deep).

    Called in the library that PyPI's silk-python carries. npm's silk-wasm is the same code, but codes whole files at a
    fixed 25 kbit/s and cannot be told of a loss.
    """

    LEAST_KBPS = 5
    DEEPEST = 2
    LARGEST = 250 * 5

    class Encoding(ctypes.Structure):
        _fields_ = [
            (name, ctypes.c_int32)
            for name in "api_rate max_internal_rate packet_size bitrate loss_percent complexity fec dtx".split()
        ]

    class Decoding(ctypes.Structure):
        _fields_ = [
            (name, ctypes.c_int32) for name in "api_rate frame_size frames_per_packet more_frames fec_offset".split()
        ]

    def __init__(self):
        package = importlib.util.find_spec("pysilk").submodule_search_locations[0]
        self.lib = ctypes.CDLL(str(next(pathlib.Path(package).glob("backends/cffi/_silk*.so"))))

    def encode(self, pcm, packet_ms, payload, loss_percent):
        kbps = payload * 8 / packet_ms
        if kbps < self.LEAST_KBPS or packet_ms > 100:
            raise Infeasible
        size = RATE * packet_ms // 1000
        # The rate is that of the speech alone: FEC comes on top. A few rounds find the rate that fits as a whole.
        target = kbps
        for _ in range(6):
            packets = self._encode(pcm, packet_ms, size, target, loss_percent)
            actual = sum(map(len, packets)) * 8 / (packet_ms * len(packets))
            if actual <= kbps * 1.01:
                break
            target = max(target * kbps / actual, self.LEAST_KBPS)
        return packets

    def _encode(self, pcm, packet_ms, size, kbps, loss_percent):
        room = ctypes.c_int32()
        self.lib.SKP_Silk_SDK_Get_Encoder_Size(ctypes.byref(room))
        state = ctypes.create_string_buffer(room.value)
        control = self.Encoding(RATE, RATE, size, round(kbps * 1000), round(loss_percent), 2, int(loss_percent > 0), 0)
        assert self.lib.SKP_Silk_SDK_InitEncoder(state, ctypes.byref(self.Encoding())) == 0
        data = ctypes.create_string_buffer(self.LARGEST)
        packets = []
        for samples in packets_of(pcm, packet_ms):
            # It takes 20 ms at a time and has nothing to say until the packet is full.
            for frame in samples.reshape(-1, RATE // 50):
                length = ctypes.c_int16(self.LARGEST)
                code = self.lib.SKP_Silk_SDK_Encode(
                    state, ctypes.byref(control), pointer(np.ascontiguousarray(frame)), len(frame), data, ctypes.byref(length)
                )
                assert code == 0, code
            packets.append(data.raw[: length.value])
        return packets

    def decode(self, packets, packet_ms):
        room = ctypes.c_int32()
        self.lib.SKP_Silk_SDK_Get_Decoder_Size(ctypes.byref(room))
        state = ctypes.create_string_buffer(room.value)
        assert self.lib.SKP_Silk_SDK_InitDecoder(state) == 0
        control = self.Decoding(RATE, 0, packet_ms // 20, 0, 0)
        frame = np.zeros(RATE // 50, np.int16)
        out = []
        for number, packet in enumerate(packets):
            data = packet or self._redundant(packets, number)
            for _ in range(packet_ms // 20):
                length = ctypes.c_int16()
                lost = int(data is None)
                self.lib.SKP_Silk_SDK_Decode(
                    state, ctypes.byref(control), lost, data or b"", len(data or b""), pointer(frame), ctypes.byref(length)
                )
                out.append(frame.copy())
        return np.concatenate(out)

    def _redundant(self, packets, number):
        """The copy of a lost packet that one of the next two carries, if any came and has one."""
        for offset in range(1, self.DEEPEST + 1):
            after = packets[number + offset] if number + offset < len(packets) else None
            if after is not None:
                data, length = ctypes.create_string_buffer(self.LARGEST), ctypes.c_int16()
                self.lib.SKP_Silk_SDK_search_for_LBRR(after, len(after), offset, data, ctypes.byref(length))
                if length.value > 0:
                    return data.raw[: length.value]
        return None

    def extra_bytes(self, packet_ms, copies):
        return 4 * copies + 1 if copies else 0


class AmrWb:
    """AMR-WB (3GPP TS 26.190), encoder and decoder of Debian; packed as RFC 4867 bandwidth-efficient mode counts it.

    Concealment is the decoder's own for lost speech frames. No in-band FEC; frames may be repeated (RFC 4867 §3.7).
    """

    MODE_BITS = (132, 177, 253, 285, 317, 365, 397, 461, 477)
    SPEECH_LOST = bytes([14 << 3 | 4])

    def __init__(self):
        self.encoder = ctypes.CDLL("libvo-amrwbenc.so.0")
        self.decoder = ctypes.CDLL("libopencore-amrwb.so.0")
        self.encoder.E_IF_init.restype = self.decoder.D_IF_init.restype = ctypes.c_void_p

    def encode(self, pcm, packet_ms, payload, loss_percent):
        frames = packet_ms // 20
        fitting = [mode for mode, bits in enumerate(self.MODE_BITS) if self._bytes(bits, frames) <= payload]
        if not fitting:
            raise Infeasible
        mode = fitting[-1]
        state = ctypes.c_void_p(self.encoder.E_IF_init())
        room = ctypes.create_string_buffer(100)
        packets = []
        for samples in packets_of(pcm, packet_ms):
            coded = []
            for frame in samples.reshape(-1, RATE // 50):
                size = self.encoder.E_IF_encode(state, mode, pointer(np.ascontiguousarray(frame)), room, 0)
                coded.append(room.raw[:size])
            packets.append(AmrWbPacket(coded, self._bytes(self.MODE_BITS[mode], frames)))
        self.encoder.E_IF_exit(state)
        return packets

    @staticmethod
    def _bytes(bits, frames):
        """A codec mode request of 4 bits, then for each frame 6 bits of contents and its speech."""
        return -(-(4 + frames * (6 + bits)) // 8)

    def decode(self, packets, packet_ms):
        state = ctypes.c_void_p(self.decoder.D_IF_init())
        frame = np.zeros(RATE // 50, np.int16)
        out = []
        for packet in packets:
            for coded in packet.frames if packet else [self.SPEECH_LOST] * (packet_ms // 20):
                self.decoder.D_IF_decode(state, coded, pointer(frame), 0)
                out.append(frame.copy())
        self.decoder.D_IF_exit(state)
        return np.concatenate(out)

    def extra_bytes(self, packet_ms, copies):
        """A copy has a place in the packet's table of contents, which its size counts already."""
        return 0


class AmrWbPacket:
    """Frames as the decoder takes them, and how long the packet is on the wire."""

    def __init__(self, frames, size):
        self.frames, self.size = frames, size

    def __len__(self):
        return self.size


def transmit(codec, pcm, wire_kbps, packet_ms, lost, loss_percent, copies=0):
    """What is heard, and the rate on the wire.

    `lost(packets, packet_ms)` gives a truth value for each packet. `copies`: each packet repeats so many before it.
    """
    payload = (payload_bytes(wire_kbps, packet_ms) - codec.extra_bytes(packet_ms, copies)) / (1 + copies)
    coded = codec.encode(pcm, packet_ms, payload, loss_percent)
    gone = lost(len(coded), packet_ms)
    held = [
        packet if not all(gone[number : number + copies + 1]) else None for number, packet in enumerate(coded)
    ]
    # The first packets have fewer before them to repeat; that is left out of account.
    size = sum(map(len, coded)) * (1 + copies) / len(coded) + codec.extra_bytes(packet_ms, copies)
    return codec.decode(held, packet_ms)[: len(pcm)], (size + HEADERS) * 8 / packet_ms
