//! Which representation a client wants: media type and conversion (B9-B12).

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};
use outrigger_api::status::{Details, Reason};
use outrigger_api::{KindInfo, StatusError};

use crate::protobuf;
use crate::request::Query;
use crate::respond::Layout;

/// The shape of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object or list itself.
    Plain,
    /// `as=Table`.
    Table(MetaVersion),
    /// `as=PartialObjectMetadata`.
    Metadata(MetaVersion),
    /// `as=PartialObjectMetadataList`.
    MetadataList(MetaVersion),
}

/// The version of `meta.k8s.io` asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    V1,
    V1beta1,
}

impl MetaVersion {
    /// `meta.k8s.io/v1`.
    pub(crate) const fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The outcome of negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) layout: Layout,
    pub(crate) shape: Shape,
}

/// What the endpoint can do beyond plain objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// One object: Table and PartialObjectMetadata.
    Object,
    /// A list: Table and PartialObjectMetadataList.
    List,
    /// A watch: no YAML, with Table and PartialObjectMetadata.
    Watch,
    /// No conversions (G8).
    PlainOnly,
}

/// Whether there is a protobuf form of what is asked for: custom kinds and documents have none (B5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protobuf {
    Offered,
    None,
}

impl Protobuf {
    /// That of a kind.
    pub(crate) fn of(kind: &KindInfo) -> Self {
        if kind.custom { Self::None } else { Self::Offered }
    }

    /// The media types served, as messages list them.
    const fn media_types(self) -> &'static str {
        match self {
            Self::Offered => "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            Self::None => "application/json, application/yaml",
        }
    }

    const fn watch_types(self) -> &'static str {
        match self {
            Self::Offered => {
                "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
            }
            Self::None => "application/json;stream=watch",
        }
    }
}

/// Chooses the best clause of `Accept` this endpoint can serve.
///
/// # Errors
/// 406 in the wordings of B9 and B11.
pub(crate) fn negotiate(
    headers: &HeaderMap,
    query: &Query,
    endpoint: Endpoint,
    offer: Protobuf,
) -> Result<Accepted, StatusError> {
    let header =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let indented = wants_indented(headers, query);
    let json = if indented { Layout::Indented } else { Layout::Compact };
    if header.trim().is_empty() {
        return Ok(Accepted { layout: json, shape: Shape::Plain });
    }
    let mut unusable = None;
    for clause in clauses(&header) {
        let layout = match clause.media_type {
            "application/json" | "*/*" => {
                if clause.pretty {
                    Layout::Indented
                } else {
                    json
                }
            }
            "application/yaml" if endpoint != Endpoint::Watch => Layout::Yaml,
            protobuf::MEDIA_TYPE if offer == Protobuf::Offered => Layout::Protobuf,
            _ => continue,
        };
        if layout == Layout::Protobuf && !clause.conversion.is_empty() {
            // B10, B11: conversions are answered in JSON, which every client that asks for one lists too.
            unusable = unusable.or_else(|| Some(only_accepted(offer)));
            continue;
        }
        match clause.shape(endpoint, offer) {
            Ok(shape) => return Ok(Accepted { layout, shape }),
            Err(error) => unusable = unusable.or(Some(error)),
        }
    }
    Err(unusable.unwrap_or_else(|| no_representation(endpoint, offer)))
}

/// The clauses in order of preference: by weight, then as written.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> =
        header.split(',').map(Clause::parse).filter(|clause| clause.weight > 0).collect();
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.weight));
    clauses
}

/// One clause of an Accept header.
#[derive(Debug, Default)]
pub(crate) struct Clause<'a> {
    pub(crate) media_type: &'a str,
    /// Thousandths.
    weight: u32,
    pretty: bool,
    pub(crate) conversion: &'a str,
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut clause =
            Clause { media_type: parts.next().unwrap_or_default(), weight: 1000, ..Self::default() };
        for parameter in parts {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match key.trim() {
                "q" => clause.weight = thousandths(value.trim()),
                "as" => clause.conversion = value.trim(),
                "g" => clause.group = value.trim(),
                "v" => clause.version = value.trim(),
                "pretty" => clause.pretty = value.trim() == "1",
                _ => {}
            }
        }
        clause
    }

    fn shape(&self, endpoint: Endpoint, offer: Protobuf) -> Result<Shape, StatusError> {
        if self.conversion.is_empty() {
            return Ok(Shape::Plain);
        }
        let version = match (self.group, self.version) {
            ("meta.k8s.io", "v1") => MetaVersion::V1,
            ("meta.k8s.io", "v1beta1") => MetaVersion::V1beta1,
            _ => return Err(only_accepted(offer)),
        };
        match (self.conversion, endpoint) {
            ("Table", Endpoint::Object | Endpoint::List | Endpoint::Watch) => Ok(Shape::Table(version)),
            ("PartialObjectMetadata", Endpoint::Object | Endpoint::Watch) => Ok(Shape::Metadata(version)),
            ("PartialObjectMetadataList", Endpoint::List | Endpoint::Watch) => {
                Ok(Shape::MetadataList(version))
            }
            ("PartialObjectMetadata", Endpoint::List) => {
                Err(not_acceptable("you requested PartialObjectMetadata, but the requested object is a list"))
            }
            ("PartialObjectMetadataList", Endpoint::Object) => Err(not_acceptable(
                "you requested PartialObjectMetadataList, but the requested object is not a list",
            )),
            _ => Err(only_accepted(offer)),
        }
    }
}

