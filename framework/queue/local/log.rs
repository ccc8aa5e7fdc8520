//! The log of the database, looked over before SQLite reads it.
//!
//! SQLite takes the log up to the first frame whose checksum is wrong, and passes over the rest without a word.
//! Where the last commit was cut off that is right. Damage in front of commits that were synced looks the same
//! to it, and what was acknowledged must not vanish unsaid.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use super::schema;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The two first words of a log: their last bit tells the byte order of its checksums.
const MAGIC: [u32; 2] = [0x377f_0682, 0x377f_0683];

/// Whether synced commits stand behind a damaged place of this log, where SQLite does not look for them.
///
/// Every commit is synced before the next one begins. So a power cut leaves at most one commit behind a frame
/// that did not reach the disk, and the second one is there only where the log was whole once.
pub(super) fn is_damaged(log: &Path) -> io::Result<bool> {
    let mut log = match File::open(log) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => BufReader::new(opened?),
    };
    let mut header = [0; HEADER];
    if !whole(&mut log, &mut header)? {
        return Ok(false);
    }
    let [magic, _, _, _, salt1, salt2, sum1, sum2] = words(&header, u32::from_be_bytes);
    let read = if magic == MAGIC[1] { u32::from_be_bytes } else { u32::from_le_bytes };
    let mut sum = checksum((0, 0), &header[..24], read);
    let mut good = MAGIC.contains(&magic) && sum == (sum1, sum2);
    // Frames of an earlier life of the log have other salts.
    let mut salts = good.then_some((salt1, salt2));
    let mut commits = 0;
    let mut frame = [0; FRAME_HEADER + schema::PAGE as usize];
    while whole(&mut log, &mut frame)? {
        let (head, page) = frame.split_at(FRAME_HEADER);
        let [_, committed, salt1, salt2, sum1, sum2] = words(head, u32::from_be_bytes);
        let ours = *salts.get_or_insert((salt1, salt2)) == (salt1, salt2);
        if good {
            sum = checksum(checksum(sum, &head[..8], read), page, read);
            good = ours && sum == (sum1, sum2);
        }
        if !good && ours && committed > 0 {
            commits += 1;
        }
    }
    Ok(commits > 1)
}

/// Returns what a log begins with, which is another whenever it starts over; zeros for an empty one.
pub(super) fn salt(log: &Path) -> io::Result<[u8; 8]> {
    let (mut log, mut header, mut salt) = (File::open(log)?, [0; HEADER], [0; 8]);
    if whole(&mut log, &mut header)? {
        salt.copy_from_slice(&header[16..24]);
    }
    Ok(salt)
}

/// Returns how many frames of a log are sound, from its first one up to its last commit.
pub(super) fn sound_frames(log: &Path) -> io::Result<u64> {
    let mut log = BufReader::with_capacity(1 << 18, File::open(log)?);
    let mut header = [0; HEADER];
    if !whole(&mut log, &mut header)? {
        return Ok(0);
    }
    let [magic, _, _, _, salt1, salt2, sum1, sum2] = words(&header, u32::from_be_bytes);
    let read = if magic == MAGIC[1] { u32::from_be_bytes } else { u32::from_le_bytes };
    let mut sum = checksum((0, 0), &header[..24], read);
    if !MAGIC.contains(&magic) || sum != (sum1, sum2) {
        return Ok(0);
    }
    let (mut frames, mut sound) = (0, 0);
    let mut frame = [0; FRAME_HEADER + schema::PAGE as usize];
    while whole(&mut log, &mut frame)? {
        let (head, page) = frame.split_at(FRAME_HEADER);
        let [_, committed, frame_salt1, frame_salt2, sum1, sum2] = words(head, u32::from_be_bytes);
        sum = checksum(checksum(sum, &head[..8], read), page, read);
        if (frame_salt1, frame_salt2) != (salt1, salt2) || sum != (sum1, sum2) {
            break;
        }
        frames += 1;
        if committed > 0 {
            sound = frames;
        }
    }
    Ok(sound)
}

/// Fills the buffer; `false` where the file ends before.
fn whole(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn words<const N: usize>(bytes: &[u8], read: fn([u8; 4]) -> u32) -> [u32; N] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|n| words.get(n).map_or(0, |word| read(*word)))
}

/// SQLite's checksum of a log, gone on with.
fn checksum((mut one, mut two): (u32, u32), bytes: &[u8], read: fn([u8; 4]) -> u32) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    for pair in pairs {
        let [first, second] = words(pair, read);
        one = one.wrapping_add(first).wrapping_add(two);
        two = two.wrapping_add(second).wrapping_add(one);
    }
    (one, two)
}
