//! Files that somebody names: read whole, if they are files, and not longer than they may be.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file and reads it. What is something else (a device, a pipe, a directory) is
/// refused without waiting for anybody, and so is a file of more than `most` bytes.
pub fn read_regular(path: &Path, most: u64) -> Result<(File, Vec<u8>)> {
    // A pipe would wait for its other end without O_NONBLOCK; a regular file does not care.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)?;
    let known = file.metadata()?;
    if !known.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let too_long =
        |len| Error::new(ErrorKind::FileTooLarge, format!("it has {len} bytes; at most {most}"));
    if known.len() > most {
        return Err(too_long(known.len()));
    }
    let mut content = Vec::new();
    // It may grow meanwhile.
    let read = (&file).take(most + 1).read_to_end(&mut content)? as u64;
    if read > most {
        return Err(too_long(read));
    }
    Ok((file, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_a_bounded_length_are_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap().1, b"12345");
        assert_eq!(read_regular(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
        let pipe = place.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for other in [pipe.as_path(), Path::new("/dev/zero"), place.path()] {
            let why = read_regular(other, 5).unwrap_err().to_string();
            assert!(why.contains("not a regular file"), "{why}");
        }
        // Files of the system that say nothing of their length, and never end.
        assert!(read_regular(Path::new("/proc/self/maps"), 5).is_err());
    }
}
