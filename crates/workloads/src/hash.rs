//! Names from content (N2, C3): equal templates get equal hashes.

/// What a generated name may contain.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A 32-bit FNV-1a hash of a template's text and how often it collided, in letters that spell no words.
pub fn of(content: &str, collisions: i32) -> String {
    let bytes = content.bytes().chain(collisions.to_le_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N2, C3.
    #[test]
    fn letters_are_safe_and_collisions_differ() {
        let hash = of("{}", 0);
        assert!(hash.bytes().all(|letter| SAFE.contains(&letter)), "{hash}");
        assert_eq!(hash, of("{}", 0));
        assert_ne!(hash, of("{}", 1));
        assert_ne!(hash, of("{ }", 0));
    }
}
