//! An upstream's base address: absolute, http or https, nothing in it that belongs elsewhere. Checked by hand, so that the
//! message says which part is wrong, and shows none of it: an address may carry a password.

use super::door::is_loopback;

/// The address without its trailing slashes, or what is wrong with it.
pub(super) fn base(text: &str) -> Result<String, &'static str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("must be a whole address, such as \"https://api.example.com/v1\"");
    };
    if scheme != "https" && scheme != "http" {
        return Err("must begin with https:// or http://");
    }
    if rest.bytes().any(|b| !b.is_ascii_graphic() || b"\"<>\\^`{|}".contains(&b)) {
        return Err("holds blanks or characters that no address has");
    }
    if rest.contains(['?', '#']) {
        return Err("must have no query (?…) and no fragment (#…); the path of each call is added to its end");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("must have no user name or password; write the credential under `keys`");
    }
    if !is_authority(authority) {
        return Err("has no valid host and port");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// The host of an address that was found good, without its port.
pub(super) fn host(base_url: &str) -> Option<&str> {
    let (_, rest) = base_url.split_once("://")?;
    Some(host_and_port(rest.split('/').next().unwrap_or_default()).0)
}

/// Whether calls to it cross a network without TLS.
pub(super) fn is_plain_and_remote(base_url: &str) -> bool {
    base_url.strip_prefix("http://").is_some_and(|rest| {
        let authority = rest.split('/').next().unwrap_or_default();
        !is_loopback(host_and_port(authority).0)
    })
}

fn is_authority(authority: &str) -> bool {
    let (host, port) = host_and_port(authority);
    let is_port = port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|p| p > 0));
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')),
    };
    is_host && is_port
}

/// The host (an IPv6 one in its brackets) and the port, if there is one.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let after = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[after..].rfind(':') {
        Some(colon) => (&authority[..after + colon], Some(&authority[after + colon + 1..])),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_lose_their_trailing_slash() {
        assert_eq!(base("https://api.openai.com/v1/").as_deref(), Ok("https://api.openai.com/v1"));
        assert_eq!(base("http://127.0.0.1:9001").as_deref(), Ok("http://127.0.0.1:9001"));
        assert_eq!(base("http://[::1]:9001/v1").as_deref(), Ok("http://[::1]:9001/v1"));
        assert_eq!(base("http://ollama:11434/v1").as_deref(), Ok("http://ollama:11434/v1"));
    }

    #[test]
    fn bad_addresses_are_refused() {
        for bad in [
            "",
            "api.openai.com/v1",
            "ftp://a/b",
            "https://",
            "https:///v1",
            "https://a b/",
            "https://a/v1?key=x",
            "https://a/v1#x",
            "https://user:pass@a/v1",
            "https://a:0/",
            "https://a:99999/",
            "https://a:/",
            "https://[::1/v1",
            "https://a:b:1/",
            "https://é/",
            "https://a/\r\nx",
        ] {
            assert!(base(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn plain_http_is_fine_at_home() {
        assert!(is_plain_and_remote("http://10.0.0.5/v1"));
        assert!(!is_plain_and_remote("http://localhost:1/v1"));
        assert!(!is_plain_and_remote("http://[::1]:1/v1"));
        assert!(!is_plain_and_remote("https://a/v1"));
    }
}
