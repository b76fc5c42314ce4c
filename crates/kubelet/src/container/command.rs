//! Program and arguments (R11.13, R11.3).

use k8s_openapi::api::core::v1::Container;

use crate::env::expand;

/// The process' arguments, program first; empty if neither the container nor the image names a program.
pub(crate) fn command_line(
    container: &Container,
    image_entrypoint: &[String],
    image_command: &[String],
    env: &[(String, String)],
) -> Vec<String> {
    let lookup = |name: &str| env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|word| expand(word, lookup)).collect()
    };
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    match (command.is_empty(), args.is_empty()) {
        (true, true) => [image_entrypoint, image_command].concat(),
        (true, false) => [image_entrypoint, &args].concat(),
        (false, _) => [command, args].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|&word| word.to_owned()).collect()
    }

    /// R11.13
    #[test]
    fn the_container_overrides_the_image() {
        let line = |command: &[&str], args: &[&str]| {
            let some = |list: &[&str]| (!list.is_empty()).then(|| words(list));
            let container = Container { command: some(command), args: some(args), ..Container::default() };
            command_line(&container, &words(&["entry"]), &words(&["cmd"]), &[]).join(" ")
        };
        assert_eq!(line(&[], &[]), "entry cmd");
        assert_eq!(line(&[], &["a"]), "entry a");
        assert_eq!(line(&["c"], &[]), "c");
        assert_eq!(line(&["c"], &["a", "b"]), "c a b");
    }

    /// R11.3: the final environment is what counts.
    #[test]
    fn references_expand_from_the_environment() {
        let env = [("A".to_owned(), "1".to_owned())];
        let container = Container {
            command: Some(words(&["sh", "$(A)", "$$(A)", "$(B)"])),
            args: Some(words(&["x$(A)"])),
            ..Container::default()
        };
        assert_eq!(command_line(&container, &[], &[], &env), ["sh", "1", "$(A)", "$(B)", "x1"]);
    }
}
