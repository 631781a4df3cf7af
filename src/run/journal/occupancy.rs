//! What can be said of a journal that somebody else may be writing, on every system.

#![cfg_attr(not(unix), allow(dead_code, reason = "there nobody else is ever seen"))]

use std::io;

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

/// What is known of a journal that is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether a run is writing it.
    pub is_written: bool,
    /// Whether its last commits are found beside another name.
    pub is_elsewhere: bool,
}
