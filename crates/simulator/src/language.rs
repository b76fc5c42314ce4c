//! The language scripts are written in, in text cases and for `outrigger explain --play`.
//!
//! One line per container; instances are separated by `|` and the last is repeated; an instance is a list of clauses:
//!
//! ```text
//! a: exit 1 after 5 | serve
//! db: startup fails until 12 "connection refused", term 0 after 2, preStop takes 3
//! c: pull takes 8, start fails ErrImagePull twice "no such host" | serve
//! ```
//!
//! | clause | means |
//! |---|---|
//! | `serve` | runs until stopped; leaves TERM with 143 at once (the default) |
//! | `exit CODE after S` | ends by itself |
//! | `term CODE after S`, `ignores TERM` | how it answers TERM |
//! | `oom` | its exit is the kernel's, for want of memory |
//! | `cannot run "TEXT"` | its process cannot be executed |
//! | `says "TEXT"` | its termination message |
//! | `startup`/`liveness`/`readiness fails [from S] [until S] ["TEXT"]` | what its probe finds |
//! | `postStart`/`preStop takes S\|forever [fails "TEXT"]` | its hooks |
//! | `pull takes S` | of the container: how long its image takes |
//! | `start fails REASON [N times] ["TEXT"]` | of the container: its first starts |

use std::time::Duration;

use outrigger_pod_lifecycle::FailureReason;

use crate::script::{Health, Hook, Instance, Script};

impl Script {
    /// Reads what stands after `NAME:`. The error says what is wrong with which clause.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for part in split(text, '|') {
            let mut instance = Instance::serving();
            for clause in split(&part, ',') {
                let words = Words::of(&clause)?;
                if !of_container(&mut script, &words)? {
                    of_instance(&mut instance, &words)?;
                }
            }
            script.instances.push(instance);
        }
        Ok(script)
    }
}

/// A clause's words; a text in quotes is one of them.
struct Words {
    clause: String,
    words: Vec<String>,
    text: Option<String>,
}

impl Words {
    fn of(clause: &str) -> Result<Self, String> {
        let clause = clause.trim().to_owned();
        let (plain, text) = match clause.split_once('"') {
            None => (clause.as_str(), None),
            Some((plain, quoted)) => {
                let text = quoted.trim_end().strip_suffix('"');
                (plain, Some(text.ok_or_else(|| format!("`{clause}`: the quote is not closed"))?.to_owned()))
            }
        };
        Ok(Self { words: plain.split_whitespace().map(str::to_owned).collect(), text, clause })
    }

