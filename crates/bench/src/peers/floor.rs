//! Containers without anything around them: no API, no log, no limits, no cleaning up beyond the mount namespace.

use std::ffi::CString;
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use super::SERVE;
use crate::error::Error;

/// Namespaces every container of ours gets.
const NAMESPACES: i32 = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;

/// A folder to start bare containers in.
#[derive(Debug)]
pub(crate) struct Floor {
    folder: PathBuf,
    made: usize,
}

impl Floor {
    pub(crate) fn new(folder: PathBuf) -> Result<Self, Error> {
        super::root_folder(&folder.join("lower"))?;
        Ok(Self { folder, made: 0 })
    }

    /// From nothing to a running program in a network namespace of its own.
    pub(crate) fn one_container(&mut self) -> Result<Duration, Error> {
        let began = Instant::now();
        let pid = self.start(&["/bin/sh", "-c", SERVE], NAMESPACES | libc::CLONE_NEWNET)?;
        let took = began.elapsed();
        end(pid)?;
        Ok(took)
    }

    /// One container to its end, one that stays, another to its end; then the stay is over.
    pub(crate) fn three_containers(&mut self) -> Result<Duration, Error> {
        let began = Instant::now();
        let init = self.start(&["/bin/true"], NAMESPACES | libc::CLONE_NEWNET)?;
        wait(init)?;
        let sidecar = self.start(&["/bin/sh", "-c", SERVE], NAMESPACES)?;
        let app = self.start(&["/bin/true"], NAMESPACES)?;
        wait(app)?;
        end(sidecar)?;
        Ok(began.elapsed())
    }

    /// Returns once exec has happened.
    fn start(&mut self, command: &[&str], namespaces: i32) -> Result<Pid, Error> {
        self.made += 1;
        let own = self.folder.join(self.made.to_string());
        for name in ["upper", "work", "root"] {
            let folder = own.join(name);
            fs::create_dir_all(&folder).map_err(Error::doing(format!("make {}", folder.display())))?;
        }
        let plan = Plan::new(&self.folder.join("lower"), &own, command)?;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(Error::system("make a pipe"))?;
        let pid = plan.clone_and_exec(namespaces, writer.as_raw_fd())?;
        drop(writer);
        let mut failed = Vec::new();
        std::fs::File::from(reader).read_to_end(&mut failed).map_err(Error::doing("wait for exec"))?;
        match failed.first() {
            None => Ok(pid),
            Some(step) => Err(Error::Unexpected(format!("the bare container failed at step {step}"))),
        }
    }
}

fn wait(pid: Pid) -> Result<(), Error> {
    rustix::process::waitpid(Some(pid), WaitOptions::empty())
        .map(drop)
        .map_err(Error::system("wait for a bare container"))
}

/// By KILL: the first process of a namespace does not hear TERM before it has asked for it.
fn end(pid: Pid) -> Result<(), Error> {
    rustix::process::kill_process(pid, Signal::KILL).map_err(Error::system("end a bare container"))?;
    wait(pid)
}

/// Everything the child needs, made before it exists: it may only make system calls.
struct Plan {
    options: CString,
    root: CString,
    arguments: Vec<CString>,
}

impl Plan {
    fn new(lower: &Path, own: &Path, command: &[&str]) -> Result<Self, Error> {
        let text = |text: String| {
            CString::new(text).map_err(|error| Error::Unexpected(format!("a path holds a NUL: {error}")))
        };
        let shown = own.display();
        Ok(Self {
            options: text(format!(
                "lowerdir={},upperdir={shown}/upper,workdir={shown}/work",
                lower.display()
            ))?,
            root: text(format!("{shown}/root"))?,
            arguments: command.iter().map(|word| text((*word).to_owned())).collect::<Result<_, _>>()?,
        })
    }

    fn clone_and_exec(&self, namespaces: i32, report: RawFd) -> Result<Pid, Error> {
        let mut pointers: Vec<*const libc::c_char> =
            self.arguments.iter().map(|word| word.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // SAFETY: clone_args is plain numbers, for which zero is valid and means "not asked for".
        let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
        request.flags = u64::from(namespaces.cast_unsigned());
        request.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
        // SAFETY: without CLONE_VM the child has its own copy of memory, so nothing it does reaches this process;
        // `request` is a valid clone_args of the size given.
        let pid =
            unsafe { libc::syscall(libc::SYS_clone3, &raw const request, size_of::<libc::clone_args>()) };
        if pid == 0 {
            // SAFETY: this is the child of the clone above; `pointers` ends with null and its strings outlive it.
            unsafe { self.child(&pointers, report) }
        }
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| Error::doing("clone a process")(std::io::Error::last_os_error()))
    }

    /// Mounts, changes the root and executes; tells the number of the step that failed otherwise.
    ///
    /// # Safety
    /// Only in a process cloned for it, with `arguments` ending in null and valid until exec.
    unsafe fn child(&self, arguments: &[*const libc::c_char], report: RawFd) -> ! {
        let none = std::ptr::null::<libc::c_char>();
        let (slash, dot) = (c"/".as_ptr(), c".".as_ptr());
        let (overlay, proc) = (c"overlay".as_ptr(), c"proc".as_ptr());
        // SAFETY: only system calls with pointers to strings that end with NUL and live until exec; no allocation
        // and no lock, so it does not matter what other threads of the parent held at the clone.
        unsafe {
            let root = self.root.as_ptr();
            let steps: [&dyn Fn() -> libc::c_long; 7] = [
                &|| libc::mount(none, slash, none, libc::MS_REC | libc::MS_PRIVATE, none.cast()).into(),
                &|| libc::mount(overlay, root, overlay, 0, self.options.as_ptr().cast()).into(),
                &|| libc::chdir(root).into(),
                &|| libc::mount(proc, proc, proc, 0, none.cast()).into(),
                &|| libc::syscall(libc::SYS_pivot_root, dot, dot),
                &|| libc::umount2(dot, libc::MNT_DETACH).into(),
                &|| libc::execv(arguments[0], arguments.as_ptr()).into(),
            ];
            for (number, step) in (1_u8..).zip(steps) {
                if step() < 0 {
                    libc::write(report, (&raw const number).cast(), 1);
                    break;
                }
            }
            libc::_exit(127)
        }
    }
}
