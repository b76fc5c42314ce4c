//! The one file: current keys and the newest revision, in redb.
//!
//! | table | key | value |
//! |---|---|---|
//! | `keys` | the key | create revision, last revision, expiry (wall clock, milliseconds, 0 is never), the value |
//! | `meta` | `revision` | the newest revision |
//!
//! Only the present is stored; history lives in memory. Numbers are little endian.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use super::index::Change;
use crate::{Error, KeyValue, Revision};

const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
/// The database's own cache; its default is a share of memory fit for servers.
const CACHE_BYTES: usize = 4 << 20;
/// Fixed part of a stored value.
const HEADER: usize = 24;

/// A change on its way to disk.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) change: Change,
    /// When the key expires, in milliseconds of the wall clock.
    pub(super) expires_at: Option<i64>,
}

/// What a file held.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) revision: Revision,
    /// Keys with their expiry.
    pub(super) keys: Vec<(KeyValue, Option<i64>)>,
}

/// The open file. After a failed write it is closed and opened anew before the next one, because only a fresh look at
/// the file tells what of the failed write is in it.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    database: Option<Database>,
}

impl Disk {
    /// Opens or makes the file and reads it whole.
    pub(super) fn open(path: &Path) -> Result<(Self, Loaded), Error> {
        let database = open(path)?;
        let loaded = load(&database).map_err(|failure| failure.at(path))?;
        Ok((Self { path: path.to_owned(), database: Some(database) }, loaded))
    }

    /// Writes the records in one transaction and syncs it. On an error nothing of it is in the file; a write whose
    /// outcome the system left open is looked up before this returns.
    pub(super) fn commit(&mut self, records: &[Record], before: Revision) -> Result<(), Error> {
        let Some(last) = records.last().map(|record| record.change.revision) else { return Ok(()) };
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen(before)?,
        };
        match write(&database, records, last) {
            Ok(()) => {
                self.database = Some(database);
                Ok(())
            }
            Err(failure) => {
                drop(database);
                let failure = failure.at(&self.path);
                let Ok(database) = open(&self.path) else { return Err(failure) };
                let found = read_revision(&database).ok();
                self.database = Some(database);
                if found == Some(last) { Ok(()) } else { Err(failure) }
            }
        }
    }

    /// Opens the file again. What it holds must be what is in memory, else the two would part for good.
    fn reopen(&self, expected: Revision) -> Result<Database, Error> {
        let database = open(&self.path)?;
        let found = read_revision(&database).map_err(|failure| failure.at(&self.path))?;
        if found == expected {
            return Ok(database);
        }
        let text = format!("the file is at revision {found}, memory at {expected}: restart to read it anew");
        Err(Error::Unavailable(text.into()))
    }
}

/// A failure before it is known whose file it was.
#[derive(Debug)]
enum Failure {
    Database(Box<redb::Error>),
    Format(String),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl Failure {
    fn at(self, path: &Path) -> Error {
        let corrupt = |cause: String| Error::Corrupt { path: path.display().to_string(), cause };
        match self {
            Self::Format(cause) => corrupt(cause),
            Self::Database(error) => match *error {
                redb::Error::Corrupted(cause) => corrupt(cause),
                redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                    corrupt(error.to_string())
                }
                other => Error::Unavailable(Box::new(other)),
            },
        }
    }
}

fn open(path: &Path) -> Result<Database, Error> {
    let opened = Database::builder().set_cache_size(CACHE_BYTES).create(path);
    opened.map_err(|error| match error {
        DatabaseError::Storage(StorageError::Corrupted(cause)) => Failure::Format(cause).at(path),
        other => Failure::from(other).at(path),
    })
}

fn read_revision(database: &Database) -> Result<Revision, Failure> {
    let read = database.begin_read()?;
    let meta = read.open_table(META)?;
    Ok(meta.get(REVISION)?.map_or(1, |revision| revision.value()))
}

fn load(database: &Database) -> Result<Loaded, Failure> {
    // A new file gets its tables, so that reading never meets their absence.
    let begin = database.begin_write()?;
    begin.open_table(KEYS)?;
    begin.open_table(META)?;
    begin.commit()?;
    let revision = read_revision(database)?;
    let read = database.begin_read()?;
    let table = read.open_table(KEYS)?;
    let mut keys = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        keys.push(decode(key.value(), value.value(), revision)?);
    }
    Ok(Loaded { revision, keys })
}

fn write(database: &Database, records: &[Record], last: Revision) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    {
        let mut keys = transaction.open_table(KEYS)?;
        let mut bytes = Vec::new();
        for Record { change, expires_at } in records {
            match &change.current {
                Some(kv) => {
                    encode(&mut bytes, kv, *expires_at);
                    keys.insert(&*change.key, bytes.as_slice())?;
                }
                None => {
                    keys.remove(&*change.key)?;
                }
            }
        }
        transaction.open_table(META)?.insert(REVISION, last)?;
    }
    transaction.commit()?;
    Ok(())
}

fn encode(bytes: &mut Vec<u8>, kv: &KeyValue, expires_at: Option<i64>) {
    bytes.clear();
    bytes.extend_from_slice(&kv.create_revision.to_le_bytes());
    bytes.extend_from_slice(&kv.mod_revision.to_le_bytes());
    bytes.extend_from_slice(&expires_at.unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&kv.value);
}

fn decode(key: &str, bytes: &[u8], newest: Revision) -> Result<(KeyValue, Option<i64>), Failure> {
    let number = |at: usize| -> Option<[u8; 8]> { bytes.get(at..at + 8)?.try_into().ok() };
    let (Some(create), Some(modified), Some(expiry)) = (number(0), number(8), number(16)) else {
        return Err(Failure::Format(format!("the value of {key} has only {} bytes", bytes.len())));
    };
    let (create_revision, mod_revision) = (u64::from_le_bytes(create), u64::from_le_bytes(modified));
    if create_revision > mod_revision || mod_revision > newest {
        return Err(Failure::Format(format!(
            "{key} was last written at {mod_revision}, after the end {newest}"
        )));
    }
    let kv = KeyValue {
        key: Arc::from(key),
        value: Bytes::copy_from_slice(&bytes[HEADER..]),
        create_revision,
        mod_revision,
    };
    Ok((kv, Some(i64::from_le_bytes(expiry)).filter(|expiry| *expiry != 0)))
}
