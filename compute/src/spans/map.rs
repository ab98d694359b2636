//! An index larger than memory: its file, mapped.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The bytes of a file, read by the operating system when they are touched.
#[derive(Debug)]
pub struct FileBytes(Mmap);

impl FileBytes {
    /// Maps a whole file.
    ///
    /// The file must be one that nobody writes any more, as blobs are: files that are addressed by
    /// their content get their name when they are complete and are only ever removed, which leaves a
    /// map intact.
    #[expect(unsafe_code, reason = "a map is a slice only while nobody changes the file")]
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private and read-only, and the file is complete and never written
        // again (see above), so the bytes behind the slice don't change.
        unsafe { Mmap::map(file) }.map(Self)
    }
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
