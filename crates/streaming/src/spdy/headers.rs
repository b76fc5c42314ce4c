//! Header blocks: name and value pairs behind one compression stream per direction (SPDY/3, 2.6.10).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::{ADLER, dictionary};

/// How large a block may be once unpacked. Port-forward's blocks have three short pairs.
const LARGEST_BLOCK: usize = 16 * 1024;
/// How many pairs a block may have.
const MOST_PAIRS: usize = 64;

/// What a stream was opened with; names are lower case, as they arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of `name`, which is compared without regard to case; empty if it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Headers {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// Why a header block cannot be read. The compression state is lost with it, so the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBlock {
    /// Not a zlib stream, or one of another dictionary.
    #[error("it is not compressed as SPDY/3 says")]
    Compression,
    /// Larger than anything sensible, or made to grow so.
    #[error("it has more than {LARGEST_BLOCK} bytes or {MOST_PAIRS} pairs")]
    TooLarge,
    /// Lengths that do not add up.
    #[error("its lengths do not add up")]
    Lengths,
    /// Names and values have to be text here.
    #[error("it is not UTF-8")]
    Text,
}

/// Unpacks the blocks of one direction, in order.
#[derive(Debug)]
pub(super) struct Unpacker(Decompress);

impl Unpacker {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn unpack(&mut self, block: &[u8]) -> Result<Headers, BadBlock> {
        let mut plain = Vec::with_capacity(LARGEST_BLOCK);
        let start = self.0.total_in();
        loop {
            let used = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = block.get(used..).ok_or(BadBlock::Compression)?;
            if rest.is_empty() && used > 0 {
                break;
            }
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(Status::Ok) if plain.len() == plain.capacity() => return Err(BadBlock::TooLarge),
                Ok(Status::Ok) => {}
                Ok(Status::BufError) if plain.len() == plain.capacity() => return Err(BadBlock::TooLarge),
                Ok(Status::BufError | Status::StreamEnd) => return Err(BadBlock::Compression),
                Err(error) if error.needs_dictionary() == Some(ADLER) => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| BadBlock::Compression)?;
                }
                Err(_) => return Err(BadBlock::Compression),
            }
        }
        pairs(&plain)
    }
}

/// Reads `count (length name length value)*`.
fn pairs(plain: &[u8]) -> Result<Headers, BadBlock> {
    let mut rest = plain;
    let count = number(&mut rest)?;
    if count > MOST_PAIRS {
        return Err(BadBlock::TooLarge);
    }
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push((text(&mut rest)?, text(&mut rest)?));
    }
    if rest.is_empty() { Ok(Headers(all)) } else { Err(BadBlock::Lengths) }
}

fn number(rest: &mut &[u8]) -> Result<usize, BadBlock> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or(BadBlock::Lengths)?;
    *rest = tail;
    usize::try_from(u32::from_be_bytes(*head)).map_err(|_| BadBlock::TooLarge)
}

fn text(rest: &mut &[u8]) -> Result<String, BadBlock> {
    let length = number(rest)?;
    let (head, tail) = rest.split_at_checked(length).ok_or(BadBlock::Lengths)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).map_err(|_| BadBlock::Text)
}

/// Packs the blocks of one direction, in order.
#[derive(Debug)]
pub(super) struct Packer(Compress);

impl Packer {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&dictionary()).expect("a fresh stream takes a dictionary");
        Self(compress)
    }

    pub(super) fn pack(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = Vec::new();
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        plain.extend_from_slice(&number(headers.0.len()));
        for part in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&number(part.len()));
            plain.extend_from_slice(part.as_bytes());
        }
        let mut packed = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let used = usize::try_from(self.0.total_in() - start).unwrap_or(usize::MAX);
            let rest = plain.get(used..).unwrap_or_default();
            self.0
                .compress_vec(rest, &mut packed, FlushCompress::Sync)
                .expect("compression in memory has no reason to fail");
            if packed.len() < packed.capacity() {
                return packed;
            }
            packed.reserve(packed.len());
        }
    }
}
