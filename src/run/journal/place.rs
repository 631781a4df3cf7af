//! Which file stands at a path, and whether it is the one that is open.

use std::fs::{File, Metadata};
use std::path::Path;

/// A file, whatever its name. Asking for it opens nothing: closing it again would make SQLite lose its locks (POSIX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64, u64);

impl Place {
    /// The file that stands there now.
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|data| Self::told_by(&data))
    }

    /// The file that is open.
    pub fn of_open(file: &File) -> Option<Self> {
        file.metadata().ok().map(|data| Self::told_by(&data))
    }

    #[cfg(unix)]
    fn told_by(data: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(data.dev(), data.ino())
    }

    /// An open file can be neither removed nor replaced here.
    #[cfg(not(unix))]
    const fn told_by(_: &Metadata) -> Self {
        Self(0, 0)
    }
}
