//! Seams: every cut of a text, every chunking, every way, and the repetitions that are none.

use proptest::prelude::*;

use super::*;

/// What the caller has in the end; None where the target was found to say something else.
fn joined(said: &str, way: Way, pieces: &[&str]) -> Option<String> {
    let mut seam = Seam::new(said, way);
    let mut all = said.to_owned();
    let mut add = |heard: Heard, piece: &str| {
        match heard {
            Heard::Nothing => {}
            Heard::All => all.push_str(piece),
            Heard::Text(text) => all.push_str(&text),
            Heard::Differs => return None,
        }
        Some(())
    };
    for piece in pieces {
        let heard = seam.hear(piece);
        add(heard, piece)?;
    }
    let heard = seam.end();
    add(heard, "")?;
    Some(all)
}

fn onward(said: &str, more: &str) -> String {
    joined(said, Way::Prefill, &[more]).unwrap()
}

fn afresh(said: &str, again: &str) -> Option<String> {
    joined(said, Way::Splice, &[again])
}

#[test]
fn white_space_at_the_seam_comes_once() {
    assert_eq!(onward("one ", " two"), "one two");
    assert_eq!(onward("one ", "two"), "one two");
    assert_eq!(onward("one", " two"), "one two");
    assert_eq!(onward("a\n\n", "\n- b"), "a\n\n- b");
    assert_eq!(onward("a\n", "\n\nb"), "a\n\nb");
    assert_eq!(joined("one \n", Way::Vllm, &[" ", "\n", "two"]).unwrap(), "one \ntwo");
}

#[test]
fn words_said_again_come_once() {
    let said = "The curtain rises at eight and the stage door ";
    for again in
        ["the stage door stays open", "stage door stays open", "The curtain rises at eight and the stage door stays open", "stays open"]
    {
        assert_eq!(onward(said, again), format!("{said}stays open"), "{again}");
    }
    assert_eq!(onward("the quick brown", " quick brown fox"), "the quick brown fox");
    assert_eq!(joined(said, Way::Quote, &["door stays open"]).unwrap(), format!("{said}stays open"));
    assert_eq!(onward(said, "stage door "), said, "all that came was said before");
    assert_eq!(onward("那只敏捷的棕色狐狸跳过了懒狗", "那只敏捷的棕色狐狸跳过了懒狗。"), "那只敏捷的棕色狐狸跳过了懒狗。");
}

#[test]
fn what_may_be_meant_twice_stays() {
    for (said, more) in [
        ("that ", "that is"),
        ("No, no", ", no"),
        ("[0, 0, ", "0, 0, 0]"),
        ("[false, false, ", "false, false]"),
        ("ban", "ana"),
        ("x ban", "banana"),
        ("    }\n", "    }\n}"),
        ("a b a b ", "a b c"),
        ("ha ha ", "ha ha ha"),
        ("the end", "less summer"),
    ] {
        assert_eq!(onward(said, more.trim_start_matches('\n')), format!("{said}{more}"));
    }
}

#[test]
fn an_answer_from_the_beginning_is_swallowed_as_far_as_it_is_the_same() {
    assert_eq!(afresh("one two ", "one two three"), Some("one two three".into()));
    assert_eq!(afresh("one tw", "one two three"), Some("one two three".into()));
    assert_eq!(afresh("one  two\n", " one two\n\nthree"), Some("one  two\n\nthree".into()));
    assert_eq!(afresh("one\n\ntwo ", "one two three"), Some("one\n\ntwo three".into()));
    assert_eq!(afresh("one two", "one two"), Some("one two".into()), "nothing was missing but its end");
    assert_eq!(afresh("one two ", "one two"), Some("one two ".into()));
    for other in ["one too", "onetwo three", "one", "", "One two three"] {
        assert_eq!(afresh("one two ", other), None, "{other}");
    }
    let mut seam = Seam::new("one two", Way::Splice);
    assert_eq!((seam.hear("one t"), seam.hear("oo")), (Heard::Nothing, Heard::Differs));
}

