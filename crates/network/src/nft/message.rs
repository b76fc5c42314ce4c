//! nfnetlink messages as bytes: headers, attributes, one atomic batch.
//!
//! Layouts follow the kernel's `linux/netfilter/nfnetlink.h` and `nf_tables.h`. Attribute numbers inside netfilter
//! are big endian, register contents are in network order for packet fields and host order for the kernel's own.

/// The kernel's number of the nf_tables subsystem.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLA_F_NESTED: u16 = 0x8000;
const FAMILY_UNSPEC: u8 = 0;
const FAMILY_IPV4: u8 = 2;

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    NewTable,
    DeleteTable,
    NewChain,
    NewRule,
}

impl Request {
    fn code(self) -> u16 {
        let code = match self {
            Self::NewTable => 0,
            Self::DeleteTable => 2,
            Self::NewChain => 3,
            Self::NewRule => 6,
        };
        (SUBSYSTEM << 8) | code
    }

    fn flags(self) -> u16 {
        match self {
            Self::NewTable | Self::NewChain => NLM_F_CREATE,
            Self::DeleteTable => 0,
            Self::NewRule => NLM_F_CREATE | NLM_F_APPEND,
        }
    }
}

/// A batch: the kernel applies all of it or nothing.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    last: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::with_capacity(2048), sequence: 0, last: 0 };
        batch.header(BATCH_BEGIN, NLM_F_REQUEST, FAMILY_UNSPEC, SUBSYSTEM);
        batch.close();
        batch
    }

    /// Appends a request with its attributes.
    pub(super) fn push(&mut self, request: Request, attributes: &Attributes) {
        self.header(request.code(), NLM_F_REQUEST | request.flags(), FAMILY_IPV4, 0);
        self.bytes.extend_from_slice(&attributes.0);
        self.close();
    }

    /// The bytes to send and the sequence number whose acknowledgement ends the answer: the last request's.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32) {
        let flags = self.last + 6;
        let asked = u16::from_ne_bytes([self.bytes[flags], self.bytes[flags + 1]]) | NLM_F_ACK;
        self.bytes[flags..flags + 2].copy_from_slice(&asked.to_ne_bytes());
        let sequence = self.sequence;
        self.header(BATCH_END, NLM_F_REQUEST, FAMILY_UNSPEC, SUBSYSTEM);
        self.close();
        (self.bytes, sequence)
    }

    fn header(&mut self, kind: u16, flags: u16, family: u8, resource: u16) {
        self.sequence += 1;
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
    }

    /// Writes the length of the message begun last.
    fn close(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.last).expect("a message is far below 4 GiB");
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A list of attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("attributes are short");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A zero-terminated text.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(super) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &inner.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_carry_their_length() {
        let text = Attributes::new().text(1, "abc").0;
        assert_eq!(text, [8u8, 0, 1, 0, b'a', b'b', b'c', 0]);
        let short = Attributes::new().bytes(2, &[7]).0;
        assert_eq!(short, [5u8, 0, 2, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn only_the_last_request_of_a_batch_is_acknowledged() {
        let mut batch = Batch::new();
        batch.push(Request::NewTable, &Attributes::new());
        batch.push(Request::DeleteTable, &Attributes::new());
        let (bytes, sequence) = batch.finish();
        assert_eq!(sequence, 3);
        let flags: Vec<u16> =
            bytes.chunks(20).map(|message| u16::from_ne_bytes([message[6], message[7]])).collect();
        assert_eq!(flags, [1, 0x401, 5, 1]);
    }
}
