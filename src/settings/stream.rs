//! `[stream]` and `[models.X.stream]`: what happens to streams that break, and to callers who lose theirs.

use super::raw::Section;
use super::types::Streaming;

/// `base` with what the section overrides.
pub(super) fn read(mut s: Section<'_>, base: &Streaming) -> Streaming {
    let streaming = Streaming {
        recovery: s.choice("recovery", &[("error", false), ("continue", true)], base.recovery),
        hold_tools: s.flag("hold_tools", base.hold_tools),
        hold: s.duration("hold", base.hold),
        resume_window: s.duration("resume_window", base.resume_window),
        resume_max: s.duration("resume_max", base.resume_max),
        resume_buffer: s.size("resume_buffer", base.resume_buffer as u64) as usize,
    };
    // Where neither is written here, the section above has been told already.
    if streaming.resume_window > streaming.resume_max && (s.has("resume_window") || s.has("resume_max")) {
        s.warn(
            "resume_max",
            "is shorter than `resume_window`: who asks for a window by x-stagedoor-resume gets less than who asks for none",
        );
    }
    streaming
}
