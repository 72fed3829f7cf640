//! The event log of a trial, as far as a run that was cut off needs to take it up again.

use std::{
    fs::File,
    io::{BufWriter, Result, Seek, SeekFrom, Sink, Write},
};

/// Where events are written, line by line.
pub trait EventLog: Write + Send {
    /// Cuts the log to its first `bytes`; what is written next follows them.
    ///
    /// # Errors
    /// The log cannot be cut, or is shorter.
    fn cut(&mut self, bytes: u64) -> Result<()>;

    /// Brings what was written to stable storage.
    ///
    /// # Errors
    /// It cannot be written.
    fn sync(&mut self) -> Result<()>;
}

impl EventLog for BufWriter<File> {
    fn cut(&mut self, bytes: u64) -> Result<()> {
        self.flush()?;
        let file = self.get_ref();
        let length = file.metadata()?.len();
        if length < bytes {
            let message = format!(
                "{length} bytes are left, and the last generation was committed after {bytes}: start again from the \
                 first step with `spillbench run --fresh`"
            );
            return Err(std::io::Error::other(message));
        }
        file.set_len(bytes)?;
        self.seek(SeekFrom::Start(bytes)).map(drop)
    }

    fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.get_ref().sync_data()
    }
}

/// Nothing is kept, so nothing is cut.
impl EventLog for Sink {
    fn cut(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}
