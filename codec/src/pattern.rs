//! A test picture that knows its own number.
//!
//! Why: with moving colour bars, a readable counter and clock, and the same number as a block code, a person
//! sees at a glance that video runs, and a test knows which picture came out after lossy coding: how many
//! were lost, and how late it is.
//!
//! The code: 48 cells in three rows of 16 near the bottom, black 0, white 1, first the number (32 bits), then
//! its CRC-16, most significant bits first. Places are fractions of the picture, so a scaled copy reads too.

use undertone_media::{Timestamp, VideoFrame};

/// Colours of the bars as Y, Cb, Cr (75 % bars, ITU-R BT.601).
const BARS: [(u8, u8, u8); 8] = [
    (180, 128, 128),
    (162, 44, 142),
    (131, 156, 44),
    (112, 72, 58),
    (84, 184, 198),
    (65, 100, 212),
    (35, 212, 114),
    (16, 128, 128),
];

const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// Columns and rows of the block code.
const COLUMNS: usize = 16;
const ROWS: usize = 3;

/// The smallest picture in which the code and the digits survive coding.
pub const MIN_SIZE: (usize, usize) = (128, 72);

/// Draws test pictures of one size.
#[derive(Clone, Debug)]
pub struct Pattern {
    width: usize,
    height: usize,
}

impl Pattern {
    /// For pictures of this size, both rounded up to even, and to at least [`MIN_SIZE`].
    pub fn new(width: usize, height: usize) -> Pattern {
        let side = |pixels: usize, least: usize| pixels.max(least).next_multiple_of(2);
        Pattern { width: side(width, MIN_SIZE.0), height: side(height, MIN_SIZE.1) }
    }

    /// Picture number `n`, captured at `captured`, which its clock shows.
    pub fn frame(&self, n: u32, captured: Timestamp) -> VideoFrame {
        let mut frame = VideoFrame::black(self.width, self.height, captured);
        self.draw_bars(&mut frame, n);
        let unit = (self.width / 80).max(1);
        self.draw_text(&mut frame, &format!("{n:06}"), self.height / 8, 2 * unit);
        let ms = captured.as_micros() / 1000;
        let clock = format!("{:02}:{:02}.{:03}", ms / 60_000 % 100, ms / 1000 % 60, ms % 1000);
        self.draw_text(&mut frame, &clock, self.height / 8 + 14 * unit, unit);
        for (bit, cell) in cells(self.width, self.height).enumerate() {
            let luma = if protect(n) >> (COLUMNS * ROWS - 1 - bit) & 1 == 1 { WHITE } else { BLACK };
            fill(&mut frame, cell, luma);
        }
        frame
    }

    /// Bars that move two pixels a picture, under the grain of a camera: motion, edges and flat colour for the
    /// coder, and never so simple that it cannot use the rate it is given.
    fn draw_bars(&self, frame: &mut VideoFrame, n: u32) {
        let (width, height) = (self.width, self.height);
        let shift = (n as usize).wrapping_mul(2) % width;
        let colour = |x: usize| BARS[(x + shift) % width * BARS.len() / width];
        let bars: Vec<u8> = (0..width).map(|x| colour(x).0).collect();
        let mut grain = Grain(n);
        let (luma, chroma) = frame.data.split_at_mut(width * height);
        for row in luma.chunks_exact_mut(width) {
            for (pixel, &bar) in row.iter_mut().zip(&bars) {
                *pixel = bar + grain.next();
            }
        }
        let (blue, red) = chroma.split_at_mut(width * height / 4);
        for (blue, red) in blue.chunks_exact_mut(width / 2).zip(red.chunks_exact_mut(width / 2)) {
            for (x, (b, r)) in blue.iter_mut().zip(red).enumerate() {
                (_, *b, *r) = colour(2 * x);
            }
        }
    }

    /// White digits on black.
    fn draw_text(&self, frame: &mut VideoFrame, text: &str, top: usize, unit: usize) {
        let advance = 4 * unit;
        let left = self.width.saturating_sub(text.len() * advance) / 2;
        let back = Cell {
            left: left.saturating_sub(unit),
            top: top.saturating_sub(unit),
            right: left + text.len() * advance,
            bottom: top + 6 * unit,
        };
        fill(frame, back, BLACK);
        for (i, letter) in text.chars().enumerate() {
            let rows = glyph(letter);
            for (y, row) in rows.into_iter().enumerate() {
                for x in (0..3).filter(|x| row >> (2 - x) & 1 == 1) {
                    let (left, top) = (left + i * advance + x * unit, top + y * unit);
                    fill(frame, Cell { left, top, right: left + unit, bottom: top + unit }, WHITE);
                }
            }
        }
    }
}

