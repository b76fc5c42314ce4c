//! DefaultIngressClass: who serves an Ingress that names no class (I44).

use outrigger_api::{Object, StatusError};
use serde_json::{Value, json};

use super::Lookup;

const MARK: &str = "ingressclass.kubernetes.io/is-default-class";
/// How it was said before there was a field.
const OLD: &str = "kubernetes.io/ingress.class";

/// Fills in the one class that is marked as default.
pub(super) fn default_class(ingress: &mut Object, lookup: &dyn Lookup) -> Result<(), StatusError> {
    let named = ingress.at(&["spec", "ingressClassName"]).is_some_and(|name| !name.is_null())
        || ingress.at(&["metadata", "annotations", OLD]).is_some_and(|name| !name.is_null());
    if named {
        return Ok(());
    }
    let marked =
        |class: &Object| class.at(&["metadata", "annotations", MARK]).and_then(Value::as_str) == Some("true");
    let mut classes: Vec<Object> = lookup.ingress_classes().into_iter().filter(marked).collect();
    match classes.len() {
        0 => return Ok(()),
        1 => {}
        several => {
            let why = format!(
                "Internal error occurred: {several} default IngressClasses were found, only 1 allowed"
            );
            return Err(StatusError::forbidden(
                "ingresses",
                "networking.k8s.io",
                super::shown_name(ingress),
                &why,
            ));
        }
    }
    let class = classes.remove(0);
    *ingress.entry(&["spec", "ingressClassName"]) = json!(class.name());
    Ok(())
}
