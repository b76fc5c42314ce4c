//! Manifests from files, folders and standard input, as objects with the place they came from.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outrigger_api::{KindInfo, Object, Registry};
use serde_json::Value;

use crate::failure::{BAD_MANIFEST, Failure};
use crate::places::{Place, Places};

/// One object of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// `pod.yaml (document 2)`.
    pub(crate) place: String,
    pub(crate) object: Object,
    pub(crate) kind: Arc<KindInfo>,
    file: String,
    places: Arc<Places>,
    /// `items[2].`, if it was part of a list.
    within: String,
}

impl Manifest {
    /// `pod.yaml:12:5: spec.containers[0].image: WHY`.
    pub(crate) fn complaint(&self, path: &str, why: &str) -> String {
        let full = format!("{}{path}", self.within);
        self.complaint_at(self.places.find(full.trim_end_matches('.')), path, why)
    }

    /// The same for a path in which list indexes are missing.
    pub(crate) fn complaint_bare(&self, path: &str, why: &str) -> String {
        self.complaint_at(self.places.find_bare(path), path, why)
    }

    fn complaint_at(&self, place: Option<Place>, path: &str, why: &str) -> String {
        let place = place.map(|place| format!(":{place}")).unwrap_or_default();
        let field = if path.is_empty() { String::new() } else { format!("{path}: ") };
        format!("{}{place}: {field}{why}", self.file)
    }
}

/// Reads everything, in the order given; folders by file name.
pub(crate) fn read(files: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let registry = Registry::builtin();
    let mut manifests = Vec::new();
    for file in files {
        for (name, text) in texts(file)? {
            parse(&registry, &name, &text, &mut manifests)?;
        }
    }
    if manifests.is_empty() {
        return Err(Failure::new(BAD_MANIFEST, "no objects found in the given files"));
    }
    Ok(manifests)
}

fn texts(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let bad = |path: &Path, error: std::io::Error| {
        Failure::new(BAD_MANIFEST, format!("cannot read {}: {error}", path.display()))
    };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| bad(Path::new("standard input"), error))?;
        return Ok(vec![("standard input".to_owned(), text)]);
    }
    if !path.is_dir() {
        let text = std::fs::read_to_string(path).map_err(|error| bad(path, error))?;
        return Ok(vec![(path.display().to_string(), text)]);
    }
    let entries = std::fs::read_dir(path).map_err(|error| bad(path, error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
    });
    files.sort();
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).map_err(|error| bad(file, error))?;
        Ok((file.display().to_string(), text))
    };
    files.iter().map(read).collect()
}

fn parse(registry: &Registry, name: &str, text: &str, manifests: &mut Vec<Manifest>) -> Result<(), Failure> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let place = error.location().map(|location| format!(":{}", Place::from(location)));
        Failure::new(BAD_MANIFEST, format!("{name}{}: {error}", place.unwrap_or_default()))
    })?;
    let mut places = Places::of(text);
    places.resize_with(documents.len(), Places::default);
    for (index, (document, places)) in documents.into_iter().zip(places).enumerate() {
        if document.is_null() {
            continue;
        }
        let source =
            Source { name, place: format!("{name} (document {})", index + 1), places: places.into() };
        let is_list = document.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        let list = document.get("items").and_then(Value::as_array).filter(|_| is_list).cloned();
        match list {
            None => manifests.push(manifest(registry, &source, String::new(), document)?),
            Some(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    manifests.push(manifest(registry, &source, format!("items[{index}]."), item)?);
                }
            }
        }
    }
    Ok(())
}

/// One document of a file.
struct Source<'a> {
    name: &'a str,
    place: String,
    places: Arc<Places>,
}

fn manifest(
    registry: &Registry,
    source: &Source<'_>,
    within: String,
    value: Value,
) -> Result<Manifest, Failure> {
    let at = source.places.find(within.trim_end_matches('.')).map(|place| format!(":{place}"));
    let at = format!("{}{}", source.name, at.unwrap_or_default());
    let bad = |why: String| Failure::new(BAD_MANIFEST, format!("{at}: {why}"));
    let Some(object) = Object::from_value(value) else { return Err(bad("not an object".to_owned())) };
    for member in ["apiVersion", "kind"] {
        if object.str_at(&[member]).is_empty() {
            return Err(bad(format!("{member}: missing; every object names its {member}")));
        }
    }
    let (group, version) = object.api_version().split_once('/').unwrap_or(("", object.api_version()));
    let kind = registry.by_kind(group, version, object.kind());
    let Some(kind) = kind else {
        return Err(bad(format!("no kind {:?} in version {:?}", object.kind(), object.api_version())));
    };
    let (place, places, file) = (source.place.clone(), source.places.clone(), source.name.to_owned());
    Ok(Manifest { place, object, kind, file, places, within })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Manifest>, Failure> {
        let mut manifests = Vec::new();
        parse(&Registry::builtin(), "x.yaml", text, &mut manifests).map(|()| manifests)
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "apiVersion: v1\nkind: Pod\n---\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n";
        let kinds: Vec<String> = of(text).unwrap().iter().map(|one| one.kind.kind.to_string()).collect();
        assert_eq!(kinds, ["Pod", "ConfigMap"]);
    }

    #[test]
    fn mistakes_name_file_and_place() {
        let error = of("a: [1\nb: 2\n").unwrap_err();
        assert_eq!(error.code, BAD_MANIFEST);
        assert!(error.to_string().contains("x.yaml") && error.to_string().contains("line"), "{error}");
        assert!(of("kind: Pod\n").unwrap_err().to_string().contains("apiVersion"));
        assert!(of("apiVersion: v1\nkind: Pot\n").unwrap_err().to_string().contains("\"Pot\""));
    }
}
