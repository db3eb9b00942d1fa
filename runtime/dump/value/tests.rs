//! Stored values from bytes that nobody vouches for.
//!
//! Invariant: every case is made of a seed, so that what failed once fails again.

use super::*;

/// What values are made of: tags, ends, and numbers that are short and long.
const BYTES: &[u8] =
    b"\xff\x0f\x10_0TFIUNZ\"cS^oAaDyxnzsR;'B~r\\{$@:,-?VEmc.\x00\x01\x02\x03\x7f\x80\xff";

fn no_part(_name: &str) -> Option<Vec<u8>> {
    None
}

/// Values that begin well, and go on as it comes.
fn random(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = vec![0xff, 0x0f];
    for _ in 0..random.usize(..64) {
        bytes.push(match random.u8(..4) {
            0 => random.u8(..),
            _ => BYTES[random.usize(..BYTES.len())],
        });
    }
    bytes
}

#[test]
fn whatever_the_bytes_are_reading_them_ends_and_what_is_read_has_a_text() {
    let mut rng = fastrand::Rng::with_seed(6);
    let mut readable = 0;
    for _ in 0..200_000 {
        let bytes = random(&mut rng);
        if let Ok(value) = read(&bytes, &no_part) {
            readable += 1;
            // Of one byte, at most a few words: a value takes memory in proportion to its bytes.
            assert!(value.to_string().len() <= 200 * bytes.len(), "{bytes:?} is {value}");
        }
    }
    assert!(readable > 1000, "too few were values: {readable}");
}

#[test]
fn a_value_with_bytes_changed_or_cut_off_is_another_value_or_unreadable() {
    let value = b"\xff\x0fo\"\x02idI\x0c\"\x04listA\x02\"\x01aN\0\0\0\0\0\0\xf8\x3f$\0\x02\"\x01d\
                  D\0\0\0\0\0\0\0\0\"\x01mB\x02\x01\x02VB\0\x02\0{\x04";
    let read_one = |bytes: &[u8]| read(bytes, &no_part);
    let expected = json!({
        "id": 6,
        "list": ["a", 1.5],
        "d": { "$date": 0 },
        "m": { "$view": "Uint8Array", "offset": 0, "bytes": 2, "of": { "$bytes": "0102" } },
    });
    assert_eq!(read_one(value), Ok(expected));
    for end in 2..value.len() {
        assert!(read_one(&value[..end]).is_err(), "{end} bytes are no whole value");
    }
    for at in 0..value.len() {
        for byte in 0..=0xff {
            let mut damaged = value.to_vec();
            damaged[at] = byte;
            // Ends, with whatever it finds.
            let _ = read_one(&damaged);
        }
    }
}

#[test]
fn depth_takes_no_stack() {
    let deep = [&b"\xff\x0f"[..], &b"A\x01".repeat(100_000)].concat();
    assert_eq!(read(&deep, &no_part), Err(Unreadable::TooDeep));
    // How many objects there are, again and again.
    let counted = [&b"\xff\x0f"[..], &b"?\x01".repeat(1_000_000), b"T"].concat();
    assert_eq!(read(&counted, &no_part), Ok(Value::Bool(true)));
}
