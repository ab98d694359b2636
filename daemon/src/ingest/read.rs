//! Reading files as text, or saying why not.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::Document;

/// Bytes of one file at most.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// Bytes of one line at most: no text that people wrote has longer ones.
pub(crate) const MAX_LINE_BYTES: usize = 1 << 20;
/// Files of one folder at most.
const MAX_FILES: usize = 1 << 16;
/// Folders within folders at most.
const MAX_DEPTH: usize = 32;
/// What is read at once.
const BUFFER: usize = 64 << 10;

/// Why files were not taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is not UTF-8.
    #[error(
        "{} is not UTF-8 text (byte {offset}); convert it, for example with \
         `iconv -t UTF-8`, and try again", path.display()
    )]
    NotUtf8 {
        /// The file or folder.
        path: PathBuf,
        /// The first byte that is wrong.
        offset: u64,
    },
    /// A file is of another format.
    #[error("{} is {format}, not text; {advice}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        format: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A line is longer than any text has.
    #[error(
        "line {line} of {} is longer than {MAX_LINE_BYTES} bytes; break it into lines first",
        path.display()
    )]
    LongLine {
        /// The file or folder.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
    },
    /// A file is too large.
    #[error("{} is larger than {MAX_DOCUMENT_BYTES} bytes; split it first", path.display())]
    TooLarge {
        /// The file or folder.
        path: PathBuf,
    },
    /// A folder has too many files, or too deep ones.
    #[error("{} has more than {MAX_FILES} files or {MAX_DEPTH} levels; publish parts of it", .0.display())]
    TooMany(PathBuf),
    /// A pipe, a device or a socket, which may never end.
    #[error("{} is neither a file nor a folder; save its text to a file first", .0.display())]
    NotAFile(PathBuf),
    /// A folder without text.
    #[error("{} has no text: put .txt or .md files into it", .0.display())]
    Empty(PathBuf),
    /// A file without text.
    #[error("{} holds no text, only white space or control characters", .0.display())]
    EmptyFile(PathBuf),
    /// Only white space.
    #[error("there is nothing to publish: the documents hold no text")]
    NothingToPublish,
    /// More packs or units than a contribution may list.
    #[error("this is more than one contribution can hold; publish it in parts")]
    TooMuch,
    /// The network's packs are too small for the cutter.
    #[error(transparent)]
    Rule(#[from] storage::packs::PackRuleError),
}

/// A file of a folder that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it was passed over.
    pub reason: &'static str,
}

/// Reads files and folders: each named file must be text; of a folder, the `.txt` and `.md` files at
/// any depth are taken, in order of their names.
///
/// # Errors
/// [`IngestError`] at the first file that is no text, or when there is none.
pub fn read(paths: &[PathBuf]) -> Result<(Vec<Document>, Vec<Skipped>), IngestError> {
    let (mut documents, mut skipped) = (Vec::new(), Vec::new());
    for path in paths {
        let kind = std::fs::metadata(path).map_err(|source| fail(path, source))?;
        if kind.is_file() {
            documents.push(read_document(path)?);
            continue;
        }
        if !kind.is_dir() {
            return Err(IngestError::NotAFile(path.clone()));
        }
        let mut files = Vec::new();
        walk(path, 0, &mut files, &mut skipped)?;
        if files.is_empty() {
            return Err(IngestError::Empty(path.clone()));
        }
        for file in files {
            documents.push(read_document(&file)?);
        }
    }
    documents.retain(|document| !document.text.is_empty());
    match paths.first() {
        Some(path) if documents.is_empty() && path.is_dir() => {
            Err(IngestError::Empty(path.clone()))
        }
        Some(path) if documents.is_empty() => Err(IngestError::EmptyFile(path.clone())),
        _ => Ok((documents, skipped)),
    }
}

fn fail(path: &Path, source: io::Error) -> IngestError {
    IngestError::Read { path: path.to_owned(), source }
}

fn walk(
    dir: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    skipped: &mut Vec<Skipped>,
) -> Result<(), IngestError> {
    if depth >= MAX_DEPTH {
        return Err(IngestError::TooMany(dir.to_owned()));
    }
    let mut entries = std::fs::read_dir(dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|source| fail(dir, source))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(|source| fail(&path, source))?;
        if kind.is_dir() {
            walk(&path, depth + 1, files, skipped)?;
        } else if !kind.is_file() {
            skipped.push(Skipped { path, reason: "neither a file nor a folder" });
        } else if is_text_name(&path) {
            files.push(path);
        } else {
            skipped.push(Skipped { path, reason: "neither .txt nor .md" });
        }
        if files.len() > MAX_FILES {
            return Err(IngestError::TooMany(dir.to_owned()));
        }
    }
    Ok(())
}

fn is_text_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let known = ["txt", "text", "md", "markdown"];
    extension.is_some_and(|found| known.iter().any(|one| found.eq_ignore_ascii_case(one)))
}

fn read_document(path: &Path) -> Result<Document, IngestError> {
    let text = read_text(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Document { name, text: clean(&text) })
}

