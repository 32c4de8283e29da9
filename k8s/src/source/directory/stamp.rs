//! Whether a file is the one that was read, without reading it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// What nobody can write to a file without a change of, nor put another one in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same, and nobody can set it (inode(7): ctime).
    changed: (i64, i64),
}

/// Clocks of file systems go in steps, the longest of two seconds: of two writes in one step the second shows nowhere.
const STEP: Duration = Duration::from_secs(5);

impl Stamp {
    /// To be taken before the file is read. None for one that was written to so lately that it may be written to once
    /// more without a trace, and for one that nothing is known of.
    pub(super) fn of(path: &Path, now: SystemTime) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let settled = now.checked_sub(STEP)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let is_settled = |(seconds, _)| u64::try_from(seconds).is_ok_and(|seconds| seconds < settled.as_secs());
        let stamp = Self { device: metadata.dev(), inode: metadata.ino(), length: metadata.len(), modified, changed };
        (is_settled(modified) && is_settled(changed)).then_some(stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_to_or_replaced_has_another_stamp_and_none_so_soon() {
        let directory = tempfile::tempdir().expect("a directory");
        let [path, other] = ["a.yaml", "b.yaml"].map(|name| directory.path().join(name));
        let put = |path: &Path, text: &str| fs::write(path, text).expect("written");
        put(&path, "one");
        let later = SystemTime::now() + 2 * STEP;
        assert_eq!(Stamp::of(&path, SystemTime::now()), None);
        let first = Stamp::of(&path, later).expect("a stamp");
        assert_eq!(Stamp::of(&path, later), Some(first));

        // As many bytes, in another file with the same time of its last write.
        put(&other, "two");
        let time = fs::metadata(&path).and_then(|it| it.modified()).expect("a time");
        fs::File::options().write(true).open(&other).and_then(|it| it.set_modified(time)).expect("set");
        fs::rename(&other, &path).expect("moved");
        let replaced = Stamp::of(&path, later).expect("a stamp");
        assert_ne!(replaced, first);
        put(&path, "four");
        assert_ne!(Stamp::of(&path, later), Some(replaced));
        fs::remove_file(&path).expect("removed");
        assert_eq!(Stamp::of(&path, later), None);
    }
}
