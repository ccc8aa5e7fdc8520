//! Records into a file, a line each, from where they are in memory: they are many, and copied by the kernel alone.
//!
//! The file sink calls it, and looks itself for what a write that fails has left.

use std::io::{self, ErrorKind, IoSlice, Write};

/// Parts that one call takes at most: Linux refuses more.
const PARTS: usize = 1024;

/// Writes what stands before the records, then each with a line break behind it.
pub(super) fn write<'a>(
    file: &mut impl Write,
    before: &'a [u8],
    records: impl Iterator<Item = &'a [u8]>,
) -> io::Result<()> {
    let mut parts = Vec::with_capacity(PARTS);
    parts.push(IoSlice::new(before));
    for record in records {
        if parts.len() + 2 > PARTS {
            write_parts(file, &mut parts)?;
            parts.clear();
        }
        parts.extend([IoSlice::new(record), IoSlice::new(b"\n")]);
    }
    write_parts(file, &mut parts)
}

/// Writes parts, with as many calls as it takes.
fn write_parts(file: &mut impl Write, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    // A part without a byte would look as if nothing could be written.
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match file.write_vectored(parts) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes little at once, as a disk does that is almost full, and is interrupted now and then.
    struct Slow {
        got: Vec<u8>,
        calls: usize,
        most: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!(parts.len() <= PARTS, "{}", parts.len());
            self.calls += 1;
            if self.calls.is_multiple_of(3) {
                return Err(ErrorKind::Interrupted.into());
            }
            let before = self.got.len();
            self.got.extend(parts.iter().flat_map(|part| part.iter()).take(self.most));
            Ok(self.got.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn records() -> Vec<String> {
        (0..3000).map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}", "y".repeat(n % 50))).collect()
    }

    #[test]
    fn however_little_a_call_writes_every_record_is_there_once_and_in_order() {
        for most in [1, 7, 100_000] {
            for before in ["", "\n"] {
                let mut slow = Slow { got: Vec::new(), calls: 0, most };
                write(&mut slow, before.as_bytes(), records().iter().map(String::as_bytes)).unwrap();
                let expected = format!("{before}{}\n", records().join("\n"));
                assert_eq!(String::from_utf8(slow.got).unwrap(), expected, "{most}");
            }
        }
    }

    #[test]
    fn what_writes_nothing_is_an_error_and_no_endless_loop() {
        let mut slow = Slow { got: Vec::new(), calls: 0, most: 0 };
        let error = write(&mut slow, b"\n", records().iter().map(String::as_bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
    }
}
