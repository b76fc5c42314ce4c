//! The stream between decompressor and archive reader: it counts, hashes and stops at limits.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use super::{Excess, Limits};

/// Compressed bytes seen so far; shared with whoever reads them.
pub(crate) type Compressed = Arc<AtomicU64>;

/// Small archives compress as well as they like.
const RATIO_APPLIES_FROM: u64 = 256 << 20;

/// Reads the uncompressed archive on behalf of the tar reader.
pub(super) struct Meter<R> {
    inner: R,
    compressed: Compressed,
    max_bytes: u64,
    max_ratio: u64,
    max_header: u64,
    gauge: Gauge,
}

/// The meter's dials, readable while the tar reader owns the meter.
#[derive(Clone)]
pub(super) struct Gauge(Rc<Dials>);

struct Dials {
    bytes: Cell<u64>,
    /// Bytes that may still be read before `unlimited` is called.
    header_left: Cell<Option<u64>>,
    max_header: u64,
    excess: Cell<Option<Excess>>,
    hash: RefCell<Sha256>,
}

impl<R> Meter<R> {
    pub(super) fn new(inner: R, compressed: Compressed, limits: &Limits) -> (Self, Gauge) {
        let gauge = Gauge(Rc::new(Dials {
            bytes: Cell::new(0),
            header_left: Cell::new(None),
            max_header: limits.header_bytes,
            excess: Cell::new(None),
            hash: RefCell::new(Sha256::new()),
        }));
        let meter = Self {
            inner,
            compressed,
            max_bytes: limits.unpacked_bytes,
            max_ratio: limits.ratio,
            max_header: limits.header_bytes,
            gauge: gauge.clone(),
        };
        (meter, gauge)
    }

    fn passed(&self, bytes: u64) -> Option<Excess> {
        let compressed = self.compressed.load(Ordering::Relaxed).max(1);
        if bytes > self.max_bytes {
            Some(Excess::Bytes(self.max_bytes))
        } else if bytes > RATIO_APPLIES_FROM && bytes / compressed > self.max_ratio {
            Some(Excess::Ratio(self.max_ratio))
        } else {
            None
        }
    }

    fn stop(&self, excess: Excess) -> io::Error {
        self.gauge.0.excess.set(Some(excess));
        io::Error::other(excess)
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let dials = Rc::clone(&self.gauge.0);
        let count = self.inner.read(buffer)?;
        let more = count as u64;
        if let Some(left) = dials.header_left.get() {
            match left.checked_sub(more) {
                Some(left) => dials.header_left.set(Some(left)),
                None => return Err(self.stop(Excess::Header(self.max_header))),
            }
        }
        dials.hash.borrow_mut().update(&buffer[..count]);
        dials.bytes.set(dials.bytes.get() + more);
        match self.passed(dials.bytes.get()) {
            Some(excess) => Err(self.stop(excess)),
            None => Ok(count),
        }
    }
}

impl Gauge {
    /// Until the next call of `unlimited`, only so much may be read as an entry's headers may take: the tar reader
    /// collects long names and attributes in memory before it hands out the entry.
    pub(super) fn limit_header(&self) {
        self.0.header_left.set(Some(self.0.max_header));
    }

    pub(super) fn unlimited(&self) {
        self.0.header_left.set(None);
    }

    pub(super) fn excess(&self) -> Option<Excess> {
        self.0.excess.get()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    pub(super) fn diff_id(&self) -> String {
        format!("sha256:{}", hex::encode(self.0.hash.borrow().clone().finalize()))
    }
}
