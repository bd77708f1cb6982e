//! How the demo looks. On a terminal, sentences scroll by and a small table below them is drawn anew; elsewhere it is plain
//! lines. Plain ANSI sequences; NO_COLOR is honoured, and the terminal is as it was afterwards, whatever ends the demo.
//!
//! The table stays at the bottom by going up as many lines as it had: no size has to be known and the history stays in the
//! terminal's own scrollback. Lines are never wrapped, which would spoil the count.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use super::scene::{LATELY, Line, Picture, Row, Tone};
use crate::health::State;

/// The cursor hidden and lines cut at the edge, and back again.
const BEGIN: &str = "\x1b[?25l\x1b[?7l";
const END: &str = "\x1b[?7h\x1b[?25h";
/// A terminal that knows these shows a frame at once.
const FRAME: (&str, &str) = ("\x1b[?2026h", "\x1b[?2026l");
/// The longest bar.
const WIDEST: u32 = 24;
/// Served requests that fill it: what the demo's own callers make.
const FULL: u32 = 36;

/// See the module's text.
pub(super) struct Screen {
    live: bool,
    colour: bool,
    /// The table as it stands, and its lines.
    table: String,
}

impl Screen {
    /// Looks where the output goes.
    pub(super) fn open() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let live = io::stdout().is_terminal() && set("TERM").is_none_or(|term| term != "dumb");
        Self { live, colour: live && set("NO_COLOR").is_none(), table: String::new() }
    }

    /// From here on there is a table. What was said before may wrap: it has a line to be copied.
    pub(super) fn begin(&self) {
        if self.live {
            let _ = write(BEGIN);
        }
    }

    /// Whether there is a table to be drawn.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Text as it is.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        let table = std::mem::take(&mut self.table);
        let frame = format!("{}{text}", up(&table));
        self.show(&frame, table)
    }

    /// A sentence.
    pub(super) fn event(&mut self, line: &Line) -> io::Result<()> {
        let text = self.paint(line.tone, &line.text);
        self.say(&format!("{:7.1} s  {text}\n", line.at.as_secs_f64()))
    }

    /// Each second: a line where there is no table.
    pub(super) fn second(&mut self, picture: &Picture) -> io::Result<()> {
        if self.live {
            return Ok(());
        }
        let rows: Vec<_> = picture.rows.iter().map(|row| format!("{} {} {}", row.name, row.breaker.name(), row.served)).collect();
        let Picture { answered, failed, .. } = picture;
        let at = picture.at.as_secs_f64();
        self.say(&format!("{at:7.1} s  -- in {LATELY} s: {}; callers: {answered} answered, {failed} failed\n", rows.join(", ")))
    }

    /// The table, in the place of the last one.
    pub(super) fn draw(&mut self, picture: &Picture) -> io::Result<()> {
        let before = std::mem::take(&mut self.table);
        let frame = up(&before);
        let table = self.table(picture);
        self.show(&frame, table)
    }

    /// The end: what the callers got.
    pub(super) fn last_words(&mut self, picture: &Picture) -> io::Result<()> {
        let Picture { at, answered, failed, .. } = picture;
        let said =
            format!("\nAfter {:.0} s: {answered} requests of the demo's callers were answered, {failed} failed.\n", at.as_secs_f64());
        let frame = up(&std::mem::take(&mut self.table));
        let table = if self.live { self.table(picture) } else { String::new() };
        self.show(&format!("{frame}{table}{said}"), String::new())
    }

    /// Leaves the terminal as it was.
    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.live) {
            let _ = write(END);
        }
    }

    fn show(&mut self, frame: &str, table: String) -> io::Result<()> {
        let shown = match self.live {
            true => write(&format!("{}{frame}{table}{}", FRAME.0, FRAME.1)),
            false => write(frame),
        };
        self.table = table;
        shown
    }

    fn table(&self, picture: &Picture) -> String {
        let failed = format!("{} failed", picture.failed);
        let failed = if picture.failed == 0 { failed } else { self.paint(Tone::Bad, &failed) };
        let at = picture.at.as_secs_f64();
        let mut table = format!("\n{at:7.1} s  requests of the demo's callers: {} answered, {failed}\n\n", picture.answered);
        let head = format!(
            "  {:<9} {:<22} {:<w$} latency  last error",
            "provider",
            "breaker",
            format!("served in {LATELY} s"),
            w = WIDEST as usize + 5
        );
        // Writing to a String can't fail.
        let _ = writeln!(table, "{head}");
        for row in &picture.rows {
            let _ = writeln!(table, "{}", self.row(row));
        }
        table
    }

    fn row(&self, row: &Row) -> String {
        let tone = match row.breaker {
            State::Closed => Tone::Good,
            State::Open => Tone::Bad,
            State::HalfOpen => Tone::Wary,
        };
        let again = row.again_in.map_or_else(String::new, |time| format!(", again in {:.1} s", time.as_secs_f64()));
        // Padded before it is painted: colours have no width.
        let breaker = self.paint(tone, &format!("{:<22}", format!("{}{again}", row.breaker.name())));
        let bar = (row.served * WIDEST).div_ceil(FULL).min(WIDEST) as usize;
        let bar = format!("{}{}", self.bar(bar), " ".repeat(WIDEST as usize - bar));
        let latency = row.latency.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let error = row.last_error.as_ref().map_or_else(String::new, |(kind, ago)| format!("{kind}, {:.0} s ago", ago.as_secs_f64()));
        format!("  {:<9} {breaker} {bar} {:>4} {latency:>7}  {error}", row.name, row.served)
    }

    fn bar(&self, width: usize) -> String {
        if self.colour { format!("\x1b[44m{}\x1b[0m", " ".repeat(width)) } else { "#".repeat(width) }
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Wary => 33,
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

/// Back to a table's first line, and all below gone.
fn up(table: &str) -> String {
    match table.lines().count() {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\r\x1b[J"),
    }
}

/// In one piece, so that a frame is never seen half drawn.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