    fn plain(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    fn seconds(&self, word: &str) -> Result<Duration, String> {
        let seconds: f64 =
            word.parse().map_err(|_| format!("`{}`: {word} is no number of seconds", self.clause))?;
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{}`: {word} is no duration", self.clause))
    }

    fn code(&self, word: &str) -> Result<i32, String> {
        word.parse().map_err(|_| format!("`{}`: {word} is no exit code", self.clause))
    }

    /// The number of seconds after the word `key`.
    fn after(&self, key: &str) -> Result<Option<Duration>, String> {
        let at = self.words.iter().position(|word| word == key);
        let Some(value) = at.map(|at| self.words.get(at + 1).map_or("", String::as_str)) else {
            return Ok(None);
        };
        self.seconds(value).map(Some)
    }
}

/// What concerns all instances. Says whether the clause was of that kind.
fn of_container(script: &mut Script, words: &Words) -> Result<bool, String> {
    match words.plain().as_slice() {
        ["pull", "takes", takes] => script.pull = words.seconds(takes)?,
        ["start", "fails", reason, times @ ..] => {
            let reason = reason_of(reason).ok_or_else(|| format!("`{}`: unknown reason", words.clause))?;
            let times: usize = match times {
                [] | ["once"] => 1,
                ["twice"] => 2,
                [times, "times"] => times.parse().map_err(|_| format!("`{}`: how often?", words.clause))?,
                _ => return Err(format!("`{}`: how often?", words.clause)),
            };
            let text = words.text.clone().unwrap_or_else(|| "no luck".into());
            script.failures.extend(std::iter::repeat_n((reason, text), times));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn of_instance(instance: &mut Instance, words: &Words) -> Result<(), String> {
    match words.plain().as_slice() {
        [] | ["serve"] => {}
        ["exit", code] => instance.exit = Some((Duration::ZERO, words.code(code)?)),
        ["exit", code, "after", after] => instance.exit = Some((words.seconds(after)?, words.code(code)?)),
        ["term", code] => instance.on_term = Some((Duration::ZERO, words.code(code)?)),
        ["term", code, "after", after] => instance.on_term = Some((words.seconds(after)?, words.code(code)?)),
        ["ignores", "TERM"] => instance.on_term = None,
        ["oom"] => instance.oom_killed = true,
        ["cannot", "run"] => instance.start_error = Some(words.text.clone().unwrap_or_default()),
        ["says"] => instance.message = words.text.clone().unwrap_or_default(),
        ["startup", "fails", ..] => instance.startup = health(words)?,
        ["liveness", "fails", ..] => instance.liveness = health(words)?,
        ["readiness", "fails", ..] => instance.readiness = health(words)?,
        ["postStart", "takes", ..] => instance.post_start = hook(words)?,
        ["preStop", "takes", ..] => instance.pre_stop = hook(words)?,
        _ => return Err(format!("`{}` is not a clause of the script language", words.clause)),
    }
    Ok(())
}

fn health(words: &Words) -> Result<Health, String> {
    let from = words.after("from")?.unwrap_or_default();
    let until = words.after("until")?;
    Ok(Health::Fails { from, until, output: words.text.clone().unwrap_or_else(|| "no answer".into()) })
}

fn hook(words: &Words) -> Result<Hook, String> {
    let takes = match words.words.get(2).map(String::as_str) {
        Some("forever") => None,
        Some(takes) => Some(words.seconds(takes)?),
        None => return Err(format!("`{}`: how long?", words.clause)),
    };
    let fails = words.words.iter().any(|word| word == "fails");
    Ok(Hook { takes, error: fails.then(|| words.text.clone().unwrap_or_else(|| "exit code 1".into())) })
}

fn reason_of(word: &str) -> Option<FailureReason> {
    const ALL: [FailureReason; 10] = [
        FailureReason::ErrImagePull,
        FailureReason::ErrImageNeverPull,
        FailureReason::ImageInspectError,
        FailureReason::InvalidImageName,
        FailureReason::RegistryUnavailable,
        FailureReason::SignatureValidationFailed,
        FailureReason::CreateContainerConfigError,
        FailureReason::CreateContainerError,
        FailureReason::PreCreateHookError,
        FailureReason::RunContainerError,
    ];
    ALL.into_iter().find(|reason| reason.as_str() == word)
}

/// Splits at `mark`, but not inside quotes.
fn split(text: &str, mark: char) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for letter in text.chars() {
        quoted ^= letter == '"';
        if letter == mark && !quoted {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read() {
        let script = Script::parse("pull takes 8, exit 1 after 5, says \"a, b | c\" | ignores TERM").unwrap();
        assert_eq!((script.pull.as_secs(), script.instances.len()), (8, 2));
        assert_eq!(script.instances[0].message, "a, b | c");
        assert_eq!(script.instances[1].on_term, None);
    }

    #[test]
    fn a_wrong_clause_is_named() {
        let wrong = |text: &str| Script::parse(text).unwrap_err();
        assert_eq!(wrong("exit x after 5"), "`exit x after 5`: x is no exit code");
        assert_eq!(wrong("sleeps"), "`sleeps` is not a clause of the script language");
        assert_eq!(wrong("says \"a"), "`says \"a`: the quote is not closed");
    }
}