/// Reads a file piece by piece, so that a file of any size costs no more memory than the limit.
fn read_text(path: &Path) -> Result<String, IngestError> {
    let file = File::open(path).map_err(|source| fail(path, source))?;
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let mut bytes = Vec::new();
    let (mut line, mut line_bytes) = (1u64, 0usize);
    loop {
        let piece = match reader.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(fail(path, source)),
        };
        if piece.is_empty() {
            break;
        }
        if bytes.is_empty() {
            check_format(path, piece)?;
        }
        for byte in piece {
            line_bytes += 1;
            if *byte == b'\n' {
                (line, line_bytes) = (line + 1, 0);
            }
            if line_bytes > MAX_LINE_BYTES {
                return Err(IngestError::LongLine { path: path.to_owned(), line });
            }
        }
        bytes.extend_from_slice(piece);
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(IngestError::TooLarge { path: path.to_owned() });
        }
        let taken = piece.len();
        reader.consume(taken);
    }
    String::from_utf8(bytes).map_err(|error| IngestError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to() as u64,
    })
}

/// Formats that are taken for text by mistake, known by their first bytes.
const FORMATS: [(&[u8], &str, &str); 8] = [
    (b"PK\x03\x04", "a zip archive", "unpack it and publish the files"),
    (b"PK\x05\x06", "an empty zip archive", "publish text files"),
    (b"PAR1", "a Parquet file", "export its text column to a .txt file"),
    (b"\x1f\x8b", "a gzip file", "decompress it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "decompress it first"),
    (b"%PDF-", "a PDF file", "extract its text first"),
    (b"\xff\xfe", "UTF-16 text", "convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "UTF-16 text", "convert it with `iconv -f UTF-16 -t UTF-8`"),
];

fn check_format(path: &Path, start: &[u8]) -> Result<(), IngestError> {
    match FORMATS.iter().find(|(magic, ..)| start.starts_with(magic)) {
        Some((_, format, advice)) => {
            Err(IngestError::Format { path: path.to_owned(), format, advice })
        }
        None => Ok(()),
    }
}

/// The published rules of cleaning: no byte-order mark, `\n` as the only line end, no control
/// character but `\n` and tab, one line end at the end. Text without content becomes empty.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{feff}' => {}
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\n' | '\t' => out.push(character),
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
    let length = out.trim_end().len();
    out.truncate(length);
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read_bytes(name: &str, bytes: &[u8]) -> Result<Vec<Document>, IngestError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        read(&[path]).map(|(documents, _)| documents)
    }

    #[test]
    fn text_is_cleaned_by_the_published_rules() {
        assert_eq!(clean("\u{feff}a\r\nb\rc\u{7}\td \n\n"), "a\nb\nc\td\n");
        assert_eq!(clean(" \u{feff}\r\n"), "");
        let clean_once = clean("x\u{0}y\n");
        assert_eq!(clean(&clean_once), clean_once, "cleaning is idempotent");
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let latin = read_bytes("a.txt", b"caf\xe9 noir");
        assert!(matches!(latin, Err(IngestError::NotUtf8 { offset: 3, .. })));
        for (bytes, word) in [
            (&b"PK\x03\x04\x14\x00trunc"[..], "zip"),
            (&b"PAR1\x15\x04"[..], "Parquet"),
            (&b"\x1f\x8b\x08"[..], "gzip"),
        ] {
            let error = read_bytes("data.txt", bytes).unwrap_err();
            assert!(matches!(error, IngestError::Format { .. }));
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(matches!(read_bytes("blank.txt", b" \n "), Err(IngestError::EmptyFile(_))));
    }

    #[test]
    fn what_may_never_end_is_not_opened() {
        let device = PathBuf::from("/dev/zero");
        assert!(matches!(read(&[device]), Err(IngestError::NotAFile(_))));
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("pipe.txt");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert!(matches!(read(&[fifo]), Err(IngestError::NotAFile(_))));
    }

    #[test]
    fn a_line_without_end_is_left_after_a_megabyte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("line.txt");
        let mut file = File::create(&path).unwrap();
        writeln!(file, "short").unwrap();
        // Sparse: two gigabytes that take no disk.
        file.set_len(2 << 30).unwrap();
        let error = read(&[path]).unwrap_err();
        assert!(matches!(error, IngestError::LongLine { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_folder_is_read_in_order_and_says_what_it_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("b");
        std::fs::create_dir(&inner).unwrap();
        let empty = read(std::slice::from_ref(&inner));
        assert!(matches!(empty, Err(IngestError::Empty(_))));
        std::fs::write(inner.join("two.md"), "zwei").unwrap();
        std::fs::write(dir.path().join("a.TXT"), "eins").unwrap();
        std::fs::write(dir.path().join("c.parquet"), "PAR1").unwrap();
        let (documents, skipped) = read(&[dir.path().to_owned()]).unwrap();
        let names: Vec<_> = documents.iter().map(|d| (d.name.as_str(), d.text.as_str())).collect();
        assert_eq!(names, [("a.TXT", "eins\n"), ("two.md", "zwei\n")]);
        assert_eq!(skipped.len(), 1);
        assert!(matches!(read(&[dir.path().join("none")]), Err(IngestError::Read { .. })));
    }
}
