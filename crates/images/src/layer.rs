//! One layer, from bytes to a folder in the store: decompress, unpack, and believe neither size nor digest.

use std::cell::RefCell;
use std::io::{self, Chain, Cursor, Read};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::unpack::{self, Compressed, Unpacked};
use crate::{LayerError, Limits};

/// What the manifest and config claim about a layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// Of the blob as stored in registries.
    pub(crate) digest: Option<String>,
    /// Bytes of that blob.
    pub(crate) size: Option<u64>,
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: Option<String>,
}

/// Unpacks the blob `source` into the empty folder `target` and checks every claim. Blocks.
pub(crate) fn unpack_blob(
    source: impl Read,
    claims: &Claims,
    target: &Path,
    limits: &Limits,
) -> Result<Unpacked, LayerError> {
    let counter: Compressed = Arc::new(AtomicU64::new(0));
    let hash = Rc::new(RefCell::new(Sha256::new()));
    let mut blob = Counted { inner: source, counter: Arc::clone(&counter), hash: Rc::clone(&hash) };
    let result =
        decompress(&mut blob).and_then(|tar| unpack::unpack(tar, Arc::clone(&counter), target, limits));
    if let Err(error) = &result
        && !matches!(error, LayerError::Corrupt(_))
    {
        return result;
    }
    // What the decompressor left over is part of the blob. A damaged blob is best called what it is: not its digest.
    let drained = io::copy(&mut blob, &mut io::sink());
    if drained.is_ok() {
        check(claims, counter.load(Ordering::Relaxed), hash.borrow().clone())?;
    }
    let unpacked = result?;
    drained.map_err(LayerError::Corrupt)?;
    match &claims.diff_id {
        Some(expected) if *expected != unpacked.diff_id => {
            Err(LayerError::Digest { expected: expected.clone(), actual: unpacked.diff_id })
        }
        _ => Ok(unpacked),
    }
}

fn check(claims: &Claims, bytes: u64, hash: Sha256) -> Result<(), LayerError> {
    let actual = format!("sha256:{}", hex::encode(hash.finalize()));
    match (&claims.digest, claims.size) {
        (Some(expected), _) if *expected != actual => {
            Err(LayerError::Digest { expected: expected.clone(), actual })
        }
        (_, Some(size)) if size != bytes => {
            let text = format!("the manifest promises {size} bytes, {bytes} came");
            Err(LayerError::Corrupt(io::Error::new(io::ErrorKind::InvalidData, text)))
        }
        _ => Ok(()),
    }
}

type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// A tar stream, however it was packed. Media types lie about compression often enough that the bytes decide.
pub(crate) fn decompress<'r, R: Read + 'r>(mut source: R) -> Result<Box<dyn Read + 'r>, LayerError> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    (&mut source).take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(LayerError::Corrupt)?;
    let kind = Packing::of(&magic)?;
    let whole: Peeked<R> = Cursor::new(magic).chain(source);
    Ok(match kind {
        Packing::Plain => Box::new(whole),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(whole).map_err(LayerError::Corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(LayerError::Corrupt)?;
            Box::new(decoder)
        }
    })
}

#[derive(Clone, Copy)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(magic: &[u8]) -> Result<Self, LayerError> {
        match magic {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A frame, or a frame to be skipped, which chunked layers put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => Err(LayerError::Unsupported("compressed with bzip2".to_owned())),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                Err(LayerError::Unsupported("compressed with xz".to_owned()))
            }
            _ => Ok(Self::Plain),
        }
    }
}

/// Counts and hashes the blob as it is read.
struct Counted<R> {
    inner: R,
    counter: Compressed,
    hash: Rc<RefCell<Sha256>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.counter.fetch_add(count as u64, Ordering::Relaxed);
        self.hash.borrow_mut().update(&buffer[..count]);
        Ok(count)
    }
}

const MAGIC_BYTES: usize = 6;
/// 128 MiB, what every zstd level without `--long` beyond 27 needs.
const ZSTD_WINDOW_LOG: u32 = 27;
