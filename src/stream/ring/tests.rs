use super::*;
use proptest::prelude::*;

const PLENTY: usize = 1 << 20;

fn ring(pieces: &[&str]) -> Ring {
    let mut ring = Ring::default();
    for piece in pieces {
        ring.write(Bytes::copy_from_slice(piece.as_bytes()), PLENTY);
    }
    ring.finish();
    ring
}

/// All that is kept, as a reader gets it who begins behind `id`.
fn rest(ring: &Ring, mut id: u64) -> Vec<String> {
    let mut all = Vec::new();
    while let Behind::Event(event) = ring.behind(id) {
        all.push(String::from_utf8(event.to_vec()).unwrap());
        id += 1;
    }
    all
}

#[test]
fn events_are_numbered_from_one_whatever_their_line_ends() {
    let ring = ring(&["data: a\n\nevent: x\r\ndata: b\r\n", "\r\n", "data: c\r\rdata: [DO", "NE]\n\n"]);
    assert_eq!(
        rest(&ring, 0),
        ["id: 1\ndata: a\n\n", "id: 2\nevent: x\r\ndata: b\r\n\r\n", "id: 3\ndata: c\r\r", "id: 4\ndata: [DONE]\n\n"]
    );
    assert_eq!((ring.last(), rest(&ring, 2).len(), ring.behind(4)), (4, 2, Behind::Nothing));
}

#[test]
fn without_an_id_they_are_numbered_all_the_same() {
    let mut ring = Ring::unnumbered();
    ring.write(Bytes::from_static(b"data: a\n\ndata: b\r\n\r\n"), PLENTY);
    assert_eq!(
        (rest(&ring, 0), rest(&ring, 1)),
        (vec!["data: a\n\n".into(), "data: b\r\n\r\n".into()], vec!["data: b\r\n\r\n".to_owned()])
    );
    assert_eq!((ring.last(), ring.behind(2)), (2, Behind::Nothing));
}

#[test]
fn an_id_that_an_event_came_with_gives_way() {
    let came = ring(&["id: 77\r\ndata: a\r\nid\r\nidle: 1\r\n\r\n", "id: 5\n\n", "data: b\nid:x\n\n"]);
    assert_eq!(rest(&came, 0), ["id: 1\ndata: a\r\nidle: 1\r\n\r\n", "id: 2\ndata: b\n\n"]);
    assert_eq!(rest(&ring(&["\u{feff}data: a\n\n"]), 0), ["id: 1\ndata: a\n\n"], "a BOM would hide the first name");
}

#[test]
fn a_comment_goes_with_the_event_behind_it_and_takes_no_number() {
    let ring = ring(&["data: a\n\n: seam\n\n: more\n\n", "retry: 5\n\ndata: b\n\n: last\n\n"]);
    assert_eq!(rest(&ring, 0), ["id: 1\ndata: a\n\n", ": seam\n: more\nid: 2\ndata: b\n\n"]);
}

#[test]
fn an_hour_of_comments_takes_no_more_than_a_few_kilobytes() {
    let mut ring = Ring::default();
    for _ in 0..10_000 {
        ring.write(Bytes::from_static(b": still thinking\n\n"), PLENTY);
    }
    ring.write(Bytes::from_static(b"data: a\n\n"), PLENTY);
    assert!(ring.size() <= MOST_COMMENTS + 100, "{}", ring.size());
    assert!(rest(&ring, 0)[0].ends_with("id: 1\ndata: a\n\n"));
}

#[test]
fn half_an_event_is_never_given() {
    let ring = ring(&["data: a\n\ndata: b\n"]);
    assert_eq!(rest(&ring, 0), ["id: 1\ndata: a\n\n"]);
}

#[test]
fn what_does_not_fit_is_gone_and_the_newest_is_there() {
    let mut ring = Ring::default();
    let large = format!("data: {}\n\n", "x".repeat(500));
    for count in 1..=3 {
        ring.write(large.clone().into(), 100);
        assert_eq!((ring.last(), rest(&ring, count - 1).len()), (count, 1));
    }
    assert_eq!((ring.behind(0), ring.behind(1)), (Behind::Gone, Behind::Gone));
    assert_eq!((ring.behind(3), ring.behind(9), ring.behind(u64::MAX)), (Behind::Nothing, Behind::Nothing, Behind::Nothing));
    ring.clear();
    assert_eq!((ring.size(), ring.last(), ring.behind(2), ring.behind(3)), (0, 3, Behind::Gone, Behind::Nothing));
}

