//! Where files have no locks of the POSIX kind, the lock file alone keeps a second run out.

#![allow(dead_code, reason = "the same as where files have such locks")]

use std::fs::File;
use std::io;
use std::path::Path;

/// Nothing is listed.
pub struct Claims;

/// Why a journal cannot be claimed.
#[derive(Debug)]
pub enum Refused {
    /// The run of this process writes it; 0 where its number is not known.
    By(u32),
    /// It was last written under another name, and its last commits are found beside that one.
    Elsewhere,
    /// The system said no.
    Failed(io::Error),
}

/// Holds nothing.
#[derive(Debug)]
pub struct Claim;

impl Claims {
    /// Nothing is listed.
    pub const fn look() -> Self {
        Self
    }

    /// Nothing is claimed.
    pub const fn claim(&mut self, _: &Path, _: &File) -> Result<Claim, Refused> {
        Ok(Claim)
    }

    /// Nothing was claimed.
    pub const fn release(&mut self, _: Claim) {}
}

impl Claim {
    /// Nothing is locked.
    pub const fn lock(&self) -> Result<(), Refused> {
        Ok(())
    }
}

/// What is known of a journal that is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether a run is writing it.
    pub is_written: bool,
    /// Whether its last commits are found beside another name.
    pub is_elsewhere: bool,
}

/// Nothing is known.
pub const fn look(_: &Path) -> Seen {
    Seen { is_written: false, is_elsewhere: false }
}
