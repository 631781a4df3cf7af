//! Which file a path means. A file may have many names, and what stands beside it has to be found under each of them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::failure::JournalFailure;

/// As many symbolic links may lead to each other, as on Linux (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The file that this path means, through symbolic links of the file and of its folders, whether it is there or not.
pub fn resolve(given: &Path) -> Result<PathBuf, JournalFailure> {
    // A name such as ":memory:" means a file like any other.
    let mut path = std::path::absolute(given).map_err(|err| JournalFailure::of(given, err))?;
    for _ in 0..MOST_LINKS {
        let Ok(target) = std::fs::read_link(&path) else { return in_its_folder(&path) };
        // SQLite would follow it as well, and what it names may not be there yet.
        path.pop();
        path.push(target);
    }
    Err(JournalFailure::of(given, "its symbolic links lead nowhere; look at the path"))
}

fn in_its_folder(path: &Path) -> Result<PathBuf, JournalFailure> {
    if path.is_dir() {
        return Err(JournalFailure::of(path, "it is a folder; give the path of a file in it"));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(JournalFailure::of(path, "it names no file; look at the path"));
    };
    let folder = real(folder).map_err(|err| {
        JournalFailure::of(path, format_args!("{err}; the folder has to exist and be writable"))
    })?;
    Ok(folder.join(name_as_it_stands(&folder, name)))
}

/// The folder by its one real name.
#[cfg(unix)]
fn real(folder: &Path) -> std::io::Result<PathBuf> {
    folder.canonicalize()
}

/// There the real name is of a form that people do not write, and links need privileges.
#[cfg(not(unix))]
fn real(folder: &Path) -> std::io::Result<PathBuf> {
    folder.metadata().map(|_| folder.to_owned())
}

/// Where the case of letters does not matter, the name as the folder has it.
#[cfg(target_os = "macos")]
fn name_as_it_stands(folder: &Path, name: &OsStr) -> std::ffi::OsString {
    let there = folder.join(name).canonicalize().ok();
    there.as_deref().and_then(Path::file_name).unwrap_or(name).to_owned()
}

#[cfg(not(target_os = "macos"))]
const fn name_as_it_stands<'a>(_: &Path, name: &'a OsStr) -> &'a OsStr {
    name
}
