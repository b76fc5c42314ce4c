//! Who may do what, and how requests are shaped: certificates, admission, flow control.

use serde_json::json;

use super::tree::Tree;
use super::{AGE, NAME, Printer, integer, text};
use crate::age::duration;

pub(super) const CERTIFICATE_SIGNING_REQUEST: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        text("SignerName"),
        text("Requestor"),
        text("RequestedDuration"),
        text("Condition"),
    ],
    cells: |request, now| {
        let lasts = match request.at("spec.expirationSeconds").0.as_i64() {
            Some(seconds) => duration(seconds, false),
            None => "<none>".to_owned(),
        };
        vec![
            request.age(now),
            json!(request.text("spec.signerName")),
            json!(request.text("spec.username")),
            json!(lasts),
            json!(condition(request)),
        ]
    },
};

fn condition(request: Tree<'_>) -> String {
    let mut text = if request.condition("Denied").is_some() {
        "Denied"
    } else if request.condition("Approved").is_some() {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if request.condition("Failed").is_some() {
        text.push_str(",Failed");
    }
    if !request.text("status.certificate").is_empty() {
        text.push_str(",Issued");
    }
    text
}

pub(super) const VALIDATING_POLICY: Printer = Printer {
    columns: &[NAME, integer("Validations"), text("ParamKind"), AGE],
    cells: |policy, now| {
        vec![json!(policy.count("spec.validations")), json!(parameter_kind(policy)), policy.age(now)]
    },
};

pub(super) const MUTATING_POLICY: Printer = Printer {
    columns: &[NAME, integer("Mutations"), text("ParamKind"), AGE],
    cells: |policy, now| {
        vec![json!(policy.count("spec.mutations")), json!(parameter_kind(policy)), policy.age(now)]
    },
};

fn parameter_kind(policy: Tree<'_>) -> String {
    let kind = policy.at("spec.paramKind");
    if kind.is_null() {
        "<unset>".to_owned()
    } else {
        format!("{}/{}", kind.text("apiVersion"), kind.text("kind"))
    }
}

pub(super) const POLICY_BINDING: Printer = Printer {
    columns: &[NAME, text("PolicyName"), text("ParamRef"), AGE],
    cells: |binding, now| {
        let reference = binding.at("spec.paramRef");
        let text = if reference.is_null() {
            "<unset>".to_owned()
        } else if reference.text("name").is_empty() {
            reference.selector("selector", "<none>")
        } else {
            format!("{}/{}", reference.text_or("namespace", "*"), reference.text("name"))
        };
        vec![json!(binding.text("spec.policyName")), json!(text), binding.age(now)]
    },
};

pub(super) const FLOW_SCHEMA: Printer = Printer {
    columns: &[
        NAME,
        text("PriorityLevel"),
        integer("MatchingPrecedence"),
        text("DistinguisherMethod"),
        AGE,
        text("MissingPL"),
    ],
    cells: |schema, now| {
        let missing = schema.condition("Dangling").map_or("?", |condition| condition.text_or("status", "?"));
        vec![
            json!(schema.text("spec.priorityLevelConfiguration.name")),
            json!(schema.int("spec.matchingPrecedence")),
            json!(schema.text_or("spec.distinguisherMethod.type", "<none>")),
            schema.age(now),
            json!(missing),
        ]
    },
};

pub(super) const PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        NAME,
        text("Type"),
        text("NominalConcurrencyShares"),
        text("Queues"),
        text("HandSize"),
        text("QueueLengthLimit"),
        AGE,
    ],
    cells: |level, now| {
        let shares = ["limited", "exempt"]
            .map(|of| level.at("spec").at(of).print_or("nominalConcurrencyShares", ""))
            .into_iter()
            .find(|shares| !shares.is_empty());
        let queuing = level.at("spec.limited.limitResponse.queuing");
        vec![
            json!(level.text("spec.type")),
            json!(shares.unwrap_or_else(|| "<none>".to_owned())),
            json!(queuing.print_or("queues", "<none>")),
            json!(queuing.print_or("handSize", "<none>")),
            json!(queuing.print_or("queueLengthLimit", "<none>")),
            level.age(now),
        ]
    },
};
