//! `metadata.managedFields`: who owns what, read and written (F5a, F5b, F5h, F5j).

use outrigger_api::Object;
use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// It applied them.
    Apply,
    /// It wrote them in any other way.
    Update,
}

impl Operation {
    /// The word in the entry.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// Who writes.
    pub name: String,
    /// How.
    pub operation: Operation,
    /// Through which subresource; empty for the object itself.
    pub subresource: String,
    /// The version `fields` speaks.
    pub api_version: String,
    /// RFC 3339, of the last write that gave it fields.
    pub time: Option<String>,
    /// What it owns.
    pub fields: FieldSet,
}

impl Manager {
    /// Whether both are one manager (F5b).
    pub fn is_same(&self, other: &Self) -> bool {
        self.operation == other.operation
            && self.name == other.name
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As messages name it (F4j).
    pub fn printed(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }

    fn encode(&self) -> Value {
        let mut entry = json!({
            "manager": self.name,
            "operation": self.operation.word(),
            "apiVersion": self.api_version,
            "fieldsType": FIELDS_V1,
            "fieldsV1": self.fields.encode(),
        });
        if let Some(time) = &self.time {
            entry["time"] = json!(time);
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }

    fn decode(entry: &Value) -> Result<Self, String> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            other => return Err(format!("operation must be Apply or Update, not {other:?}")),
        };
        if text("fieldsType") != FIELDS_V1 {
            return Err(format!("fieldsType must be {FIELDS_V1}"));
        }
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
        let fields = match entry.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::decode(fields)?,
        };
        Ok(Self {
            name: text("manager"),
            operation,
            subresource: text("subresource"),
            api_version,
            time,
            fields,
        })
    }
}

const FIELDS_V1: &str = "FieldsV1";
/// How many entries of writes other than applies are kept (F5h).
const MOST_UPDATES: usize = 10;
/// Who owns what the oldest of them wrote (F5h).
const ANCIENT: &str = "ancient-changes";

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed(pub Vec<Manager>);

impl Managed {
    /// Those of a stored object. Entries nobody can read count as none (F5j).
    pub fn of(object: &Object) -> Self {
        let entries = object.at(&["metadata", "managedFields"]).and_then(Value::as_array);
        Self::decode(entries.map_or(&[][..], Vec::as_slice)).unwrap_or_default()
    }

    /// Those a write starts from: the request's, if it brings any that can be read, else the stored ones; none if it
    /// resets them (F5j). Subresources cannot set them.
    pub fn of_write(old: &Object, new: &Object, subresource: &str) -> Self {
        if !subresource.is_empty() {
            return Self::of(old);
        }
        match new.at(&["metadata", "managedFields"]).and_then(Value::as_array).map(Vec::as_slice) {
            Some([]) => Self::default(),
            Some([only]) if only.as_object().is_some_and(Map::is_empty) => Self::default(),
            Some(entries) => Self::decode(entries).unwrap_or_else(|_| Self::of(old)),
            None => Self::of(old),
        }
    }

    fn decode(entries: &[Value]) -> Result<Self, String> {
        let mut managed = Self::default();
        for entry in entries {
            managed.put(Manager::decode(entry)?);
        }
        Ok(managed)
    }

    /// Adds a manager, or takes the place of the same one; without fields it is no manager (F5m).
    pub fn put(&mut self, manager: Manager) {
        self.0.retain(|other| !other.is_same(&manager));
        if !manager.fields.is_empty() {
            self.0.push(manager);
        }
    }

    /// The same manager's entry, taken out.
    pub fn take(&mut self, manager: &Manager) -> Option<Manager> {
        let index = self.0.iter().position(|other| other.is_same(manager))?;
        Some(self.0.remove(index))
    }

    /// Writes the entries into an object, sorted (F5b); where there are none, not even an empty list.
    pub fn write_to(&self, object: &mut Object) {
        let mut sorted: Vec<&Manager> = self.0.iter().filter(|manager| !manager.fields.is_empty()).collect();
        // Texts of one form and zone sort as times do.
        sorted.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        let entries: Vec<Value> = sorted.into_iter().map(Manager::encode).collect();
        if entries.is_empty() {
            object.metadata_mut().remove("managedFields");
        } else {
            object.metadata_mut().insert("managedFields".to_owned(), Value::Array(entries));
        }
    }

    /// Joins the oldest entries of one version until few enough are left (F5h).
    pub fn cap_updates(&mut self) {
        let mut updates: Vec<Manager> =
            self.0.iter().filter(|manager| manager.operation == Operation::Update).cloned().collect();
        let mut left = updates.len();
        updates.sort_by(|a, b| {
            let key =
                |manager: &Manager| (manager.time.clone(), manager.name.clone(), manager.subresource.clone());
            key(a).cmp(&key(b))
        });
        let mut first_of_version: Vec<Manager> = Vec::new();
        for update in updates {
            if left <= MOST_UPDATES {
                return;
            }
            let Some(first) = first_of_version.iter().find(|first| first.api_version == update.api_version)
            else {
                first_of_version.push(update);
                continue;
            };
            let mut bucket = Manager {
                name: ANCIENT.to_owned(),
                subresource: String::new(),
                time: update.time.clone(),
                ..update.clone()
            };
            // The first of its version becomes the bucket when a second one joins it.
            let earlier = self.take(&bucket).or_else(|| self.take(first));
            bucket.fields.extend(earlier.map(|earlier| earlier.fields).unwrap_or_default());
            self.take(&update);
            self.put(bucket);
            left -= 1;
        }
    }
}

fn sort_key(manager: &Manager) -> (Operation, Option<&str>, &str, &str, &str) {
    (manager.operation, manager.time.as_deref(), &manager.name, &manager.api_version, &manager.subresource)
}
