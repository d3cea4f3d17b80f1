//! Reads small files whole, with a bound, into memory that is wiped.

use rustix::fs::OFlags;
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};
use zeroize::Zeroizing;

/// Reads the whole of a regular file of at most `max` bytes.
///
/// The buffer is allocated once at its full size, so that growing it leaves no copies behind. Only regular files are
/// opened: a pipe would block until somebody writes, and opening a device may have an effect.
pub(crate) fn read_file(path: &Path, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    regular(&fs::metadata(path)?)?;
    // It may have become a pipe since; opening one blocks unless told not to.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    regular(&file.metadata()?)?;
    read(file, max)
}

fn regular(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file")))
}

/// Reads `input` to its end, at most `max` bytes.
pub(crate) fn read(mut input: impl io::Read, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; max + 1]);
    let mut len = 0;
    while len < bytes.len() {
        match input.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    if len > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("longer than {max} bytes")));
    }
    bytes.truncate(len);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_last_length_accepted() {
        for len in [0, 1, 15, 16] {
            assert_eq!(*read(&vec![7; len][..], 16).unwrap(), vec![7; len]);
        }
        assert_eq!(read(&[7; 17][..], 16).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, kind) in
            [(dir.path(), "a directory"), (&pipe, "a pipe"), (Path::new("/dev/zero"), "a device")]
        {
            let error = read_file(path, 16).unwrap_err().to_string();
            assert!(error.contains(kind), "{}: {error}", path.display());
        }
    }
}
