//! Layers entry by entry, with nothing checked: hostile archives are made here too.

use std::io::Write as _;

use tar::{EntryType, Header};

/// How a layer's archive is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// The common case.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
    /// A bare tar.
    None,
}

impl Compression {
    /// The OCI media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::None => "application/vnd.oci.image.layer.v1.tar",
        }
    }

    /// Packs `bytes`, quickly rather than tightly.
    ///
    /// # Panics
    /// Never in practice: memory is written to.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Zstd => zstd::encode_all(bytes, 1).expect("memory takes all bytes"),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).expect("memory takes all bytes");
                encoder.finish().expect("memory takes all bytes")
            }
        }
    }
}

/// A tar archive in the making. Names are written as given: `..`, `/` and NUL included.
#[derive(Clone, Debug, Default)]
pub struct FixtureLayer {
    archive: Vec<u8>,
    compression: Compression,
}

impl FixtureLayer {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs the layer otherwise than with gzip.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// A folder owned by root.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, "", b"")
    }

    /// A file owned by root.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, "", content.as_ref())
    }

    /// A file with an owner and a time in seconds since 1970.
    #[must_use]
    pub fn file_of(self, path: &str, mode: u32, owner: (u32, u32), mtime: u64, content: &[u8]) -> Self {
        let mut header = header(EntryType::Regular, mode, content.len() as u64);
        header.set_uid(owner.0.into());
        header.set_gid(owner.1.into());
        header.set_mtime(mtime);
        self.append(header, path, "", content)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, target, b"")
    }

    /// A hard link.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, target, b"")
    }

    /// A character device.
    #[must_use]
    pub fn device(self, path: &str, major: u32, minor: u32) -> Self {
        let mut header = header(EntryType::Char, 0o666, 0);
        header.set_device_major(major).expect("the header has room for devices");
        header.set_device_minor(minor).expect("the header has room for devices");
        self.append(header, path, "", b"")
    }

    /// Deletes `path` from the layers below.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let (folder, name) =
            path.rsplit_once('/').map_or((String::new(), path), |(f, n)| (format!("{f}/"), n));
        self.file(&format!("{folder}.wh.{name}"), 0o644, b"")
    }

    /// Hides what the layers below have in the folder `path`.
    #[must_use]
    pub fn opaque(self, path: &str) -> Self {
        self.file(&format!("{path}/.wh..wh..opq"), 0o644, b"")
    }

    /// A file with extended attributes.
    #[must_use]
    pub fn file_with_xattr(mut self, path: &str, name: &str, value: &[u8]) -> Self {
        let record = pax_record(&format!("SCHILY.xattr.{name}"), value);
        let header = header(EntryType::XHeader, 0o644, record.len() as u64);
        self = self.append(header, "pax", "", &record);
        self.file(path, 0o644, b"x")
    }

    /// An entry that claims `size` bytes and brings none.
    #[must_use]
    pub fn lying_file(mut self, path: &str, size: u64) -> Self {
        let mut header = header(EntryType::Regular, 0o644, size);
        set_name(&mut header.as_old_mut().name, path.as_bytes());
        header.set_cksum();
        self.archive.extend_from_slice(header.as_bytes());
        self
    }

    /// Any entry.
    #[must_use]
    pub fn entry(self, kind: EntryType, path: &str, mode: u32, target: &str, content: &[u8]) -> Self {
        self.append(header(kind, mode, content.len() as u64), path, target, content)
    }

    fn append(mut self, mut header: Header, path: &str, target: &str, content: &[u8]) -> Self {
        if path.len() > NAME_BYTES {
            self.long_name(EntryType::GNULongName, path);
        }
        if target.len() > NAME_BYTES {
            self.long_name(EntryType::GNULongLink, target);
        }
        set_name(&mut header.as_old_mut().name, path.as_bytes());
        set_name(&mut header.as_old_mut().linkname, target.as_bytes());
        header.set_cksum();
        self.archive.extend_from_slice(header.as_bytes());
        self.content(content);
        self
    }

    fn long_name(&mut self, kind: EntryType, name: &str) {
        let mut header = header(kind, 0o644, name.len() as u64 + 1);
        set_name(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_cksum();
        self.archive.extend_from_slice(header.as_bytes());
        self.content(&[name.as_bytes(), b"\0"].concat());
    }

    fn content(&mut self, content: &[u8]) {
        self.archive.extend_from_slice(content);
        let padding = content.len().next_multiple_of(BLOCK) - content.len();
        self.archive.resize(self.archive.len() + padding, 0);
    }

    /// The archive, closed, without compression.
    pub fn tar(&self) -> Vec<u8> {
        let mut archive = self.archive.clone();
        archive.resize(archive.len() + 2 * BLOCK, 0);
        archive
    }

    /// The archive as it is stored, and its media type.
    pub fn packed(&self) -> (Vec<u8>, &'static str) {
        (self.compression.pack(&self.tar()), self.compression.media_type())
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn set_name(field: &mut [u8; NAME_BYTES], name: &[u8]) {
    let length = name.len().min(NAME_BYTES);
    field.fill(0);
    field[..length].copy_from_slice(&name[..length]);
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

const NAME_BYTES: usize = 100;
const BLOCK: usize = 512;
