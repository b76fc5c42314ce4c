//! `python:3.8`: this machine's interpreter in an image of the name the lifecycle tests use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::image::digest;
use crate::rootfs::busybox_layer;
use crate::{Blob, FixtureImage, FixtureLayer, PackedImage, TestkitError};

/// The image `python:3.8`: busybox, and above it this machine's python3 with its standard library (without its
/// tests) and the shared libraries both need. `python` and `python3` are in PATH; the command is `python3`.
///
/// Packing takes seconds, so the top layer is kept in `cache` under a hash of what it is made of.
pub fn python(cache: &Path) -> Result<PackedImage, TestkitError> {
    let source = Source::find()?;
    fs::create_dir_all(cache).map_err(TestkitError::io("make folder", cache))?;
    let kept = cache.join(format!("python-{}.tar.gz", source.hash()));
    let image = FixtureImage::new("python:3.8").layer(busybox_layer()?).cmd(&["python3"]).set(
        "Env",
        json!(["PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]),
    );
    let diff_file = kept.with_extension("diff-id");
    if let (Ok(bytes), Ok(diff_id)) = (fs::read(&kept), fs::read_to_string(&diff_file)) {
        return Ok(with_layer(&image, bytes, diff_id));
    }
    let layer = source.layer()?;
    let (bytes, _) = layer.packed();
    let diff_id = digest(&layer.tar());
    write(&kept, &bytes)?;
    write(&diff_file, diff_id.as_bytes())?;
    Ok(with_layer(&image, bytes, diff_id))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), TestkitError> {
    // Tests run side by side: nobody may read half a file.
    let own = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&own, bytes).map_err(TestkitError::io("write", &own))?;
    fs::rename(&own, path).map_err(TestkitError::io("rename to", path))
}

/// The image with one more layer that is packed already.
fn with_layer(image: &FixtureImage, bytes: Vec<u8>, diff_id: String) -> PackedImage {
    let mut packed = image.pack();
    packed.layers.push(Blob::new(crate::Compression::Gzip.media_type(), bytes));
    packed.diff_ids.push(diff_id);
    let mut config: Value = serde_json::from_slice(&packed.config.bytes).unwrap_or_default();
    config["rootfs"]["diff_ids"] = json!(packed.diff_ids);
    packed.config = Blob::new(&packed.config.media_type, config.to_string().into_bytes());
    packed.manifest = PackedImage::manifest_of(&packed.config, &packed.layers);
    packed
}

/// Where this machine's python is.
struct Source {
    interpreter: PathBuf,
    library: PathBuf,
    version: String,
}

impl Source {
    fn find() -> Result<Self, TestkitError> {
        let missing = || TestkitError::Missing { program: "python3".to_owned(), package: "python3" };
        let candidates = ["/usr/bin/python3", "python3"];
        candidates.iter().find_map(|program| Self::ask(program)).ok_or_else(missing)
    }

    fn ask(program: &str) -> Option<Self> {
        let script = "import os,sys,sysconfig\nprint(os.path.realpath(sys.executable))\n\
                      print(sysconfig.get_paths()['stdlib'])\nprint(sys.version)";
        let output = Command::new(program).args(["-I", "-c", script]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mut lines = text.lines();
        let (interpreter, library) = (PathBuf::from(lines.next()?), PathBuf::from(lines.next()?));
        (interpreter.is_file() && library.join("os.py").is_file()).then(|| Self {
            interpreter,
            library,
            version: lines.collect::<Vec<_>>().join(" "),
        })
    }

    fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let size = |path: &Path| fs::metadata(path).map(|m| (m.len(), m.mtime())).unwrap_or_default();
        let about = format!(
            "1 {} {:?} {} {:?} {}",
            self.interpreter.display(),
            size(&self.interpreter),
            self.library.display(),
            size(&self.library.join("os.py")),
            self.version,
        );
        hash.update(about);
        hex::encode(&hash.finalize()[..8])
    }

    fn layer(&self) -> Result<FixtureLayer, TestkitError> {
        let mut files = BTreeMap::new();
        collect(&self.library, &mut files)?;
        let mut programs: Vec<PathBuf> = files.keys().filter(|p| is_shared_object(p)).cloned().collect();
        programs.push(self.interpreter.clone());
        for library in libraries(&programs)? {
            files.entry(library.clone()).or_insert(library);
        }
        files.insert(self.interpreter.clone(), self.interpreter.clone());
        let mut layer = FixtureLayer::new();
        let mut made = BTreeSet::new();
        for (inside, outside) in &files {
            layer = folders(layer, inside, &mut made);
            layer = add(layer, inside, outside)?;
        }
        layer = folders(layer, Path::new("/usr/local/bin/python3"), &mut made);
        let interpreter = self.interpreter.to_string_lossy().into_owned();
        for name in ["python3", "python"] {
            layer = layer.symlink(&format!("usr/local/bin/{name}"), &interpreter);
        }
        Ok(layer)
    }
}

/// The folders above `path` that the layer does not have yet.
fn folders(mut layer: FixtureLayer, path: &Path, made: &mut BTreeSet<PathBuf>) -> FixtureLayer {
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    for folder in parents.into_iter().rev() {
        if folder != Path::new("/") && !folder.as_os_str().is_empty() && made.insert(folder.to_path_buf()) {
            layer = layer.dir(&inside_name(folder), 0o755);
        }
    }
    layer
}

fn add(layer: FixtureLayer, inside: &Path, outside: &Path) -> Result<FixtureLayer, TestkitError> {
    let meta = fs::metadata(outside).map_err(TestkitError::io("look at", outside))?;
    let bytes = fs::read(outside).map_err(TestkitError::io("read", outside))?;
    // Compiled modules are only used if the time of their source is the one they noted.
    let mtime = u64::try_from(meta.mtime()).unwrap_or(0);
    Ok(layer.file_of(&inside_name(inside), meta.permissions().mode() & 0o755, (0, 0), mtime, &bytes))
}

fn inside_name(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// All files below `folder`, links followed, without what only tests and editors need.
fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, PathBuf>) -> Result<(), TestkitError> {
    for entry in fs::read_dir(folder).map_err(TestkitError::io("list", folder))? {
        let entry = entry.map_err(TestkitError::io("list", folder))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(meta) = fs::metadata(&path) else { continue };
        if meta.is_dir() {
            let own = !entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if own && !UNWANTED.contains(&name.as_str()) && !name.starts_with("config-") {
                collect(&path, files)?;
            }
        } else if meta.is_file() && !name.ends_with(".a") && !name.starts_with("_test") {
            files.insert(path.clone(), path);
        }
    }
    Ok(())
}

fn is_shared_object(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "so")
}

/// The shared libraries of `programs` and their loader, under the names they are asked for.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>, TestkitError> {
    let mut found = BTreeSet::new();
    let output = Command::new("ldd").args(programs).output().map_err(TestkitError::io("run", "ldd"))?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // "libc.so.6 => /lib/…/libc.so.6 (0x…)" or "/lib64/ld-linux-x86-64.so.2 (0x…)"; other lines name the program.
        let target = line.split_once("=>").map_or(line, |(_, target)| target).trim();
        if let Some((path, _)) = target.split_once(" (")
            && path.starts_with('/')
        {
            found.insert(PathBuf::from(path));
        }
    }
    if found.is_empty() { Err(TestkitError::failed("ldd", "it names no libraries")) } else { Ok(found) }
}

const UNWANTED: [&str; 11] = [
    "test",
    "tests",
    "idle_test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "pydoc_data",
];
