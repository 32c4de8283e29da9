//! What one hostname has, in one run of bytes: name, then rules with their paths, the first to win first.
//!
//! A table of a hundred thousand hosts does not fit into the caches, so what costs is how many places one request
//! reads from. This is one. Numbers are little-endian; `rank` below is what a hostname's rules are called.
//!
//! ```text
//! host := length of name: u8, name, one-label rank: u32, any-depth rank: u32, has exact rank: u8, [rank]
//! rank := closed: u8, entries: u8, (index: u32 | entry ...)
//! entry := kind: u8, length of path: u16, predicates: u32, value: u32, path
//! ```

/// No rank, no predicates: what there are fewer of than this.
pub(super) const NONE: u32 = u32::MAX;
/// In the place of the number of entries: they are in an index.
const INDEXED: u8 = u8::MAX;

/// One match of one rule, by where things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'t> {
    pub(super) kind: PathKind,
    /// Empty for expressions.
    pub(super) path: &'t [u8],
    /// Into `Hosts::predicates`; `NONE` where the path alone decides.
    pub(super) predicates: u32,
    /// Into `RouteTable::values`.
    pub(super) value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathKind {
    Exact,
    /// The expression is in the predicates.
    Regex,
    Prefix,
}

/// All rules of one hostname.
#[derive(Clone, Debug)]
pub(super) struct Rank<'t> {
    /// An Ingress host: where nothing here matches, no less specific hostname is asked.
    pub(super) closed: bool,
    pub(super) rules: Rules<'t>,
}

#[derive(Clone, Debug)]
pub(super) enum Rules<'t> {
    Few(Entries<'t>),
    /// Into `Hosts::indexes`: there are too many to look at one by one.
    Index(u32),
}

#[derive(Clone, Debug)]
pub(super) struct Entries<'t> {
    left: u8,
    bytes: &'t [u8],
}

/// A hostname's record.
#[derive(Clone, Debug)]
pub(super) struct Host<'t> {
    pub(super) name: &'t [u8],
    /// For names below it, where their ranks begin: one label deep (Ingress), any depth (Gateway API).
    pub(super) one_label: u32,
    pub(super) any_depth: u32,
    /// For the name itself.
    rest: &'t [u8],
}

/// None only where no record begins.
pub(super) fn host(records: &[u8], start: u32) -> Option<Host<'_>> {
    let (length, rest) = records.get(start as usize..)?.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (one_label, rest) = number(rest)?;
    let (any_depth, rest) = number(rest)?;
    Some(Host { name, one_label, any_depth, rest })
}

impl<'t> Host<'t> {
    pub(super) fn exact(&self) -> Option<Rank<'t>> {
        let (has_exact, rest) = self.rest.split_first()?;
        if *has_exact == 0 { None } else { rank(rest, 0) }
    }
}

pub(super) fn rank(records: &[u8], start: u32) -> Option<Rank<'_>> {
    let (closed, rest) = records.get(start as usize..)?.split_first()?;
    let (count, bytes) = rest.split_first()?;
    let rules =
        if *count == INDEXED { Rules::Index(number(bytes)?.0) } else { Rules::Few(Entries { left: *count, bytes }) };
    Some(Rank { closed: *closed != 0, rules })
}

impl<'t> Iterator for Entries<'t> {
    type Item = Entry<'t>;

    fn next(&mut self) -> Option<Entry<'t>> {
        self.left = self.left.checked_sub(1)?;
        let (&[kind, low, high, ref numbers @ ..], rest) = self.bytes.split_first_chunk::<11>()?;
        let (predicates, value) = numbers.split_first_chunk::<4>()?;
        let (path, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        self.bytes = rest;
        let kind = match kind {
            0 => PathKind::Exact,
            1 => PathKind::Regex,
            _ => PathKind::Prefix,
        };
        let value = u32::from_le_bytes(*value.first_chunk()?);
        Some(Entry { kind, path, predicates: u32::from_le_bytes(*predicates), value })
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// `name` has at most 253 bytes. `exact` is a rank that was written apart.
pub(super) fn write_host(records: &mut Vec<u8>, name: &str, one_label: u32, any_depth: u32, exact: Option<&[u8]>) {
    records.push(u8::try_from(name.len()).unwrap_or_default());
    records.extend_from_slice(name.as_bytes());
    records.extend_from_slice(&one_label.to_le_bytes());
    records.extend_from_slice(&any_depth.to_le_bytes());
    records.push(u8::from(exact.is_some()));
    records.extend_from_slice(exact.unwrap_or_default());
}

/// At most 254 entries, each with a path that fits into a request.
pub(super) fn write_rank(records: &mut Vec<u8>, closed: bool, entries: &[Entry<'_>]) {
    records.extend_from_slice(&[u8::from(closed), u8::try_from(entries.len()).unwrap_or_default()]);
    for Entry { kind, path, predicates, value } in entries {
        records.push(match kind {
            PathKind::Exact => 0,
            PathKind::Regex => 1,
            PathKind::Prefix => 2,
        });
        records.extend_from_slice(&u16::try_from(path.len()).unwrap_or_default().to_le_bytes());
        records.extend_from_slice(&predicates.to_le_bytes());
        records.extend_from_slice(&value.to_le_bytes());
        records.extend_from_slice(path);
    }
}

pub(super) fn write_indexed_rank(records: &mut Vec<u8>, closed: bool, index: u32) {
    records.extend_from_slice(&[u8::from(closed), INDEXED]);
    records.extend_from_slice(&index.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let entries = [
            Entry { kind: PathKind::Exact, path: b"/login", predicates: NONE, value: 1 },
            Entry { kind: PathKind::Regex, path: b"", predicates: 7, value: 0x0102_0304 },
            Entry { kind: PathKind::Prefix, path: &[b'/'; 8000], predicates: NONE, value: 3 },
        ];
        let mut exact = Vec::new();
        write_rank(&mut exact, true, &entries);
        let mut records = vec![1, 2, 3];
        write_host(&mut records, "a.example", 17, NONE, Some(&exact));
        let second = u32::try_from(records.len()).expect("small");
        write_host(&mut records, "b.example", NONE, 18, None);
        let third = u32::try_from(records.len()).expect("small");
        write_indexed_rank(&mut records, false, 9);

        let found = host(&records, 3).expect("a host");
        assert_eq!((found.name, found.one_label, found.any_depth), (&b"a.example"[..], 17, NONE));
        let rank_found = found.exact().expect("a rank");
        let Rules::Few(read) = rank_found.rules else { panic!("indexed") };
        let shown = |entry: &Entry<'_>| (entry.kind, entry.path.to_vec(), entry.predicates, entry.value);
        assert_eq!(read.map(|entry| shown(&entry)).collect::<Vec<_>>(), entries.iter().map(shown).collect::<Vec<_>>());
        assert!(rank_found.closed && host(&records, second).expect("a host").exact().is_none());
        assert!(matches!(rank(&records, third).expect("a rank").rules, Rules::Index(9)));
        assert!(host(&records, 1 << 20).is_none() && rank(&records, NONE).is_none());
    }
}
