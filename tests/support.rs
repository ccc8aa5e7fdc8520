//! What many tests need: the built binary as a child process with its ready line and its streams.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Recorded vendor traffic kept beside the repository; the tests that read it are extra.
pub fn shared() -> Option<PathBuf> {
    std::env::var_os("FOREBAY_SHARED").map(PathBuf::from).filter(|path| path.is_dir())
}

/// Panics where strace is missing: a test that makes system calls fail, or reads them, is never skipped.
pub fn needs_strace() {
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(
        there.is_ok_and(|status| status.success()),
        "strace is missing: ./test.sh installs it, or `apt-get install strace`"
    );
}

/// Copies the schemas of the repository into a folder: a `schemas` that is a link is not read.
pub fn copy_schemas(into: &Path) {
    let to = into.join("schemas");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(root().join("schemas")).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
}

/// A command that runs the built binary in the repository's root, with an environment of its own.
pub fn forebay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    // Tools of the tests (strace, /proc) look into it, which it forbids to others than root.
    command.current_dir(root()).stdin(Stdio::null()).env_clear().env("FOREBAY_CORE_DUMPS", "allow");
    command
}

/// A running `forebay run`; killed when dropped.
pub struct Running {
    child: Child,
    /// `http://127.0.0.1:PORT/path` of each instance, in the order of the ready lines.
    pub urls: Vec<String>,
    stderr: Arc<Mutex<String>>,
    stdout: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    /// Starts `command` and waits until it said `ready:` for so many instances.
    pub fn start(command: &mut Command, instances: usize) -> Self {
        let running = Self::try_start(command, instances);
        assert!(running.urls.len() == instances, "not ready; it said:\n{}", running.said());
        running
    }

    /// Starts `command` and waits until it said `ready:` for so many instances, or ended.
    pub fn try_start(command: &mut Command, instances: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut out = child.stdout.take().unwrap();
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let written = stdout.clone();
        std::thread::spawn(move || {
            let mut chunk = [0; 65536];
            while let Ok(n @ 1..) = out.read(&mut chunk) {
                written.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (send, receive) = std::sync::mpsc::channel();
        let kept = stderr.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                // In a JSON log it is the message of a line.
                if let Some((_, rest)) = line.split_once("ready: receiving ") {
                    let rest = rest.split('"').next().unwrap_or_default();
                    let url = rest.rsplit(" at ").next().unwrap_or_default().to_owned();
                    let _ = send.send(url);
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let mut running = Self { child, urls: Vec::new(), stderr, stdout };
        let deadline = Instant::now() + Duration::from_secs(30);
        while running.urls.len() < instances {
            match receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(url) => running.urls.push(url),
                Err(_) => break,
            }
        }
        running
    }

    /// What it wrote to stderr so far.
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// What it wrote to stdout so far.
    pub fn wrote(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().unwrap()).into_owned()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal (`TERM`, `KILL`, `HUP`, `STOP`).
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done` holds, and fails with what it was waiting for.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One HTTP/1.1 request over a connection of its own: status and body.
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<(u16, String)> {
    use std::io::Write;
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/')?;
    let mut stream = std::net::TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let body = text.split_once("\r\n\r\n").map(|(_, b)| b.to_owned()).unwrap_or_default();
    Some((status, body))
}

/// The whole answer to a GET of what an operator may look at, its head too.
pub fn get(url: &str) -> String {
    use std::io::Write;
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Asks for the health of a process ten times a second, beside whatever a test does to it.
pub struct HealthWatch {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<Vec<(Duration, String)>>,
}

impl HealthWatch {
    /// Begins to ask the operator's listener at this address (`127.0.0.1:PORT`).
    pub fn start(admin: &str) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (over, admin) = (stop.clone(), admin.to_owned());
        let thread = std::thread::spawn(move || {
            let mut answers = Vec::new();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = Self::ask(&admin);
                answers.push((begun.elapsed(), answer));
                std::thread::sleep(Duration::from_millis(100));
            }
            answers
        });
        Self { stop, thread }
    }

    /// The first line of the answer, or why there was none.
    fn ask(admin: &str) -> String {
        use std::io::Write;
        let asked = || -> std::io::Result<String> {
            let mut stream = std::net::TcpStream::connect(admin)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer.lines().next().unwrap_or_default().to_owned())
        };
        asked().unwrap_or_else(|error| error.to_string())
    }

    /// Stops, and fails if an answer took a second or was no 200; gives the longest.
    pub fn within_a_second(self) -> Duration {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let answers = self.thread.join().unwrap();
        assert!(answers.len() >= 10, "only {} answers: the test is over too soon", answers.len());
        let worst = answers.iter().map(|(took, _)| *took).max().unwrap_or_default();
        println!("health: {} answers, {worst:?} at most", answers.len());
        for (took, answer) in answers {
            assert!(took < Duration::from_secs(1) && answer.contains(" 200 "), "{answer:?} after {took:?}");
        }
        worst
    }
}

/// Returns the seed of generated inputs: PROPTEST_RNG_SEED, which proptest reads too and `test.sh` draws for each run,
/// or a seed of its own. A test prints it: with it the same inputs are generated again.
pub fn seed() -> u64 {
    match std::env::var("PROPTEST_RNG_SEED") {
        Ok(number) => number.parse().expect("PROPTEST_RNG_SEED is a number"),
        Err(_) => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "seed"),
    }
}