#[test]
fn behind_nothing_everything_is_new() {
    for way in Way::ALL {
        let mut seam = Seam::new("", way);
        assert!(seam.is_passed());
        assert_eq!((seam.hear("a"), seam.hear(""), seam.end()), (Heard::All, Heard::Nothing, Heard::Nothing));
    }
}

#[test]
fn a_long_text_is_searched_at_its_end_and_its_beginning_only() {
    let said = "x y ".repeat(30_000) + "the very last words of it ";
    assert_eq!(onward(&said, "the very last words of it end here"), format!("{said}end here"));
    assert_eq!(onward(&said, &format!("{said}end here")), format!("{said}end here"));
}

/// A text of distinct words, and where it may be cut.
fn text() -> impl Strategy<Value = String> {
    let gap = prop::sample::select(vec![" ", " ", "\n", "\n\n", ", ", " – "]);
    prop::collection::vec(("[a-zäöü]{1,6}", gap), 1..30).prop_map(|words| {
        let words = words.into_iter().enumerate();
        words.map(|(number, (word, gap))| format!("{word}{number}{gap}")).collect()
    })
}

/// The same text in pieces.
fn chunked<'a>(text: &'a str, sizes: &[usize]) -> Vec<&'a str> {
    let (mut pieces, mut rest, mut sizes) = (Vec::new(), text, sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().copied().unwrap_or(1).max(1);
        let end = rest.char_indices().nth(size).map_or(rest.len(), |(end, _)| end);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

proptest! {
    #[test]
    fn at_every_cut_by_every_way_the_text_is_exact(text in text(), sizes in prop::collection::vec(1usize..9, 1..6)) {
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let (said, rest) = text.split_at(cut);
            let shown = said.trim_end();
            for way in [Way::Prefill, Way::Prefix, Way::Vllm, Way::Quote] {
                // With the white space that was cut off, and without it.
                let from_shown = chunked(&text[shown.len()..], &sizes);
                prop_assert_eq!(joined(said, way, &from_shown), Some(text.clone()), "{} at {}", way.name(), cut);
                let got = joined(said, way, &chunked(rest.trim_start(), &sizes)).unwrap();
                prop_assert_eq!(got, format!("{said}{}", rest.trim_start()), "{} at {}", way.name(), cut);
            }
            prop_assert_eq!(joined(said, Way::Splice, &chunked(&text, &sizes)), Some(text.clone()), "splice at {}", cut);
        }
    }

    #[test]
    fn words_said_again_come_once_in_every_chunking(text in text(), back in 2usize..6, sizes in prop::collection::vec(1usize..9, 1..6)) {
        let words: Vec<usize> = text.match_indices(char::is_whitespace).map(|(place, found)| place + found.len()).collect();
        for pair in words.windows(back) {
            let (from, cut) = (pair[0], pair[back - 1]);
            let again = text[from..cut].trim();
            if again.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count() < 2 || again.chars().count() < 5 {
                continue;
            }
            let got = joined(&text[..cut], Way::Prefill, &chunked(&text[from..], &sizes));
            prop_assert_eq!(got, Some(text.clone()), "{:?} again", again);
        }
    }

    #[test]
    fn nothing_is_ever_lost_or_made_up(said in "[ab \n]{0,12}", more in "[ab \n]{0,12}", sizes in prop::collection::vec(1usize..4, 1..4)) {
        for way in Way::ALL {
            let whole = joined(&said, way, &[&more]);
            prop_assert_eq!(&whole, &joined(&said, way, &chunked(&more, &sizes)), "the chunking matters not: {}", way.name());
            if let Some(whole) = whole {
                let new = whole.strip_prefix(&said).unwrap();
                prop_assert!(more.ends_with(new), "{:?} of {:?}", new, more);
            }
        }
    }
}
