//! Whether a file is the one that was read, without reading it.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

/// What nobody can write to a file without a change of, nor put another one in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    /// The same, and nobody can set it (inode(7): ctime).
    changed: (i64, i64),
}

/// A file as it was when it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    stamp: Stamp,
    /// When it was first read with this stamp.
    since: Instant,
    /// Nobody can have written to it since and left the stamp as it was.
    is_settled: bool,
}

/// Clocks of file systems go in steps, the longest of two seconds: of two writes in one step the second shows nowhere.
/// They may be clocks of another machine, too, so that only how long a stamp stays says that its step is over.
const STEP: Duration = Duration::from_secs(5);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Seen {
    /// What is known of the file that is about to be read: of the one that is open, as there may be another one at its
    /// path by then.
    pub(super) fn now(open: &Metadata, before: Option<&Self>, now: Instant) -> Self {
        let stamp = Stamp::of(open);
        let since = before.filter(|before| before.stamp == stamp).map_or(now, |before| before.since);
        Self { stamp, since, is_settled: now.duration_since(since) >= STEP }
    }

    /// Whether what was read is what it says still.
    pub(super) fn is_still(&self, metadata: &Metadata) -> bool {
        self.is_settled && self.stamp == Stamp::of(metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn a_file_that_is_written_to_or_replaced_is_another_one_and_none_is_the_same_so_soon() {
        let directory = tempfile::tempdir().expect("a directory");
        let [path, other] = ["a.yaml", "b.yaml"].map(|name| directory.path().join(name));
        let put = |path: &Path, text: &str| fs::write(path, text).expect("written");
        let is = |path: &Path| fs::metadata(path).expect("it is there");
        put(&path, "one");
        let began = Instant::now();
        let first = Seen::now(&is(&path), None, began);
        assert!(!first.is_still(&is(&path)), "it may have been written to twice");
        let soon = Seen::now(&is(&path), Some(&first), began + STEP / 2);
        assert!(!soon.is_still(&is(&path)));
        let settled = Seen::now(&is(&path), Some(&soon), began + STEP);
        assert!(settled.is_still(&is(&path)));

        // As many bytes, in another file with the same time of its last write.
        put(&other, "two");
        let time = is(&path).modified().expect("a time");
        fs::File::options().write(true).open(&other).and_then(|it| it.set_modified(time)).expect("set");
        fs::rename(&other, &path).expect("moved");
        assert!(!settled.is_still(&is(&path)));
        let replaced = Seen::now(&is(&path), Some(&settled), began + 2 * STEP);
        assert!(!replaced.is_still(&is(&path)), "another one is as new as the first");
        let settled = Seen::now(&is(&path), Some(&replaced), began + 3 * STEP);
        put(&path, "four");
        assert!(!settled.is_still(&is(&path)));
    }
}
