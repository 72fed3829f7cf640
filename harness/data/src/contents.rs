//! The uncompressed contents of a file, counted and summed while they stream by.
//!
//! Whether a file is compressed is told by its first bytes, not by its name. Nothing is buffered beyond one
//! block, so that a caller who reads into exact-size buffers holds each byte once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::DataError;

const BLOCK: usize = 64 * 1024;

pub(crate) struct Contents<'p> {
    path: &'p Path,
    reader: Box<dyn Read>,
    offset: u64,
    sum: Sha256,
}

impl<'p> Contents<'p> {
    pub(crate) fn open(path: &'p Path) -> Result<Self, DataError> {
        let failed = |operation, cause| DataError::Io { operation, path: path.to_owned(), offset: 0, cause };
        let file = File::open(path).map_err(|cause| failed("open", cause))?;
        let mut file = BufReader::with_capacity(BLOCK, file);
        let start = file.fill_buf().map_err(|cause| failed("read", cause))?;
        let reader: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        Ok(Self { path, reader, offset: 0, sum: Sha256::new() })
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills all of `buffer`.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DataError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.read(&mut buffer[filled..])?;
            if read == 0 {
                let expected = format!("{} bytes more", buffer.len() - filled);
                return Err(self.malformed(self.offset, expected, "the end of the file"));
            }
            filled += read;
        }
        Ok(())
    }

    /// Reads past `bytes` bytes; they count in the sum.
    pub(crate) fn skip(&mut self, mut bytes: usize) -> Result<(), DataError> {
        let mut block = vec![0; BLOCK.min(bytes)];
        while bytes > 0 {
            let length = block.len().min(bytes);
            self.fill(&mut block[..length])?;
            bytes -= length;
        }
        Ok(())
    }

    /// Reads what is left and checks that all of the contents have the SHA-256 `expected`, in hexadecimal.
    pub(crate) fn check_sum(mut self, expected: &str) -> Result<(), DataError> {
        let mut block = vec![0; BLOCK];
        while self.read(&mut block)? > 0 {}
        let found = hexadecimal(&self.sum.finalize());
        if found == expected {
            return Ok(());
        }
        Err(DataError::Checksum { path: self.path.to_owned(), expected: expected.to_owned(), found })
    }

    /// Checks that nothing is left and that the contents have the SHA-256 `expected`, in hexadecimal.
    pub(crate) fn end(mut self, expected: &str) -> Result<(), DataError> {
        let end = self.offset;
        if self.read(&mut [0])? > 0 {
            return Err(self.malformed(end, "the end of the file", "more bytes"));
        }
        self.check_sum(expected)
    }

    pub(crate) fn malformed(
        &self,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> DataError {
        DataError::Malformed {
            path: self.path.to_owned(),
            offset,
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, DataError> {
        loop {
            match self.reader.read(buffer) {
                Ok(read) => {
                    self.sum.update(&buffer[..read]);
                    self.offset += read as u64;
                    return Ok(read);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.failed(cause)),
            }
        }
    }

    /// A decoder reports damage as an I/O error; it is the file's, not the disk's.
    fn failed(&self, cause: io::Error) -> DataError {
        match cause.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.malformed(self.offset, "a whole gzip stream", "a truncated one")
            }
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                self.malformed(self.offset, "a sound gzip stream", cause.to_string())
            }
            _ => DataError::Io { operation: "read", path: self.path.to_owned(), offset: self.offset, cause },
        }
    }
}

/// Two lowercase digits a byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
