//! `outrigger explain`: what will happen to the Pods of a manifest, by the same core that runs them, on a simulated
//! node and in no time.

mod options;
mod play;
mod pods;

use std::collections::BTreeSet;

use outrigger_explain::{Chart, render};
use outrigger_pod_lifecycle::ProbeKind;

use crate::failure::{Failure, USAGE};
use crate::manifests;
use crate::terminal;
pub(crate) use options::{ExplainOptions, Form};
use pods::Subject;

pub(crate) fn explain(options: &ExplainOptions) -> Result<u8, Failure> {
    terminal::print(&written(&charts(options)?, options.output)?)?;
    Ok(0)
}

/// One for each Pod.
fn charts(options: &ExplainOptions) -> Result<Vec<Chart>, Failure> {
    let mut subjects = pods::subjects(manifests::read(&options.files)?)?;
    if let Some(name) = &options.pod {
        let names: Vec<String> = subjects.iter().map(|subject| subject.title.clone()).collect();
        subjects.retain(|subject| subject.name == *name || subject.title == *name);
        if subjects.is_empty() {
            let text =
                format!("no Pod or workload {name:?} in the given files; there is {}", names.join(", "));
            return Err(Failure::new(USAGE, text));
        }
    }
    check_flags(&subjects, options)?;
    let chart = |subject: &Subject| {
        let report = play::play(&subject.pod, options).map_err(|why| Failure::new(USAGE, why))?;
        let chart = Chart::of(&report);
        let note = Some(play::assumed(&subject.pod, options));
        Ok(Chart { title: subject.title.clone(), note, ..chart })
    };
    subjects.iter().map(chart).collect()
}

fn written(charts: &[Chart], form: Form) -> Result<String, Failure> {
    match form {
        Form::Text => {
            let style = terminal::style();
            let texts: Vec<String> = charts.iter().map(|chart| render::text::render(chart, style)).collect();
            Ok(texts.join("\n"))
        }
        Form::Json => {
            let text = render::json(charts).map_err(Failure::doing("cannot write JSON"))?;
            Ok(text + "\n")
        }
        Form::Svg => match charts {
            [one] => Ok(render::svg::render(one)),
            all => {
                let titles: Vec<&str> = all.iter().map(|chart| chart.title.as_str()).collect();
                let text = format!("a picture shows one Pod; choose with --pod: {}", titles.join(", "));
                Err(Failure::new(USAGE, text))
            }
        },
    }
}