/// All clauses, for discovery, whose conversions are its own.
pub(crate) fn accept_clauses(header: &str) -> Vec<Clause<'_>> {
    clauses(header)
}

/// A `q` value in thousandths; unreadable ones count as one.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let Ok(whole) = whole.parse::<u32>() else { return 1000 };
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    (whole * 1000 + digits.parse().unwrap_or(0)).min(1000)
}

/// B12.
fn wants_indented(headers: &HeaderMap, query: &Query) -> bool {
    if query.find("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix))
}

fn not_acceptable(message: impl Into<String>) -> StatusError {
    StatusError::new(406, Reason::NotAcceptable, message)
}

fn only_accepted(offer: Protobuf) -> StatusError {
    not_acceptable(format!("only the following media types are accepted: {}", offer.media_types()))
}

fn no_representation(endpoint: Endpoint, offer: Protobuf) -> StatusError {
    let (types, streams) = (offer.media_types(), offer.watch_types());
    if endpoint == Endpoint::Watch {
        return not_acceptable(format!("only the following media types are accepted: {streams}"));
    }
    let streams = if endpoint == Endpoint::List { format!(", {streams}") } else { String::new() };
    let mut error =
        not_acceptable(format!("406: Not Acceptable\n\nAvailable representations: {types}{streams}"));
    error.details = Some(Details::default());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(accept: &str, endpoint: Endpoint) -> Result<Accepted, StatusError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, &Query::default(), endpoint, Protobuf::Offered)
    }

    /// B10
    #[test]
    fn kubectl_gets_a_table() {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;\
                      g=meta.k8s.io,application/json";
        assert_eq!(shape_of(accept, Endpoint::List).unwrap().shape, Shape::Table(MetaVersion::V1));
        assert_eq!(shape_of(accept, Endpoint::PlainOnly).unwrap().shape, Shape::Plain);
    }

    /// B11
    #[test]
    fn metadata_clients_get_json_though_they_prefer_protobuf() {
        let accept = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                      application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        assert_eq!(shape_of(accept, Endpoint::List).unwrap().shape, Shape::MetadataList(MetaVersion::V1));
        let error = shape_of("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Endpoint::List);
        assert_eq!(error.unwrap_err().code, 406);
    }

    /// B9
    #[test]
    fn accept_is_read_by_weight_and_refused_when_nothing_fits() {
        let accept = "application/json;q=0.2, application/yaml;q=0.9";
        assert_eq!(shape_of(accept, Endpoint::Object).unwrap().layout, Layout::Yaml);
        assert_eq!(shape_of("application/*", Endpoint::Object).unwrap_err().code, 406);
        let error = shape_of("application/yaml", Endpoint::Watch).unwrap_err();
        assert_eq!(
            error.message,
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        );
    }

    /// B4, B5, B9
    #[test]
    fn protobuf_is_spoken_where_the_kind_has_a_form() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "application/vnd.kubernetes.protobuf,application/json".parse().unwrap());
        let layout = |endpoint, offer| {
            negotiate(&headers, &Query::default(), endpoint, offer).map(|accepted| accepted.layout)
        };
        assert_eq!(layout(Endpoint::List, Protobuf::Offered).unwrap(), Layout::Protobuf);
        assert_eq!(layout(Endpoint::Watch, Protobuf::Offered).unwrap(), Layout::Protobuf);
        assert_eq!(layout(Endpoint::List, Protobuf::None).unwrap(), Layout::Compact);
        headers.insert(ACCEPT, "application/vnd.kubernetes.protobuf".parse().unwrap());
        let error = negotiate(&headers, &Query::default(), Endpoint::Object, Protobuf::None).unwrap_err();
        assert_eq!(error.code, 406);
    }

    /// B12
    #[test]
    fn curl_gets_indented_json_unless_it_declines() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, "curl/8.5".parse().unwrap());
        let plain = negotiate(&headers, &Query::default(), Endpoint::Object, Protobuf::None).unwrap();
        assert_eq!(plain.layout, Layout::Indented);
        let query = Query::of(&"/x?pretty=false".parse().unwrap());
        let compact = negotiate(&headers, &query, Endpoint::Object, Protobuf::None).unwrap();
        assert_eq!(compact.layout, Layout::Compact);
    }
}
