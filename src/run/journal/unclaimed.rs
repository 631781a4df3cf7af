//! Where files have no locks of the POSIX kind, the lock file alone keeps a second run out.

#![allow(dead_code, reason = "the same as where files have such locks")]

use std::fs::File;
use std::path::Path;

use super::occupancy::{Refused, Seen};

/// Nothing is listed.
pub struct Claims;

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

/// Nothing is known.
pub const fn look(_: &Path) -> Seen {
    Seen { is_written: false, is_elsewhere: false }
}