/// A flag must speak of a container, and of a probe, that one of the Pods has.
fn check_flags(subjects: &[Subject], options: &ExplainOptions) -> Result<(), Failure> {
    let known: BTreeSet<&str> = subjects
        .iter()
        .flat_map(|subject| play::containers(&subject.pod).map(|(container, _)| container.name.as_str()))
        .collect();
    let mut named: Vec<(&str, &str)> = Vec::new();
    named.extend(options.runs.iter().map(|flag| ("--runs", flag.container.as_str())));
    named.extend(options.fail.iter().map(|flag| ("--fail", flag.container.as_str())));
    named.extend(options.probe_fail.iter().map(|flag| ("--probe-fail", flag.container.as_str())));
    for line in &options.play {
        named.push(("--play", play::split_play(line).map_err(|why| Failure::new(USAGE, why))?.0));
    }
    for (flag, name) in named {
        if !known.contains(name) {
            let names: Vec<&str> = known.iter().copied().collect();
            let text = format!("{flag}: no container {name:?}; there is {}", names.join(", "));
            return Err(Failure::new(USAGE, text));
        }
    }
    for flag in &options.probe_fail {
        let all = subjects.iter().flat_map(|subject| play::containers(&subject.pod));
        let own = all.filter(|(container, _)| container.name == flag.container);
        let has: BTreeSet<&str> = own
            .flat_map(|(container, _)| {
                [
                    container.startup_probe.as_ref().map(|_| ProbeKind::Startup.as_str()),
                    container.liveness_probe.as_ref().map(|_| ProbeKind::Liveness.as_str()),
                    container.readiness_probe.as_ref().map(|_| ProbeKind::Readiness.as_str()),
                ]
            })
            .flatten()
            .collect();
        if !has.contains(flag.kind.as_str()) {
            let has: Vec<String> = has.iter().map(|word| word.to_lowercase()).collect();
            let has = if has.is_empty() { "no probes".to_owned() } else { has.join(", ") };
            let (kind, name) = (flag.kind.as_str().to_lowercase(), &flag.container);
            let text = format!("--probe-fail: {name} has no {kind} probe; it has {has}");
            return Err(Failure::new(USAGE, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use outrigger_explain::render::text::Style;

    use super::*;
    use crate::cli::{Arguments, Command};

    fn root() -> std::path::PathBuf {
        std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn options(line: &str) -> ExplainOptions {
        let words = line.split(' ').map(|word| match word.ends_with(".yaml") {
            true => root().join(word).display().to_string(),
            false => word.to_owned(),
        });
        let arguments =
            Arguments::try_parse_from(["outrigger", "explain"].map(str::to_owned).into_iter().chain(words));
        match arguments.expect("a right call").command {
            Command::Explain(options) => options,
            other => panic!("{other:?}"),
        }
    }

    fn failure(line: &str) -> (u8, String) {
        let failure = charts(&options(line)).expect_err("a mistake");
        (failure.code, failure.to_string())
    }

    /// What stands in `docs/explained/` is what the program says; `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn five_examples_are_explained_as_written() {
        let lines = [
            "examples/init-sidecar-app.yaml",
            "examples/sidecar-proxies-requests.yaml --probe-fail server/startup@0s-2s --probe-fail proxy/startup@0s-3s",
            "examples/job-with-sidecar.yaml --fail work@1=1 --fail work@2=oom",
            "examples/top-command-pod.yaml --fail top-command@1=3 --runs top-command=forever --delete-at 40s",
            "examples/init-fetches-dependency.yaml --runs fetch=3s --fail fetch@1=1",
        ];
        let mut wrong = Vec::new();
        for line in lines {
            let name = line.split(".yaml").next().unwrap().trim_start_matches("examples/");
            let style = Style { width: 100, colour: false };
            let chart = &charts(&options(line)).unwrap()[0];
            let text = render::text::render(chart, style);
            let mut files =
                vec![(format!("{name}.explain.txt"), format!("$ outrigger explain {line}\n\n{text}"))];
            if name == "job-with-sidecar" {
                files.push((format!("{name}.explain.svg"), render::svg::render(chart)));
            }
            for (file, text) in files {
                let path = root().join("docs/explained").join(&file);
                if std::env::var_os("UPDATE_GOLDEN").is_some() {
                    std::fs::write(&path, &text).unwrap();
                }
                if std::fs::read_to_string(&path).unwrap_or_default() != text {
                    wrong.push(format!("{file} is another:\n{text}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    #[test]
    fn unknown_names_are_answered_with_those_there_are() {
        let (code, text) = failure("examples/init-sidecar-app.yaml --fail ap@1=1");
        assert_eq!(
            (code, text.as_str()),
            (USAGE, "--fail: no container \"ap\"; there is app, prepare, side")
        );
        let (code, text) = failure("examples/sidecar-proxies-requests.yaml --probe-fail proxy/liveness");
        assert_eq!(
            (code, text.as_str()),
            (USAGE, "--probe-fail: proxy has no liveness probe; it has startup")
        );
        let (code, text) = failure("examples/top-command-pod.yaml --pod top");
        assert!(code == USAGE && text.ends_with("there is pod/top-command-pod"), "{text}");
    }

    fn of_text(text: &str) -> Result<Vec<Chart>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.yaml");
        std::fs::write(&file, text).unwrap();
        let result = charts(&options(&format!("{} --until 30s", file.display())));
        result.map_err(|error| {
            let text = error.to_string().replace(&folder.path().display().to_string(), "");
            Failure::new(error.code, text)
        })
    }

    const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: nginx
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: '0 3 * * *'
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: work, image: busybox}]}}}}
";

    #[test]
    fn templates_of_workloads_are_explained_too() {
        let charts = of_text(DEPLOYMENT).unwrap();
        let titles: Vec<(&str, &str)> =
            charts.iter().map(|chart| (chart.title.as_str(), chart.outcome.as_str())).collect();
        let running = ("deployment/web", "Running, Ready after 0s");
        assert_eq!(titles, [running, ("cronjob/nightly", "Succeeded after 5s")]);
    }

    /// 65, with file, line, column and field path.
    #[test]
    fn mistakes_of_a_manifest_have_a_place() {
        let wrong = |from: &str, to: &str| {
            let error = of_text(&DEPLOYMENT.replace(from, to)).unwrap_err();
            assert_eq!(error.code, crate::failure::BAD_MANIFEST);
            error.to_string()
        };
        let unknown = wrong("        image: nginx", "        imag: nginx");
        assert_eq!(unknown, "/x.yaml:11:9: spec.template.spec.containers[0].imag: unknown field");
        let missing = wrong("- name: app", "- name: App");
        assert!(
            missing.starts_with("/x.yaml:10:9: spec.template.spec.containers[0].name: Invalid value"),
            "{missing}"
        );
        let ty = wrong("image: nginx", "image: 5");
        assert_eq!(
            ty,
            "/x.yaml:11:9: spec.template.spec.containers.image: must be of type string, not number"
        );
        assert!(wrong("spec:\n  selector", "spec: [\n  selector").starts_with("/x.yaml:"), "syntax");
        assert!(of_text("apiVersion: v1\nkind: ConfigMap\n").unwrap_err().to_string().contains("no Pods"));
    }
}
