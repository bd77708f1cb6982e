//! A chat in no dialect: the request, the answer and the piece of a streamed answer that every dialect is read into and
//! written from. It has what at least two of them can say; what only one can say is told by name, so that a writer never
//! leaves it out in silence.
//!
//! Everything borrows from the bytes that it was read from. Schemas, arguments and numbers stay JSON text: a target reads
//! them as the caller wrote them, in the same order.

use std::borrow::Cow;

use super::{Usage, Wire};

/// A text of the chat.
pub type Words<'a> = Cow<'a, str>;
/// A JSON value by its own text.
pub type Json<'a> = Cow<'a, str>;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// The model's name, as whoever is asked calls it.
    pub model: Words<'a>,
    /// The conversation, instructions included, in its order.
    pub messages: Vec<Message<'a>>,
    /// What may be called.
    pub tools: Vec<Tool<'a>>,
    /// Whether something must be called.
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether several calls may come at once; None: as the target has it.
    pub parallel_calls: Option<bool>,
    /// Most tokens of the answer, thoughts included.
    pub max_tokens: Option<u64>,
    /// How much chance there is, as a number.
    pub temperature: Option<Json<'a>>,
    /// Nucleus sampling, as a number.
    pub top_p: Option<Json<'a>>,
    /// Only the likeliest so many tokens are drawn from.
    pub top_k: Option<u64>,
    /// A number that makes chance repeat itself, as far as the target can.
    pub seed: Option<Json<'a>>,
    /// Against what was said at all, as a number.
    pub presence_penalty: Option<Json<'a>>,
    /// Against what was said often, as a number.
    pub frequency_penalty: Option<Json<'a>>,
    /// Texts at which the answer ends.
    pub stop: Vec<Words<'a>>,
    /// How many answers; None: one.
    pub choices: Option<u64>,
    /// Whether each token's probability is asked for, and of how many others.
    pub logprobs: Option<u64>,
    /// What the answer's text must be.
    pub format: Option<Format<'a>>,
    /// How hard to think.
    pub effort: Option<Effort>,
    /// Whether to think, and how much.
    pub thinking: Option<Thinking>,
    /// The caller's user, by an opaque name.
    pub user: Option<Words<'a>>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the stream is to say at its end what was used, where the dialect has to be asked.
    pub tell_usage: bool,
    /// What else was asked for, by name, that this shape doesn't have.
    pub others: Vec<Other<'a>>,
}

/// Something that one dialect can say and the neutral shape can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other<'a> {
    /// Its name, or a path to it.
    pub name: Words<'a>,
    /// Whether the answer means the same without it.
    pub harmless: bool,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The operator: instructions.
    System,
    /// OpenAI's newer word for the same.
    Developer,
    /// The user, and what tools gave back.
    User,
    /// The model.
    Assistant,
}

/// One turn, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// Its name, where several of a role speak.
    pub name: Option<Words<'a>>,
    /// What is said, in its order.
    pub parts: Vec<Part<'a>>,
}

/// For how long what stands before this is to be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// As long as the target does by default (Anthropic: 5 minutes).
    Short,
    /// An hour.
    Hour,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Words.
    Text {
        /// The words.
        text: Words<'a>,
        /// A caching mark behind it.
        cache: Option<Cache>,
    },
    /// Words by which the model refuses.
    Refusal(Words<'a>),
    /// A picture.
    Image {
        /// Where it is.
        source: Source<'a>,
        /// How closely to look.
        detail: Option<Words<'a>>,
        /// A caching mark behind it.
        cache: Option<Cache>,
    },
    /// Sound.
    Audio {
        /// `wav`, `mp3`, …
        format: Words<'a>,
        /// Base64.
        data: Words<'a>,
    },
    /// A document.
    File {
        /// Where it is.
        source: Source<'a>,
        /// What it is called.
        name: Option<Words<'a>>,
        /// A caching mark behind it.
        cache: Option<Cache>,
    },
    /// The model calls a tool.
    Call {
        /// The call's name, for its result.
        id: Words<'a>,
        /// The tool's name.
        name: Words<'a>,
        /// What it is called with: JSON, as far as the model wrote JSON.
        arguments: Words<'a>,
        /// A caching mark behind it.
        cache: Option<Cache>,
    },
    /// What a tool gave back.
    Result {
        /// The call's name.
        id: Words<'a>,
        /// Texts, pictures, documents.
        parts: Vec<Part<'a>>,
        /// Whether it failed.
        failed: bool,
        /// A caching mark behind it.
        cache: Option<Cache>,
    },
    /// What the model thought.
    Thinking {
        /// The thoughts.
        text: Words<'a>,
        /// The vendor's proof that they are its own; without it they can't be handed back.
        signature: Option<Words<'a>>,
    },
    /// Thoughts that only the vendor can read.
    Redacted(Words<'a>),
}

impl Part<'_> {
    /// Its caching mark, where it can have one.
    pub fn cache_mut(&mut self) -> Option<&mut Option<Cache>> {
        match self {
            Part::Text { cache, .. }
            | Part::Image { cache, .. }
            | Part::File { cache, .. }
            | Part::Call { cache, .. }
            | Part::Result { cache, .. } => Some(cache),
            Part::Refusal(_) | Part::Audio { .. } | Part::Thinking { .. } | Part::Redacted(_) => None,
        }
    }
}