/// What is done to a ring in a property's run.
#[derive(Clone, Debug)]
enum Step {
    /// An event of so many characters comes, in pieces of so many bytes, with room for so much.
    Write {
        text: usize,
        chunk: usize,
        most: usize,
    },
    /// A reader takes what there is, up to so many events.
    Read {
        reader: usize,
        events: usize,
    },
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..80, 1usize..100, prop_oneof![Just(0usize), 50usize..2_000, Just(PLENTY)])
            .prop_map(|(text, chunk, most)| Step::Write { text, chunk, most }),
        4 => (0usize..3, 0usize..12).prop_map(|(reader, events)| Step::Read { reader, events }),
        1 => Just(Step::Clear),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// Readers at whatever pace get every event, in order, once, with the same bytes, or are told that the next is gone; and
    /// what is kept stays within its bound.
    #[test]
    fn every_reader_gets_the_same_in_order_or_is_told(steps in steps()) {
        let mut ring = Ring::default();
        let mut all: Vec<String> = Vec::new();
        let mut kept_from = 0;
        let mut readers = [0usize; 3];
        for step in steps {
            match step {
                Step::Write { text, chunk, most } => {
                    let event = format!("data: {}\n\n", "y".repeat(text));
                    for piece in event.as_bytes().chunks(chunk) {
                        ring.write(Bytes::copy_from_slice(piece), most);
                    }
                    all.push(format!("id: {}\n{event}", all.len() + 1));
                    let fits = |from: usize| all[from..].iter().map(|event| event.len() + ENTRY).sum::<usize>() <= most;
                    kept_from = (kept_from..all.len()).find(|from| fits(*from)).unwrap_or(all.len() - 1);
                    prop_assert!(ring.size() <= most || kept_from == all.len() - 1);
                }
                Step::Read { reader, events } => for _ in 0..events {
                    let at = readers[reader];
                    match ring.behind(at as u64) {
                        Behind::Event(event) => {
                            prop_assert_eq!(std::str::from_utf8(&event).unwrap(), &all[at]);
                            readers[reader] += 1;
                        }
                        Behind::Nothing => prop_assert_eq!(at, all.len()),
                        Behind::Gone => prop_assert!(at < kept_from),
                    }
                },
                Step::Clear => {
                    ring.clear();
                    kept_from = all.len();
                }
            }
            prop_assert_eq!(ring.last(), all.len() as u64);
            let size: usize = all[kept_from..].iter().map(|event| event.len() + ENTRY).sum();
            prop_assert_eq!(ring.size(), size, "all that fits is kept");
        }
    }

    /// However the bytes come, the events are the same, and without their ids they are what came.
    #[test]
    fn any_chunking_gives_the_same_events(
        events in proptest::collection::vec(("[a-zé]{0,9}", 0usize..3, prop_oneof![Just(None), "[a-z0-9]{0,3}".prop_map(Some)]), 0..12),
        chunk in 1usize..64,
    ) {
        let ends = ["\n", "\r\n", "\r"];
        let write = |(text, end, id): &(String, usize, Option<String>), with: bool| {
            let end = ends[*end];
            let id = id.iter().filter(|_| with).map(|id| format!("id: {id}{end}")).collect::<String>();
            format!("{id}data: {text}{end}{end}")
        };
        let input: String = events.iter().map(|event| write(event, true)).collect();
        let mut ring = Ring::default();
        for piece in input.as_bytes().chunks(chunk) {
            ring.write(Bytes::copy_from_slice(piece), PLENTY);
        }
        ring.finish();
        let expected: Vec<_> = events.iter().enumerate().map(|(n, event)| format!("id: {}\n{}", n + 1, write(event, false))).collect();
        prop_assert_eq!(rest(&ring, 0), expected);
    }
}
