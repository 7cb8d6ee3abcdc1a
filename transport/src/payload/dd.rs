//! The dependency descriptor: what frame a packet carries and which layer that is, in the header.
//!
//! Why: a forwarder must know key frames and layers without reading the payload, which may be encrypted end
//! to end.
//! Wire: AV1 RTP specification, appendix A. A packet is 3 bytes; the first packet of a key frame also
//! carries the structure that all others refer to: 8 bytes with one temporal layer, 12 with three.
//!
//! Not here: chains, and dependencies beyond the layers. A reader checks and skips them.

use crate::rtp::Descriptor;

/// What a forwarder and a receiver need to know of a packet's frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The packet is the first of its frame.
    pub start: bool,
    /// The packet is the last of its frame.
    pub end: bool,
    /// The frame needs no other: a receiver can start here. A reader knows this of the later packets of a
    /// key frame only after it has seen the first.
    pub key: bool,
    /// Counts the frames of the stream; wraps.
    pub frame_number: u16,
    /// Spatial layer, 0 is the lowest.
    pub spatial: u8,
    /// Temporal layer, 0 is the slowest.
    pub temporal: u8,
}

/// Template 0 is the key frame; template 1 + t is any other frame of temporal layer t. For each number of
/// layers: how far back the one frame lies that a template depends on (0: none), and for each decode target
/// (all layers up to t) whether the frame is absent (0), discardable (1) or a switch point (2).
const STRUCTURES: [&[(u8, &[u8])]; 3] = [
    &[(0, &[2]), (1, &[2])],
    &[(0, &[2, 2]), (2, &[2, 2]), (1, &[0, 1])],
    &[(0, &[2, 2, 2]), (4, &[2, 2, 2]), (2, &[0, 1, 2]), (1, &[0, 0, 1])],
];

/// Writes the descriptors of a stream with one spatial layer.
#[derive(Clone, Debug)]
pub struct Writer {
    temporal_layers: u8,
}

impl Writer {
    /// For a stream of 1 to 3 temporal layers in the usual dyadic pattern; other numbers are brought into
    /// that range.
    pub fn new(temporal_layers: u8) -> Writer {
        Writer { temporal_layers: temporal_layers.clamp(1, 3) }
    }

    /// The descriptor of one packet. The first packet of a key frame carries the structure. The spatial layer
    /// is taken as 0, and a temporal layer that the stream does not have as its highest.
    pub fn write(&self, facts: &Facts) -> Descriptor {
        let mut bits = BitWriter::default();
        bits.put(1, u32::from(facts.start));
        bits.put(1, u32::from(facts.end));
        let template = if facts.key { 0 } else { 1 + facts.temporal.min(self.temporal_layers - 1) };
        bits.put(6, u32::from(template));
        bits.put(16, u32::from(facts.frame_number));
        if facts.key && facts.start {
            bits.put(5, 0b10000); // a structure follows, nothing is customised
            self.write_structure(&mut bits);
        }
        Descriptor::new(&bits.bytes).unwrap_or_default()
    }

    fn write_structure(&self, bits: &mut BitWriter) {
        let templates = STRUCTURES[usize::from(self.temporal_layers - 1)];
        bits.put(6, 0); // template ids start at 0
        bits.put(5, u32::from(self.temporal_layers - 1)); // decode targets, less one
        for next in 1..=templates.len() {
            bits.put(
                2,
                match next {
                    1 => 0, // the second template is in the same layer as the first
                    next if next < templates.len() => 1,
                    _ => 3,
                },
            );
        }
        for (_, indications) in templates {
            indications.iter().for_each(|&indication| bits.put(2, u32::from(indication)));
        }
        for &(back, _) in templates {
            if back > 0 {
                bits.put(1, 1);
                bits.put(4, u32::from(back - 1));
            }
            bits.put(1, 0);
        }
        // No chains: the number 0 in the non-symmetric code over the decode targets + 1.
        bits.put(if self.temporal_layers == 3 { 2 } else { 1 }, 0);
        bits.put(1, 0); // no resolutions
    }
}

/// Reads the descriptors of one stream, of any structure. It must see the packets that carry a structure,
/// since all others refer to it.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    structure: Option<Structure>,
    /// The frame that brought the structure.
    key_frame: u16,
}

