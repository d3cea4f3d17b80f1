//! Reading small files whole, with a bound, into memory that is wiped.

use std::{fs::File, io, path::Path};
use zeroize::Zeroizing;

/// Reads the whole of a regular file of at most `max` bytes.
///
/// The buffer is allocated once at its full size, so that growing it leaves no copies behind.
pub(crate) fn read_file(path: &Path, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    read(file, max)
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
    fn a_directory_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_file(dir.path(), 16).is_err());
    }
}
