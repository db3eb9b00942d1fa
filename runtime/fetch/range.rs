//! One range of the bytes of a response that is stored whole:
//! <https://httpwg.org/specs/rfc9110.html#range.requests>
//!
//! Invariant: pure. What this does not understand is the server's to answer.

use std::ops::Range;

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// From a place on, up to another one or to the end.
    From(usize, Option<usize>),
    /// So many at the end; never none.
    Last(usize),
}

impl ByteRange {
    /// Several ranges at once, other units, and what contradicts itself are `None`.
    pub(super) fn parse(header: &str) -> Option<ByteRange> {
        let (unit, range) = header.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<usize>().ok()).flatten()
        };
        match (first, last) {
            ("", last) => number(last).filter(|count| *count > 0).map(ByteRange::Last),
            (first, "") => Some(ByteRange::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(ByteRange::From(first, Some(last)))
            }
        }
    }

    /// Which of `length` bytes these are, if there are any.
    pub(super) fn of(self, length: usize) -> Option<Range<usize>> {
        let range = match self {
            ByteRange::From(first, None) => first..length,
            ByteRange::From(first, Some(last)) => first..last.saturating_add(1).min(length),
            ByteRange::Last(count) => length.saturating_sub(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(header: &str) -> Option<Range<usize>> {
        ByteRange::parse(header)?.of(10)
    }

    #[test]
    fn a_range_says_which_bytes_it_means() {
        assert_eq!(bytes("bytes=0-1"), Some(0..2));
        assert_eq!(bytes("bytes=3-3"), Some(3..4));
        assert_eq!(bytes("bytes=5-100"), Some(5..10));
        assert_eq!(bytes("bytes=1-"), Some(1..10));
        assert_eq!(bytes("Bytes = -4"), Some(6..10));
        assert_eq!(bytes("bytes=-100"), Some(0..10));
        assert_eq!(bytes("bytes=5-18446744073709551615"), Some(5..10));
    }

    #[test]
    fn a_range_without_bytes_is_none() {
        assert_eq!(bytes("bytes=10-"), None);
        assert_eq!(bytes("bytes=20-30"), None);
        assert_eq!(ByteRange::parse("bytes=0-").and_then(|range| range.of(0)), None);
    }

    #[test]
    fn what_is_no_single_range_of_bytes_is_not_understood() {
        for header in
            ["bytes=0-1,3-4", "bytes=4-2", "bytes=-0", "bytes=-", "items=0-1", "bytes 0-1", "", "="]
        {
            assert_eq!(ByteRange::parse(header), None, "{header}");
        }
    }
}