#[derive(Clone, Debug)]
struct Structure {
    template_offset: u8,
    decode_targets: u8,
    chains: u8,
    /// Spatial and temporal layer of each template.
    layers: Vec<(u8, u8)>,
    /// Nothing needs frames of this template.
    discardable: Vec<bool>,
}

impl Parser {
    /// Whether nothing else is decoded with the help of the packet's frame: for every decode target it is absent or
    /// discardable. Unknown means no.
    pub fn is_discardable(&self, descriptor: &[u8]) -> bool {
        let template = descriptor.first().map(|byte| byte & 0x3f);
        let structure = self.structure.as_ref();
        let found = template.zip(structure).and_then(|(template, structure)| {
            let index = (template + 64 - structure.template_offset) % 64;
            structure.discardable.get(usize::from(index))
        });
        found.copied().unwrap_or(false)
    }

    /// The facts of one packet; `None` if the descriptor is malformed, or refers to a structure not seen.
    pub fn parse(&mut self, descriptor: &[u8]) -> Option<Facts> {
        let mut bits = BitReader { bytes: descriptor, at: 0 };
        let (start, end) = (bits.flag()?, bits.flag()?);
        let template = bits.take(6)? as u8;
        let frame_number = bits.take(16)? as u16;
        let mut custom = [false; 3];
        if descriptor.len() > 3 {
            let [structure, active_targets] = [bits.flag()?, bits.flag()?];
            custom = [bits.flag()?, bits.flag()?, bits.flag()?];
            if structure {
                self.structure = Some(Structure::read(&mut bits)?);
                self.key_frame = frame_number;
            }
            if active_targets {
                bits.take(u32::from(self.structure.as_ref()?.decode_targets))?;
            }
        }
        let structure = self.structure.as_ref()?;
        let index = (template + 64 - structure.template_offset) % 64;
        let &(spatial, temporal) = structure.layers.get(usize::from(index))?;
        structure.skip_custom(custom, &mut bits)?;
        let key = frame_number == self.key_frame;
        Some(Facts { start, end, key, frame_number, spatial, temporal })
    }
}

impl Structure {
    fn read(bits: &mut BitReader<'_>) -> Option<Structure> {
        let template_offset = bits.take(6)? as u8;
        let decode_targets = bits.take(5)? as u8 + 1;
        let mut layers = Vec::new();
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            if layers.len() == 64 {
                return None;
            }
            layers.push((spatial, temporal));
            match bits.take(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => break,
            }
            if spatial > 3 || temporal > 7 {
                return None;
            }
        }
        let mut discardable = vec![true; layers.len()];
        for discardable in &mut discardable {
            for _ in 0..decode_targets {
                *discardable &= bits.take(2)? <= 1;
            }
        }
        for _ in &layers {
            while bits.flag()? {
                bits.take(4)?;
            }
        }
        let chains = bits.non_symmetric(u32::from(decode_targets) + 1)? as u8;
        if chains > 0 {
            for _ in 0..decode_targets {
                bits.non_symmetric(u32::from(chains))?;
            }
            for _ in 0..layers.len() * usize::from(chains) {
                bits.take(4)?;
            }
        }
        if bits.flag()? {
            for _ in 0..=spatial {
                bits.take(32)?; // a width and a height
            }
        }
        Some(Structure { template_offset, decode_targets, chains, layers, discardable })
    }

    /// What a frame says for itself instead of its template; `None` if it is cut.
    fn skip_custom(&self, [dtis, fdiffs, chains]: [bool; 3], bits: &mut BitReader<'_>) -> Option<()> {
        if dtis {
            for _ in 0..self.decode_targets {
                bits.take(2)?;
            }
        }
        if fdiffs {
            loop {
                match bits.take(2)? {
                    0 => break,
                    nibbles => bits.take(4 * nibbles)?,
                };
            }
        }
        if chains {
            for _ in 0..self.chains {
                bits.take(8)?;
            }
        }
        Some(())
    }
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    used: usize,
}

impl BitWriter {
    fn put(&mut self, count: u32, value: u32) {
        for bit in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> bit & 1) as u8) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    /// A number below `n` in the code `ns(n)` (AV1 §4.10.7).
    fn non_symmetric(&mut self, n: u32) -> Option<u32> {
        let width = u32::BITS - n.leading_zeros();
        let short = (1 << width) - n;
        let value = self.take(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.take(1)?)
    }
}
