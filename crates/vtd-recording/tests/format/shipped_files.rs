//! The shipped files: whole, cut and with noise in them.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use vtd_recording::format::{Event, Reader, Writer};

use crate::text::{HEADER, Noise, events, written};

fn corpus() -> io::Result<Vec<PathBuf>> {
    files(&["recordings", "vectors"])
}

fn files(folders: &[&str]) -> io::Result<Vec<PathBuf>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus");
    let mut files = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(corpus.join(folder))? {
            files.push(entry?.path());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rec"));
    files.sort();
    Ok(files)
}

#[test]
fn shipped_files_are_written_again_byte_for_byte() -> Result<(), Box<dyn Error>> {
    let files = corpus()?;
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read(&file)?;
        let mut reader = Reader::new(text.as_slice())?;
        let mut writer = Writer::new(Vec::with_capacity(text.len()), reader.header())?;
        while let Some((_, event)) = reader.next().transpose()? {
            writer.write(&event)?;
        }
        let copy = writer.finish()?;
        let differing = text.lines().zip(copy.lines()).position(|(a, b)| a.ok() != b.ok());
        assert_eq!(differing, None, "{}", file.display());
        assert!(text == copy, "{}", file.display());
    }
    Ok(())
}

/// Most vectors have comments for people, which a copy loses.
#[test]
fn shipped_vectors_are_written_again_line_by_line() -> Result<(), Box<dyn Error>> {
    let files = files(&["vectors/unit", "vectors/bindings"])?;
    assert!(files.len() > 200, "{}", files.len());
    for file in files {
        let text = fs::read_to_string(&file)?;
        let header = Reader::new(text.as_bytes())?.header().clone();
        let copy = String::from_utf8(written(&header, &events(text.as_bytes())?)?)?;
        let events = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(events(&copy), events(&text), "{}", file.display());
    }
    Ok(())
}

#[test]
fn a_file_cut_anywhere_never_panics() -> Result<(), Box<dyn Error>> {
    for file in corpus()? {
        let text = fs::read(&file)?;
        // What stands before the last lines was read by the cut before, so the start is enough of a large file.
        for end in (0..text.len().min(20_000)).step_by(97) {
            let cut = &text[..end];
            let lines = u64::try_from(cut.lines().count())?;
            if let Err(error) = events(cut) {
                assert!((1..=lines.max(1)).contains(&error.line()), "{}: {error}", file.display());
            }
        }
        // And the last line alone, cut at every 97th byte of the whole file.
        for end in (0..text.len()).step_by(97) {
            let start = text[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let _ = events(&[HEADER.as_bytes(), &text[start..end]].concat());
        }
    }
    Ok(())
}

#[test]
fn noise_never_panics() -> Result<(), Box<dyn Error>> {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2_000 {
        let length = usize::try_from(noise.next() % 512)?;
        let bytes: Vec<u8> = (0..length).map(|_| noise.next().to_le_bytes()[3]).collect();
        let _ = events(&bytes);
        let _ = events(&[HEADER.as_bytes(), &bytes].concat());
    }
    // Noise in place of single bytes reaches further: what is still read is still written, and read again the same.
    for file in corpus()? {
        let text = fs::read(&file)?;
        let text = &text[..text.len().min(20_000)];
        for _ in 0..100 {
            let mut text = text.to_vec();
            for _ in 0..4 {
                let at = usize::try_from(noise.next())? % text.len();
                text[at] = b" \n\t#-:.0123789abcdefrwxyz\xff"[usize::try_from(noise.next() % 26)?];
            }
            let Ok(reader) = Reader::new(text.as_slice()) else { continue };
            let header = reader.header().clone();
            let read: Vec<Event> = reader.map_while(Result::ok).map(|(_, event)| event).collect();
            assert_eq!(events(&written(&header, &read)?)?, read);
        }
    }
    Ok(())
}
