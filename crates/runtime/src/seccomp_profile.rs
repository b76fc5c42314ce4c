//! Seccomp profiles from files, in the form the OCI runtime specification gives them (R13.24).
//!
//! The kernel runs every loaded program and obeys the strictest answer. So a profile becomes one program that answers
//! with the default action for calls no rule names, and one more for each action that rules name other than allowing.

use std::collections::{BTreeMap, HashMap};
use std::io;

use seccompiler::BpfProgram;
use serde::Deserialize;
use serde_json::{Value, json};

/// The errno of an action that names none.
const EPERM: u32 = 1;
const ALLOW: &str = "SCMP_ACT_ALLOW";

/// A profile's file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// The programs of a profile, in any order. Calls this machine does not know are passed over, as everywhere.
///
/// # Errors
/// What in the text is wrong.
pub(crate) fn compile(text: &[u8]) -> io::Result<Vec<BpfProgram>> {
    let profile: Profile = serde_json::from_slice(text).map_err(invalid)?;
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut wanted: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    let mut named = Vec::new();
    for rule in &profile.syscalls {
        let filters = filters(rule)?;
        named.extend(filters.clone());
        let does = action(&rule.action, rule.errno_ret)?;
        if rule.action != ALLOW {
            wanted.entry(does.to_string()).or_insert((does, Vec::new())).1.extend(filters);
        }
    }
    let mut programs = Vec::new();
    if profile.default_action != ALLOW {
        programs.push(program(&default, &json!("allow"), named)?);
    }
    for (does, filters) in wanted.into_values() {
        programs.push(program(&json!("allow"), &does, filters)?);
    }
    Ok(programs)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn action(name: &str, errno: Option<u32>) -> io::Result<Value> {
    Ok(match name {
        ALLOW => json!("allow"),
        "SCMP_ACT_ERRNO" => json!({ "errno": errno.unwrap_or(EPERM) }),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => json!("kill_thread"),
        "SCMP_ACT_KILL_PROCESS" => json!("kill_process"),
        "SCMP_ACT_LOG" => json!("log"),
        "SCMP_ACT_TRAP" => json!("trap"),
        "SCMP_ACT_TRACE" => json!({ "trace": errno.unwrap_or(EPERM) }),
        other => return Err(invalid(format!("unknown action {other:?}"))),
    })
}

fn filters(rule: &Rule) -> io::Result<Vec<Value>> {
    let conditions = rule.args.iter().map(|condition| {
        let (op, value) = match condition.op.as_str() {
            "SCMP_CMP_NE" => (json!("ne"), condition.value),
            "SCMP_CMP_LT" => (json!("lt"), condition.value),
            "SCMP_CMP_LE" => (json!("le"), condition.value),
            "SCMP_CMP_EQ" => (json!("eq"), condition.value),
            "SCMP_CMP_GE" => (json!("ge"), condition.value),
            "SCMP_CMP_GT" => (json!("gt"), condition.value),
            "SCMP_CMP_MASKED_EQ" => (json!({ "masked_eq": condition.value }), condition.value_two),
            other => return Err(invalid(format!("unknown comparison {other:?}"))),
        };
        Ok(json!({ "index": condition.index, "type": "qword", "op": op, "val": value }))
    });
    let conditions = conditions.collect::<io::Result<Vec<Value>>>()?;
    let filter = |name: &String| match conditions.as_slice() {
        [] => json!({ "syscall": name }),
        conditions => json!({ "syscall": name, "args": conditions }),
    };
    Ok(rule.names.iter().map(filter).collect())
}

fn program(mismatch: &Value, matched: &Value, mut filters: Vec<Value>) -> io::Result<BpfProgram> {
    const UNKNOWN: &str = "Invalid syscall name: ";
    let arch = std::env::consts::ARCH.try_into().map_err(invalid)?;
    loop {
        let filter = json!({ "mismatch_action": mismatch, "match_action": matched, "filter": filters });
        let text = json!({ "profile": filter }).to_string();
        let compiled: Result<HashMap<String, BpfProgram>, _> =
            seccompiler::compile_from_json(text.as_bytes(), arch);
        match compiled {
            Ok(mut programs) => return Ok(programs.remove("profile").unwrap_or_default()),
            Err(error) => {
                let text = error.to_string();
                let unknown = text.split_once(UNKNOWN).and_then(|(_, rest)| rest.split(' ').next());
                let before = filters.len();
                filters.retain(|filter| filter["syscall"].as_str() != unknown);
                if filters.len() == before {
                    return Err(invalid(text));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(profile: &Value) -> Result<usize, String> {
        compile(profile.to_string().as_bytes()).map(|all| all.len()).map_err(|error| error.to_string())
    }

    /// R13.24: one program for the default and one for each other action; calls nobody knows are passed over.
    #[test]
    fn a_profile_becomes_programs() {
        let rule = |names: &[&str], action: &str| json!({ "names": names, "action": action });
        let deny = json!({ "defaultAction": ALLOW, "syscalls": [rule(&["mkdir", "no_such_call"], "SCMP_ACT_ERRNO")] });
        assert_eq!(count(&deny), Ok(1));
        let allow = json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
            rule(&["read"], ALLOW), rule(&["write"], "SCMP_ACT_LOG"), rule(&["mkdir"], "SCMP_ACT_KILL_PROCESS")] });
        assert_eq!(count(&allow), Ok(3));
        assert_eq!(count(&json!({ "defaultAction": ALLOW })), Ok(0));
        let masked = json!({ "index": 0, "value": 15, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ" });
        let args = json!({ "names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [masked] });
        assert_eq!(count(&json!({ "defaultAction": ALLOW, "syscalls": [args] })), Ok(1));
        for wrong in [
            json!({}),
            json!({ "defaultAction": "NO" }),
            json!({ "defaultAction": ALLOW, "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 1, "op": "x" }] }] }),
        ] {
            assert!(count(&wrong).is_err(), "{wrong}");
        }
    }
}