/// Where a picture or a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// Here.
    Inline {
        /// Its media type.
        media: Words<'a>,
        /// Base64.
        data: Words<'a>,
    },
    /// Elsewhere.
    Url(Words<'a>),
    /// In a vendor's own store: no other vendor has it.
    Stored {
        /// Whose store.
        of: Wire,
        /// Its id there.
        id: Words<'a>,
    },
    /// Plain text, here.
    Text(Words<'a>),
}

/// What may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Words<'a>,
    /// What it is for.
    pub description: Option<Words<'a>>,
    /// The JSON schema of its arguments; None: it takes none.
    pub schema: Option<Json<'a>>,
    /// Whether arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// A caching mark behind it.
    pub cache: Option<Cache>,
}

/// Whether something must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// As the model sees fit.
    Auto,
    /// Nothing.
    Never,
    /// Something.
    Any,
    /// This one.
    Named(Words<'a>),
}

/// What the answer's text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format<'a> {
    /// Any JSON object.
    Object,
    /// What a schema allows.
    Schema {
        /// The schema's name; None where the dialect has none.
        name: Option<Words<'a>>,
        /// What it is for.
        description: Option<Words<'a>>,
        /// The JSON schema.
        schema: Json<'a>,
        /// Whether it is to be followed to the letter.
        strict: Option<bool>,
    },
}

/// How hard to think, in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as can be.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// As much as can be.
    Max,
}

impl Effort {
    /// All of them, least first.
    pub const ALL: [Effort; 7] = [Effort::None, Effort::Minimal, Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];

    /// Its name; the dialects share them.
    pub fn name(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.name() == name)
    }
}

/// Whether to think, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// No.
    Off,
    /// As the model sees fit.
    Adaptive,
    /// With at most so many tokens.
    Budget(u64),
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its id at the vendor's.
    pub id: Words<'a>,
    /// The model that answered.
    pub model: Words<'a>,
    /// When, in seconds since 1970, where the dialect says it.
    pub created: Option<u64>,
    /// The answers.
    pub choices: Vec<Choice<'a>>,
    /// What was used.
    pub spent: Option<Usage>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice<'a> {
    /// What is said, in its order.
    pub parts: Vec<Part<'a>>,
    /// Why it ended.
    pub finish: Finish,
    /// The text at which it ended, where that is told.
    pub stop: Option<Words<'a>>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It was complete, or a stop text came that isn't told.
    Stop,
    /// A stop text came.
    StopText,
    /// It was as long as it may be.
    Length,
    /// Tools are to be called.
    Calls,
    /// A filter held it back, or the model refused.
    Filtered,
    /// The context window was full.
    WindowFull,
    /// The vendor paused a long turn of its own tools.
    Paused,
}

/// A piece of a streamed answer. `choice` is the answer's number, from 0; `call` a call's within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta<'a> {
    /// It begins.
    Begin {
        /// Its id at the vendor's.
        id: Words<'a>,
        /// The model that answers.
        model: Words<'a>,
        /// When, in seconds since 1970, where the dialect says it.
        created: Option<u64>,
    },
    /// Words.
    Text {
        /// Of which answer.
        choice: u32,
        /// The words.
        text: Words<'a>,
    },
    /// Words by which the model refuses.
    Refusal {
        /// Of which answer.
        choice: u32,
        /// The words.
        text: Words<'a>,
    },
    /// Thoughts.
    Thinking {
        /// Of which answer.
        choice: u32,
        /// The thoughts.
        text: Words<'a>,
    },
    /// The proof of the thoughts so far.
    Signature {
        /// Of which answer.
        choice: u32,
        /// The proof.
        text: Words<'a>,
    },
    /// Thoughts that only the vendor can read.
    Redacted {
        /// Of which answer.
        choice: u32,
        /// As the vendor wrote them.
        data: Words<'a>,
    },
    /// A call begins.
    Call {
        /// Of which answer.
        choice: u32,
        /// Which call, from 0.
        call: u32,
        /// Its id.
        id: Words<'a>,
        /// The tool.
        name: Words<'a>,
    },
    /// A piece of a call's arguments.
    Arguments {
        /// Of which answer.
        choice: u32,
        /// Which call.
        call: u32,
        /// The piece.
        json: Words<'a>,
    },
    /// An answer is complete.
    Finish {
        /// Which one.
        choice: u32,
        /// Why.
        finish: Finish,
        /// The text at which it ended, where that is told.
        stop: Option<Words<'a>>,
    },
    /// What was used so far; the last one counts.
    Spent(Usage),
    /// Nothing, as a sign of life.
    Ping,
    /// It failed.
    Error {
        /// The vendor's word for how.
        kind: Words<'a>,
        /// In its words.
        message: Words<'a>,
    },
    /// It is whole: the terminal event.
    End,
}
