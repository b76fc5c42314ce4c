//! The codec against itself, against bytes written down by hand, and against noise.

use proptest::prelude::*;

use super::*;
use crate::spdy::dictionary::{ADLER, dictionary};

fn all(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Frame>, Malformed> {
    let mut input = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut input)? {
        frames.push(frame);
    }
    Ok(frames)
}

fn control_frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0x80, 3, 0, kind, flags, 0, 0, length], payload].concat()
}

/// H32: a wrong letter would make every block unreadable for others, and the checksum is what they go by.
#[test]
fn the_dictionary_is_the_one_others_have() {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in dictionary() {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    assert_eq!(b << 16 | a, ADLER);
}

/// H32: blocks share one compression stream, so the second is small and means nothing alone.
#[test]
fn header_blocks_build_on_each_other() {
    let headers: Headers =
        [("streamtype", "error"), ("port", "8080"), ("requestid", "17")].into_iter().collect();
    let frame = |stream| Frame::SynStream { stream, fin: true, headers: headers.clone() };
    let (mut encoder, mut first, mut second) = (Encoder::new(), BytesMut::new(), BytesMut::new());
    encoder.encode(&frame(1), &mut first);
    encoder.encode(&frame(3), &mut second);
    assert!(second.len() < first.len());
    let mut decoder = Decoder::new();
    assert_eq!(all(&mut decoder, &first), Ok(vec![frame(1)]));
    assert_eq!(all(&mut decoder, &second), Ok(vec![frame(3)]));
    assert_eq!(headers.get("requestID"), "17");
    assert_eq!(headers.get("nothing"), "");
    assert_eq!(all(&mut Decoder::new(), &second), Err(Malformed::Block(BadBlock::Compression)));
}

/// A payload of any size comes in pieces; only the last says that the stream ends.
#[test]
fn large_data_is_taken_in_pieces() {
    let mut decoder = Decoder::new();
    let mut input = BytesMut::from(&[0, 0, 0, 5, 1, 0xff, 0xff, 0xff][..]);
    assert_eq!(decoder.decode(&mut input), Ok(None));
    let mut taken = 0;
    while taken < 0x00ff_ffff {
        input.extend_from_slice(&vec![7; CHUNK.min(0x00ff_ffff - taken)]);
        let Ok(Some(Frame::Data { stream: 5, fin, data })) = decoder.decode(&mut input) else { panic!() };
        taken += data.len();
        assert_eq!(fin, taken == 0x00ff_ffff);
        assert!(input.is_empty());
    }
    let empty = all(&mut decoder, &[0, 0, 0, 5, 1, 0, 0, 0]);
    assert_eq!(empty, Ok(vec![Frame::Data { stream: 5, fin: true, data: Bytes::new() }]));
}

/// Hostile frames are refused by name; what SPDY says to skip is skipped.
#[test]
fn what_is_not_spdy_is_refused() {
    let refused = |bytes: &[u8]| all(&mut Decoder::new(), bytes).unwrap_err();
    assert_eq!(refused(&[0x80, 2, 0, 1, 0, 0, 0, 0]), Malformed::Version(2));
    assert_eq!(refused(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]), Malformed::TooLong(0x00ff_ffff));
    assert_eq!(refused(&[0, 0, 0, 0, 0, 0, 0, 0]), Malformed::StreamZero);
    assert_eq!(refused(&control_frame(3, 0, &[0; 8])), Malformed::StreamZero);
    assert_eq!(refused(&control_frame(6, 0, &[0; 5])), Malformed::Length { kind: 6, length: 5 });
    assert_eq!(refused(&control_frame(9, 0, &[0; 7])), Malformed::Length { kind: 9, length: 7 });
    let no_block = control_frame(1, 0, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&no_block), Malformed::Block(BadBlock::Compression));
    let skipped = [control_frame(4, 0, &[0; 4]), control_frame(9, 0, &[0; 8]), control_frame(77, 0, b"?")];
    let kinds = all(&mut Decoder::new(), &skipped.concat()).unwrap();
    assert_eq!(kinds, [4, 9, 77].map(|kind| Frame::Skipped { kind }));
}

/// A block of a few bytes that unpacks to megabytes stops at the bound.
#[test]
fn a_bomb_of_headers_is_refused() {
    let headers: Headers = [("a", "x".repeat(1 << 20))].into_iter().collect();
    let (mut encoder, mut bytes) = (Encoder::new(), BytesMut::new());
    encoder.encode(&Frame::SynStream { stream: 1, fin: false, headers }, &mut bytes);
    assert!(bytes.len() < LARGEST_CONTROL);
    assert_eq!(all(&mut Decoder::new(), &bytes), Err(Malformed::Block(BadBlock::TooLarge)));
    let many: Headers = (0..65).map(|n| (n.to_string(), "x")).collect();
    let (mut encoder, mut bytes) = (Encoder::new(), BytesMut::new());
    encoder.encode(&Frame::SynStream { stream: 1, fin: false, headers: many }, &mut bytes);
    assert_eq!(all(&mut Decoder::new(), &bytes), Err(Malformed::Block(BadBlock::TooLarge)));
}

fn headers() -> impl Strategy<Value = Headers> {
    proptest::collection::vec(("[a-z]{1,12}", "[ -~]{0,40}"), 0..6)
        .prop_map(|pairs| pairs.into_iter().collect())
}

fn frame() -> impl Strategy<Value = Frame> {
    let stream = 1_u32..0x7fff_ffff;
    prop_oneof![
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynStream {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
            stream,
            fin,
            headers
        }),
        (stream.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::Reset { stream, status }),
        any::<u32>().prop_map(|id| Frame::Ping { id }),
        stream.clone().prop_map(|last| Frame::GoAway { last }),
        (stream, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(stream, fin, data)| Frame::Data { stream, fin, data: data.into() }),
        (10_u16..).prop_map(|kind| Frame::Skipped { kind }),
    ]
}

/// Neighbouring data of one stream as one: where it was cut does not matter.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut all: Vec<Frame> = Vec::new();
    for frame in frames {
        match (all.last_mut(), frame) {
            (
                Some(Frame::Data { stream, fin: fin @ false, data }),
                Frame::Data { stream: same, fin: end, data: more },
            ) if *stream == same => {
                *data = [&data[..], &more[..]].concat().into();
                *fin = end;
            }
            (_, frame) => all.push(frame),
        }
    }
    all
}

proptest! {
    /// What was encoded is decoded, wherever the bytes are cut.
    #[test]
    fn frames_survive_the_way(frames in proptest::collection::vec(frame(), 0..12), cut in 1_usize..50) {
        let (mut encoder, mut bytes) = (Encoder::new(), BytesMut::new());
        for frame in &frames {
            encoder.encode(frame, &mut bytes);
        }
        let (mut decoder, mut input, mut seen) = (Decoder::new(), BytesMut::new(), Vec::new());
        for chunk in bytes.chunks(cut) {
            input.extend_from_slice(chunk);
            while let Some(frame) = decoder.decode(&mut input).unwrap() {
                seen.push(frame);
            }
        }
        prop_assert_eq!(joined(seen), joined(frames));
    }

    /// Noise is refused or skipped; it never panics and never makes the decoder hoard.
    #[test]
    fn noise_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = all(&mut Decoder::new(), &bytes);
        let spoken = [&[0x80, 3, 0, 1, 0, 0][..], &bytes].concat();
        let _ = all(&mut Decoder::new(), &spoken);
    }
}
