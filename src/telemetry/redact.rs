//! What is taken out of a body before it is logged: whatever looks like a credential, by its name or by its form, and files in
//! base64, of which only the size is told. Texts stay: whoever has bodies logged wants to read them.

/// Words that stand before a secret: members of JSON, headers, fields of a form.
const NAMES: [&str; 12] = [
    "authorization",
    "api_key",
    "api-key",
    "apikey",
    "x-api-key",
    "password",
    "passwd",
    "secret",
    "client_secret",
    "token",
    "access_token",
    "refresh_token",
];

/// How credentials of well-known makers begin.
const MAKERS: [&str; 13] = ["sk-", "sk_", "rk_", "pk_", "AIza", "ghp_", "gho_", "github_pat_", "xoxb-", "xoxp-", "AKIA", "ya29.", "eyJ"];

/// Credentials are no shorter.
const SHORTEST: usize = 16;
/// A run of base64 that is longer is a file.
const FILE: usize = 256;

const REDACTED: &str = "[redacted]";

/// The text without them.
pub fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether what comes next is the secret that was named.
    let mut named = false;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let bearer = run.eq_ignore_ascii_case("bearer") || run.eq_ignore_ascii_case("basic");
        if named && !bearer && !run.is_empty() {
            // Whole, to the closing quote where there is one: a password may hold anything.
            let whole = if out.ends_with('"') { value_end(rest) } else { end };
            out.push_str(REDACTED);
            rest = &rest[whole..];
            named = false;
            continue;
        }
        if run.len() > FILE {
            out.push_str(&format!("[{} characters]", run.len()));
        } else if run.len() >= SHORTEST && MAKERS.iter().any(|maker| run.starts_with(maker)) {
            out.push_str(REDACTED);
        } else {
            out.push_str(run);
        }
        if !run.is_empty() {
            named = bearer || NAMES.iter().any(|name| run.eq_ignore_ascii_case(name));
        }
        let between = after.find(is_part).unwrap_or(after.len());
        let (gap, next) = after.split_at(between);
        // A name is followed by its value: `": "`, `=`, or in JSON within JSON `\\":\\"`.
        named &= bearer || gap.contains([':', '=']) && !gap.contains([',', '{', '[', '}']);
        out.push_str(gap);
        rest = next;
    }
    out
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/')
}

/// Where a quoted value ends that begins here.
fn value_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_go_and_words_stay() {
        for (text, wanted) in [
            (r#"{"content":"my key is sk-proj-abcdefghijklmnop ok"}"#, r#"{"content":"my key is [redacted] ok"}"#),
            (r#"{"password": "hunter2, \" and {more}", "n": 1}"#, r#"{"password": "[redacted]", "n": 1}"#),
            ("Authorization: Bearer abc.def-123 next", "Authorization: Bearer [redacted] next"),
            (r#"{"api_key":null,"max_tokens":5}"#, r#"{"api_key":[redacted],"max_tokens":5}"#),
            ("token=abc&model=m", "token=[redacted]&model=m"),
            (r#"{"token": {"count": 1}}"#, r#"{"token": {"count": 1}}"#),
            ("a token, a secret: none are told", "a token, a secret: [redacted] are told"),
            ("sk-short and AIza", "sk-short and AIza"),
            ("grüße an München", "grüße an München"),
        ] {
            assert_eq!(redacted(text), wanted);
        }
        let file = format!(r#"{{"url":"data:image/png;base64,{}"}}"#, "QUJD".repeat(100));
        assert_eq!(redacted(&file), r#"{"url":"data:image/png;base64,[400 characters]"}"#);
    }

    proptest! {
        #[test]
        fn no_maker_s_key_survives_whatever_stands_around_it(
            before in "[^A-Za-z0-9._+/-]{0,20}", maker in 0..MAKERS.len(), key in "[A-Za-z0-9]{16,40}", after in "[^A-Za-z0-9._+/-]{0,20}"
        ) {
            let secret = format!("{}{key}", MAKERS[maker]);
            let text = format!("{before}{secret}{after}");
            prop_assert!(!redacted(&text).contains(&secret));
        }

        #[test]
        fn any_text_ends(text in "\\PC{0,200}") {
            redacted(&text);
        }
    }
}
