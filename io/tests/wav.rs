//! WAV files: whatever a recorder made is read, what is no speech is named.

use hound::{SampleFormat, WavSpec};
use std::path::PathBuf;
use undertone_io::files::{FileError, Pcm, WavWriter, read_wav, write_wav};

fn temp(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("undertone-wav-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn spec(channels: u16, sample_rate: u32, bits_per_sample: u16, sample_format: SampleFormat) -> WavSpec {
    WavSpec { channels, sample_rate, bits_per_sample, sample_format }
}

#[test]
fn every_pcm_format_becomes_the_same_sixteen_bits() {
    for bits in [8u16, 16, 24, 32] {
        let path = temp(&format!("{bits}.wav"));
        let mut writer = hound::WavWriter::create(&path, spec(1, 44_100, bits, SampleFormat::Int)).unwrap();
        let half = 1i32 << (bits - 2);
        for sample in [0, half, -half, 2 * (half - 1) + 1, -2 * half] {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        let pcm = read_wav(&path).unwrap();
        assert_eq!(pcm.sample_rate, 44_100);
        // Eight bits have no finer top than 0x7f00.
        let top = if bits == 8 { 0x7f00 } else { 0x7fff };
        assert_eq!(pcm.samples, [0, 16_384, -16_384, top, -32_768], "{bits} bits");
    }
    let path = temp("float.wav");
    let mut writer = hound::WavWriter::create(&path, spec(1, 48_000, 32, SampleFormat::Float)).unwrap();
    for sample in [0.0f32, 0.5, -0.5, 1.5, -1.0, f32::NAN] {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    assert_eq!(read_wav(&path).unwrap().samples, [0, 16_384, -16_384, 32_767, -32_768, 0]);
}

#[test]
fn several_channels_become_their_mean() {
    let path = temp("stereo.wav");
    let mut writer = hound::WavWriter::create(&path, spec(2, 8000, 16, SampleFormat::Int)).unwrap();
    for sample in [1000i16, 3000, -4000, 0, i16::MAX, i16::MAX] {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    assert_eq!(read_wav(&path).unwrap(), Pcm { sample_rate: 8000, samples: vec![2000, -2000, i16::MAX] });
}

#[test]
fn what_is_written_is_read_again_even_before_it_is_finished() {
    let path = temp("stream.wav");
    let mut writer = WavWriter::create(&path, 16_000).unwrap();
    assert!(writer.is_empty());
    for n in 0..150i16 {
        writer.write(&[n; 160]).unwrap();
    }
    let early = read_wav(&path).unwrap();
    assert!(early.samples.len() >= 16_000, "a second is safe on disk: {}", early.samples.len());
    assert_eq!(writer.len(), 150 * 160);
    writer.finish().unwrap();
    let all = read_wav(&path).unwrap();
    assert_eq!(all.samples.len(), 150 * 160);
    assert_eq!((all.samples[160], all.samples[159 * 100]), (1, 99));
}

#[test]
fn files_that_were_cut_off_or_came_through_a_pipe_give_what_is_there() {
    let path = temp("cut.wav");
    write_wav(&path, 16_000, &[5; 1000]).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 501]).unwrap();
    assert_eq!(read_wav(&path).unwrap().samples, [5; 749]);
    let length = bytes.len() - 2000 - 4;
    for unknown in [0u32, u32::MAX] {
        bytes[4..8].copy_from_slice(&unknown.to_le_bytes());
        bytes[length..length + 4].copy_from_slice(&unknown.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_wav(&path).unwrap().samples, [5; 1000]);
    }
}

#[test]
fn no_cut_and_no_damage_makes_reading_panic() {
    let path = temp("damaged.wav");
    write_wav(&path, 16_000, &[1, 2, 3]).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let _ = read_wav(&path);
    }
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            std::fs::write(&path, &damaged).unwrap();
            let _ = read_wav(&path);
        }
    }
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let missing = temp("missing.wav");
    let error = read_wav(&missing).unwrap_err();
    assert!(matches!(error, FileError::Io { .. }));
    assert!(error.to_string().contains("missing.wav cannot be read"), "{error}");

    let text = temp("notes.wav");
    std::fs::write(&text, "these are not samples, not at all, no").unwrap();
    let error = read_wav(&text).unwrap_err();
    assert!(matches!(error, FileError::NotWav { .. }), "{error}");
    let error = error.to_string();
    assert!(
        error.contains("notes.wav") && error.contains("expected PCM") && error.contains("ffmpeg"),
        "{error}"
    );

    let short = temp("short.wav");
    std::fs::write(&short, "RIFF").unwrap();
    let error = read_wav(&short).unwrap_err();
    assert!(matches!(error, FileError::NotWav { .. }), "{error}");

    let empty = temp("empty.wav");
    write_wav(&empty, 16_000, &[]).unwrap();
    let error = read_wav(&empty).unwrap_err();
    assert!(matches!(error, FileError::Empty { .. }) && error.to_string().contains("empty.wav"), "{error}");

    let nowhere = temp("no/such/folder/out.wav");
    let error = WavWriter::create(&nowhere, 16_000).err().unwrap().to_string();
    assert!(error.contains("out.wav cannot be written"), "{error}");
}
