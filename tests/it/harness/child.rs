//! Child processes that end when this process ends, however it ends.
//!
//! A child runs under a small shell script, the guard. The guard holds the read end of a pipe whose write end only
//! this process holds. When the pipe closes, because the child is to be stopped or because this process has ended
//! (even by SIGKILL), the guard sends the child its signal. `Drop` alone could not do that: it does not run when a
//! test process is killed, and never for a `static`.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

/// Arguments: the signal, then the command. Prints the child's process id first and its exit status last. The process
/// group is the guard's own, so that a Ctrl-C in the terminal reaches the tests only, and so that the guard can end
/// what it has started without naming it.
const GUARD: &str = r#"
signal=$1
shift
# What a file may not grow to is an error to whoever writes to it, and not their end.
trap '' XFSZ
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
echo "$child"
{ cat; kill -s "$signal" "$child"; sleep 15; kill -s KILL "$child"; } <&3 >/dev/null 2>&1 &
wait "$child"
status=$?
trap '' PIPE TERM
echo "exit status $status"
kill -s TERM 0
"#;

/// Waits for the end of the pipe, then removes a directory; a process that is just ending may still write to it.
const SWEEPER: &str = r#"
cat >/dev/null
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$1" && break
    sleep 0.5
done
"#;

/// The time after which waiting for a child is a failure of the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a child is started.
pub struct Start {
    command: Command,
    log: PathBuf,
}

impl Start {
    /// A program with its arguments, which is sent `signal` when it is to stop, and whose standard error goes to the
    /// file `log`.
    pub fn new<I>(signal: &str, log: &Path, program: &Path, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", GUARD, "guard", signal])
            .arg(program)
            .args(arguments)
            .process_group(0);
        Self {
            command,
            log: log.to_owned(),
        }
    }

    /// With another environment.
    pub fn environment(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a file for the log");
        let mut guard = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell as /bin/sh, which every Unix has");
        let output = guard.stdout.take().expect("the guard's standard output is a pipe");
        let stop = guard.stdin.take();
        let (line, lines) = channel();
        thread::spawn(move || {
            for text in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody reads any more once the child has been dropped.
                let _ = line.send(text);
            }
            let _ = guard.wait();
        });
        let mut child = Child {
            process_id: 0,
            stop,
            lines: Mutex::new(lines),
            log: self.log,
        };
        child.process_id = child.line().parse().expect("the guard begins with the process id");
        child
    }
}

/// A running child.
pub struct Child {
    /// Its process id.
    pub process_id: u32,
    /// Closing it stops the child.
    stop: Option<ChildStdin>,
    lines: Mutex<Receiver<String>>,
    log: PathBuf,
}

impl Child {
    /// The next line that the child writes to its standard output.
    pub fn line(&self) -> String {
        match self.receive() {
            Ok(line) if line.starts_with("exit status ") => panic!("the process ended: {line}\n{}", self.log()),
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the process wrote no line for {PATIENCE:?}\n{}", self.log()),
            Err(RecvTimeoutError::Disconnected) => panic!("the process has ended\n{}", self.log()),
        }
    }

    fn receive(&self) -> Result<String, RecvTimeoutError> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(PATIENCE)
    }

    /// What it has written to its standard error so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map_or_else(
            |error| format!("(there is no log {}: {error})", self.log.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Sends the signal, without waiting for its effect.
    pub fn ask_to_stop(&mut self) {
        self.stop = None;
    }

    /// Sends the signal and waits for the end. Returns what was still written to standard output, and the status.
    pub fn stop(mut self) -> (Vec<String>, i32) {
        self.ask_to_stop();
        let mut rest = Vec::new();
        loop {
            match self.receive() {
                Ok(line) => match line.strip_prefix("exit status ") {
                    Some(status) => return (rest, status.parse().expect("a status is a number")),
                    None => rest.push(line),
                },
                Err(error) => panic!("the process did not stop: {error}\n{}", self.log()),
            }
        }
    }
}

/// A directory for files of a test, removed when this process ends, however it ends.
pub struct Directory {
    path: PathBuf,
    /// Closing it removes the directory.
    _sweep: Option<ChildStdin>,
}

impl Directory {
    /// A new, empty directory.
    pub fn new() -> Self {
        let path = tempfile::Builder::new()
            .prefix("aka-test-")
            .tempdir()
            .expect("a directory for temporary files")
            .keep();
        let mut sweeper = Command::new("/bin/sh")
            .args(["-c", SWEEPER, "sweeper"])
            .arg(&path)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell as /bin/sh, which every Unix has");
        let sweep = sweeper.stdin.take();
        thread::spawn(move || sweeper.wait());
        Self { path, _sweep: sweep }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
