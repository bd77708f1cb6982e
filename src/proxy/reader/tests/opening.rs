//! Before anything went out: a piece is read up to the first content, and what stands behind it once that is on its way.

use super::*;

fn error() -> &'static str {
    "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n"
}

#[test]
fn what_stands_behind_the_first_content_waits() {
    let whole = stream();
    let behind = whole.find(&word(" zwölf")).unwrap();
    let mut reader = Reader::new(plain());
    assert_eq!(reader.open(Bytes::from(whole.clone()), &BTreeMap::new()), Progress::More);
    assert!(reader.committed() && reader.has_rest());
    assert_eq!(reader.take().unwrap(), whole.as_bytes()[..behind]);
    assert_eq!(reader.rest(&BTreeMap::new()), Progress::Finished);
    assert!(!reader.has_rest());
    assert_eq!(reader.take().unwrap(), whole.as_bytes()[behind..]);
}

#[test]
fn nothing_waits_behind_a_piece_that_ends_with_its_first_content() {
    let mut reader = Reader::new(plain());
    assert_eq!(reader.open(Bytes::from(word("one")), &BTreeMap::new()), Progress::More);
    assert!(reader.committed() && !reader.has_rest());
}

#[test]
fn an_error_in_one_piece_with_the_first_content_is_known_before_that_goes_out() {
    let mut reader = Reader::new(plain());
    let progress = reader.open(Bytes::from(word("one") + error()), &BTreeMap::new());
    assert!(matches!(progress, Progress::Failed(_)), "{progress:?}");
}

#[test]
fn opened_in_every_chunking_it_reads_as_ever() {
    let whole = Bytes::from(stream());
    for size in 1..=whole.len() {
        let mut reader = Reader::new(plain());
        let (mut sent, mut progress) = (Vec::new(), Progress::More);
        for at in (0..whole.len()).step_by(size) {
            let piece = whole.slice(at..(at + size).min(whole.len()));
            progress = if reader.committed() { reader.feed(piece, &BTreeMap::new()) } else { reader.open(piece, &BTreeMap::new()) };
            if !reader.committed() {
                continue;
            }
            sent.extend(reader.take().unwrap_or_default());
            if reader.has_rest() {
                progress = reader.rest(&BTreeMap::new());
                sent.extend(reader.take().unwrap_or_default());
            }
        }
        assert_eq!((sent, progress), (whole.to_vec(), Progress::Finished), "in pieces of {size}");
    }
}