/// The number of a test picture, after any coding that left it recognisable; `None` if it is none.
pub fn read_number(frame: &VideoFrame) -> Option<u32> {
    if frame.width < COLUMNS || frame.height < 8 * ROWS {
        return None;
    }
    let mut code = 0u64;
    for cell in cells(frame.width, frame.height) {
        // The middle half of the cell: its border is blurred by coding.
        let (inset_x, inset_y) = ((cell.right - cell.left) / 4, (cell.bottom - cell.top) / 4);
        let (mut sum, mut count) = (0u64, 0u64);
        for y in cell.top + inset_y..cell.bottom - inset_y {
            let row = frame.y().get(y * frame.width..(y + 1) * frame.width)?;
            for &pixel in row.get(cell.left + inset_x..cell.right - inset_x)? {
                sum += u64::from(pixel);
                count += 1;
            }
        }
        let mean = sum.checked_div(count)?;
        code = code << 1 | u64::from(mean > u64::from(BLACK / 2 + WHITE / 2));
    }
    let n = (code >> 16) as u32;
    (protect(n) == code).then_some(n)
}

#[derive(Clone, Copy)]
struct Cell {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

/// The cells of the code in order of its bits.
fn cells(width: usize, height: usize) -> impl Iterator<Item = Cell> {
    // From 10 to 90 % of the width, from 60 to 96 % of the height.
    let x = move |column: usize| width / 10 + width * 4 / 5 * column / COLUMNS;
    let y = move |row: usize| height * 3 / 5 + height * 36 / 100 * row / ROWS;
    (0..COLUMNS * ROWS).map(move |i| {
        let (row, column) = (i / COLUMNS, i % COLUMNS);
        Cell { left: x(column), top: y(row), right: x(column + 1), bottom: y(row + 1) }
    })
}

/// Noise from 0 to 7, the same for the same seed.
struct Grain(u32);

impl Grain {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 29) as u8
    }
}

/// Fills a rectangle with a shade of grey; what lies outside of the picture is left out.
fn fill(frame: &mut VideoFrame, cell: Cell, luma: u8) {
    let (width, height) = (frame.width, frame.height);
    let (right, bottom) = (cell.right.min(width), cell.bottom.min(height));
    let (plane, chroma) = frame.data.split_at_mut(width * height);
    for row in plane.chunks_exact_mut(width).take(bottom).skip(cell.top) {
        if let Some(pixels) = row.get_mut(cell.left..right) {
            pixels.fill(luma);
        }
    }
    let (blue, red) = chroma.split_at_mut(width * height / 4);
    for plane in [blue, red] {
        for row in plane.chunks_exact_mut(width / 2).take(bottom.div_ceil(2)).skip(cell.top / 2) {
            if let Some(pixels) = row.get_mut(cell.left / 2..right.div_ceil(2)) {
                pixels.fill(128);
            }
        }
    }
}

/// A number followed by its CRC-16 (CCITT, from 0xffff).
fn protect(n: u32) -> u64 {
    let mut crc = 0xffff_u16;
    for byte in n.to_be_bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
        }
    }
    u64::from(n) << 16 | u64::from(crc)
}

/// Five rows of three pixels.
fn glyph(letter: char) -> [u8; 5] {
    match letter {
        '0' => [0b111, 0b101, 0b101, 0b101, 0b111],
        '1' => [0b010, 0b110, 0b010, 0b010, 0b111],
        '2' => [0b111, 0b001, 0b111, 0b100, 0b111],
        '3' => [0b111, 0b001, 0b111, 0b001, 0b111],
        '4' => [0b101, 0b101, 0b111, 0b001, 0b001],
        '5' => [0b111, 0b100, 0b111, 0b001, 0b111],
        '6' => [0b111, 0b100, 0b111, 0b101, 0b111],
        '7' => [0b111, 0b001, 0b010, 0b010, 0b010],
        '8' => [0b111, 0b101, 0b111, 0b101, 0b111],
        '9' => [0b111, 0b101, 0b111, 0b001, 0b111],
        '.' => [0, 0, 0, 0, 0b010],
        ':' => [0, 0b010, 0, 0b010, 0],
        _ => [0; 5],
    }
}
