//! The endpoints beside chat, a row each: what is sent there, what comes back, and what that means for retries, limits and
//! caches. Bodies pass as they came, but for the model's name, to targets that speak as OpenAI does; no other dialect has them.

use super::scan::{Answer, one_line};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Texts as vectors.
    Embeddings,
    /// Texts gone on with: OpenAI's older way to ask.
    Completions,
    /// Whether texts and pictures are harmful.
    Moderations,
    /// Texts in the order of their fit (Cohere's and Jina's).
    Rerank,
    /// Pictures from words.
    Images,
    /// Words spoken.
    Speech,
    /// Sound written down.
    Transcriptions,
}

/// What comes back with a 200.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// JSON, in which this is to be seen.
    Json(fn(&Answer) -> bool),
    /// JSON or plain text, as was asked.
    Words,
    /// Bytes of any kind, handed on as they come.
    Bytes,
}

/// By what a request's tokens are estimated before anybody has counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// By its text alone: nothing is said in return.
    Text,
    /// By its text, and the answer that it asks for.
    Answer,
    /// By its pictures.
    Pictures,
    /// By its text, and that text spoken.
    Spoken,
    /// By the size of its file.
    File,
}

/// What there is to know of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its path below the API's base.
    pub path: &'static str,
    /// What is asked there, to follow "a request for".
    pub asks: &'static str,
    /// Whether it takes a form (`multipart/form-data`) in place of JSON.
    pub form: bool,
    /// What comes back.
    pub reply: Reply,
    /// Whether `stream` asks for events as a chat's.
    pub streams: bool,
    /// Whether doing it twice costs more than it is worth: a call that may have been billed is never followed by another.
    pub billed_once: bool,
    /// Whether the same request may get a stored answer.
    pub kept: bool,
    /// By what its tokens are estimated.
    pub weight: Weight,
}

const EMBEDDINGS: Row = Row {
    path: "/embeddings",
    asks: "embeddings",
    form: false,
    reply: Reply::Json(|seen| seen.data),
    streams: false,
    billed_once: false,
    kept: true,
    weight: Weight::Text,
};

const COMPLETIONS: Row = Row {
    path: "/completions",
    asks: "a completion of text",
    reply: Reply::Json(|seen| seen.choices),
    streams: true,
    weight: Weight::Answer,
    ..EMBEDDINGS
};

const MODERATIONS: Row = Row { path: "/moderations", asks: "a moderation", reply: Reply::Json(|seen| seen.results), ..EMBEDDINGS };

/// Cohere answers by `results`, Voyage by `data`.
const RERANK: Row = Row { path: "/rerank", asks: "a reranking", reply: Reply::Json(|seen| seen.results || seen.data), ..EMBEDDINGS };

const IMAGES: Row =
    Row { path: "/images/generations", asks: "pictures", billed_once: true, kept: false, weight: Weight::Pictures, ..EMBEDDINGS };

const SPEECH: Row = Row { path: "/audio/speech", asks: "speech", reply: Reply::Bytes, weight: Weight::Spoken, ..IMAGES };

const TRANSCRIPTIONS: Row =
    Row { path: "/audio/transcriptions", asks: "a transcription", form: true, reply: Reply::Words, weight: Weight::File, ..IMAGES };

impl Endpoint {
    /// All of them.
    pub const ALL: [Endpoint; 7] = [
        Endpoint::Embeddings,
        Endpoint::Completions,
        Endpoint::Moderations,
        Endpoint::Rerank,
        Endpoint::Images,
        Endpoint::Speech,
        Endpoint::Transcriptions,
    ];

    /// What there is to know of it.
    pub fn row(self) -> &'static Row {
        match self {
            Endpoint::Embeddings => &EMBEDDINGS,
            Endpoint::Completions => &COMPLETIONS,
            Endpoint::Moderations => &MODERATIONS,
            Endpoint::Rerank => &RERANK,
            Endpoint::Images => &IMAGES,
            Endpoint::Speech => &SPEECH,
            Endpoint::Transcriptions => &TRANSCRIPTIONS,
        }
    }
}

/// About so many tokens a picture of the best quality has: <https://platform.openai.com/docs/guides/image-generation>.
const PICTURE: u64 = 6_240;
/// Of a sound file about so many bytes stand for a token: the densest codecs have 4 KB a second, and a second ten tokens.
const SOUND: usize = 256;

impl Weight {
    /// About how many tokens a request's answer may have, where that doesn't go by what it asks for; None where it does.
    pub fn answer(self, text: usize, pictures: u32) -> Option<u64> {
        match self {
            Weight::Answer => None,
            Weight::Text | Weight::File => Some(0),
            Weight::Pictures => Some(PICTURE * u64::from(pictures)),
            // Fifteen letters a second, and twenty tokens.
            Weight::Spoken => Some(text as u64 * 4 / 3),
        }
    }

    /// The bytes of text that a body's size stands for.
    pub fn text(self, body: usize) -> usize {
        if self == Weight::File { body / SOUND * 4 } else { body }
    }
}

/// A whole completion as the events of a stream: its shape is already an event's.
pub fn completion_events(answer: &[u8]) -> Vec<u8> {
    b"data: ".iter().copied().chain(one_line(answer)).chain(*b"\n\ndata: [DONE]\n\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_its_own_path_and_what_is_sent_as_a_form_is_billed_once() {
        let mut paths: Vec<_> = Endpoint::ALL.iter().map(|endpoint| endpoint.row().path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), Endpoint::ALL.len());
        for endpoint in Endpoint::ALL {
            let row = endpoint.row();
            assert!(!row.form || row.billed_once, "{endpoint:?}");
            assert!(!row.kept || matches!(row.reply, Reply::Json(_)), "only JSON is stored: {endpoint:?}");
            assert!(!row.streams || !row.billed_once, "{endpoint:?}");
        }
    }

    #[test]
    fn tokens_are_estimated_by_what_is_asked() {
        assert_eq!((Weight::Text.answer(90, 1), Weight::Answer.answer(90, 1)), (Some(0), None));
        assert_eq!((Weight::Pictures.answer(90, 2), Weight::Spoken.answer(90, 1)), (Some(12_480), Some(120)));
        assert_eq!((Weight::File.text(25 << 20) / 4, Weight::Text.text(8)), (102_400, 8));
    }

    #[test]
    fn a_whole_completion_is_an_event() {
        assert_eq!(completion_events(b"{\n\"a\":1}"), b"data: { \"a\":1}\n\ndata: [DONE]\n\n");
    }
}
