//! A name as a segment of a path: what a segment can't hold is escaped, so that no name can leave its place.

/// Puts `name` behind `path`. `slash`: whether one stays as it is.
pub(in crate::dialect) fn segment(path: &mut String, name: &str, slash: bool) {
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain || slash && byte == b'/' {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}
