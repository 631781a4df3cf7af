//! Checksums over what a row says, so that a flipped bit is an error and never another outcome.

use crc::{CRC_64_XZ, Crc, Digest, Table};

type Wide = Table<16>;

static CRC: Crc<u64, Wide> = Crc::<u64, Wide>::new(&CRC_64_XZ);

/// A checksum in the making. Each value goes in with its kind and its length, so that no two rows read the same.
pub struct Checksum(Digest<'static, u64, Wide>);

impl Checksum {
    /// A checksum of a row of this table.
    pub fn of(table: &str) -> Self {
        Self(CRC.digest()).text(Some(table))
    }

    /// One more text.
    pub fn text(mut self, text: Option<&str>) -> Self {
        match text {
            Some(text) => {
                self.0.update(&(text.len() as u64 + 1).to_le_bytes());
                self.0.update(text.as_bytes());
            }
            None => self.0.update(&[0; 8]),
        }
        self
    }

    /// One more number.
    pub fn number(mut self, number: Option<i64>) -> Self {
        self.0.update(&[u8::from(number.is_some())]);
        self.0.update(&number.unwrap_or_default().to_le_bytes());
        self
    }

    /// The checksum as SQLite keeps integers.
    pub fn done(self) -> i64 {
        self.0.finalize().cast_signed()
    }
}
