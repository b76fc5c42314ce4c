//! Rules F4 and F5, each by the smallest object that shows it.

mod apply;
mod conflicts;
mod fields;
mod record;
mod typed;

use outrigger_api::{KindInfo, Object, Registry, StatusError, WallTime};
use serde_json::{Value, json};

use super::{ApiType, Applied, Managed, OneVersion, Versions, Writer, apply, record};
use crate::strategy::Endpoint;

/// One object and its writers; time goes on by a second with each write.
struct Story {
    kind: KindInfo,
    object: Option<Object>,
    seconds: i64,
    versions: &'static dyn Versions,
}

impl Story {
    fn of(group: &str, plural: &str) -> Self {
        let kind = Registry::builtin().find(group, "v1", plural).unwrap();
        Self { kind: (*kind).clone(), object: None, seconds: 0, versions: &OneVersion }
    }

    fn config_map() -> Self {
        Self::of("", "configmaps")
    }

    fn body(&self, body: Value) -> Object {
        let mut object = Object::from_value(body).unwrap();
        object.0.insert("apiVersion".to_owned(), json!(self.kind.api_version()));
        object.0.insert("kind".to_owned(), json!(self.kind.kind));
        if object.name().is_empty() {
            object.metadata_mut().insert("name".to_owned(), json!("x"));
        }
        object
    }

    fn writer<'a>(&mut self, manager: &'a str, subresource: &'a str) -> Writer<'a> {
        self.seconds += 1;
        Writer {
            manager,
            endpoint: Endpoint::from_subresource(subresource).unwrap_or(Endpoint::Main),
            subresource,
            now: WallTime::from_second(self.seconds).unwrap(),
            versions: self.versions,
        }
    }

    fn keep(&mut self, mut object: Object, managed: &Managed) {
        managed.write_to(&mut object);
        self.object = Some(object);
    }

    fn try_apply(&mut self, manager: &str, body: Value, force: bool) -> Result<Applied, StatusError> {
        let (body, writer) = (self.body(body), self.writer(manager, ""));
        apply(&self.kind, self.object.as_ref(), &body, &writer, force)
    }

    fn apply(&mut self, manager: &str, body: Value) {
        let applied = self.try_apply(manager, body, false).unwrap();
        self.keep(applied.object, &applied.managed);
    }

    fn force(&mut self, manager: &str, body: Value) {
        let applied = self.try_apply(manager, body, true).unwrap();
        self.keep(applied.object, &applied.managed);
    }

    /// A create, or a PUT.
    fn write(&mut self, manager: &str, body: Value) {
        self.write_through(manager, "", body);
    }

    fn write_through(&mut self, manager: &str, subresource: &str, body: Value) {
        let (body, writer) = (self.body(body), self.writer(manager, subresource));
        let managed = record(&self.kind, self.object.as_ref(), &body, &writer);
        self.keep(body, &managed);
    }

    fn now(&self) -> &Object {
        self.object.as_ref().unwrap()
    }

    fn at(&self, path: &[&str]) -> Value {
        self.now().at(path).cloned().unwrap_or_default()
    }

    /// Each manager with what it owns: `kubectl/Apply`, `kubelet/Update/status`.
    fn owners(&self) -> Value {
        let managers = Managed::of(self.now()).0.into_iter().map(|manager| {
            let mut name = format!("{}/{}", manager.name, manager.operation.word());
            if !manager.subresource.is_empty() {
                name = format!("{name}/{}", manager.subresource);
            }
            (name, manager.fields.encode())
        });
        Value::Object(managers.collect())
    }
}
