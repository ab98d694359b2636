//! Hosts: a process in a network namespace of its own, with one line to the router.
//!
//! The namespaces have no names: the kernel removes each with its process, however this one ends.
//! Every process holds a pipe from this one as its standard input and stops when that closes.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::router::address;

/// The TUN device of the router.
pub(crate) const TUN: &str = "tun0";
/// Packets that may wait for the router.
const TUN_QUEUE: &str = "20000";
/// The router's own address on every line.
const GATEWAY: &str = "10.77.255.254";
/// The table by which packets from hosts are routed.
const TABLE: &str = "77";
/// How long a host may take to stop.
const STOP: Duration = Duration::from_secs(20);

/// What a run needs of the machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Needs {
    #[error(
        "no network namespace can be made ({0}): run this as root (sudo), in a container with \
         CAP_SYS_ADMIN and CAP_NET_ADMIN"
    )]
    Namespace(String),
    #[error("`{0}` cannot be run ({1}): install util-linux and iproute2")]
    Program(&'static str, io::Error),
    #[error(
        "/dev/net/tun cannot be used ({0}): `modprobe tun`; a container needs --device /dev/net/tun"
    )]
    Tun(io::Error),
}

/// Finds out whether there is what a run needs, before anything is started.
pub(crate) fn check() -> Result<(), Needs> {
    for program in ["ip", "nsenter", "unshare"] {
        let found = Command::new(program).arg("-V").stdin(Stdio::null()).output();
        found.map_err(|error| Needs::Program(program, error))?;
    }
    let tried = Command::new("unshare").args(["--net", "true"]).stdin(Stdio::null()).output();
    let tried = tried.map_err(|error| Needs::Program("unshare", error))?;
    if !tried.status.success() {
        return Err(Needs::Namespace(String::from_utf8_lossy(&tried.stderr).trim().to_owned()));
    }
    File::options().read(true).write(true).open("/dev/net/tun").map_err(Needs::Tun)?;
    Ok(())
}

/// A host and its process.
#[derive(Debug)]
pub(crate) struct Host {
    child: Child,
    pub(crate) number: usize,
}

/// Prepares the namespace of this process for the lines of hosts.
pub(crate) fn prepare() -> Result<()> {
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/default/disable_ipv6", "1"),
    ] {
        let path = format!("/proc/sys/net/{key}");
        fs::write(&path, value).with_context(|| format!("{path} cannot be set"))?;
    }
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "set", TUN, "txqueuelen", TUN_QUEUE, "up"])?;
    ip(&["route", "add", "default", "dev", TUN, "table", TABLE])
}

impl Host {
    /// Starts a program as a host; its output goes to a file.
    pub(crate) fn start(number: usize, log: &Path, command: &mut Command) -> Result<Self> {
        let mut held = Command::new("unshare");
        held.args(["--net", "sh", "-c", "read go || exit 1; exec \"$@\"", "sh"]);
        held.arg(command.get_program()).args(command.get_args());
        held.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let log = File::create(log).context("a log cannot be written")?;
        held.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut host = Self { child: held.spawn().context("unshare cannot be run")?, number };
        host.connect()?;
        use std::io::Write as _;
        let mut pipe = host.child.stdin.as_ref().context("a pipe was asked for")?;
        pipe.write_all(b"go\n").context("a host is gone already")?;
        Ok(host)
    }

    /// Gives it its line and its address.
    fn connect(&mut self) -> Result<()> {
        let (pid, own) = (self.child.id().to_string(), fs::read_link("/proc/self/ns/net")?);
        let there = format!("/proc/{pid}/ns/net");
        let since = Instant::now();
        while fs::read_link(&there).is_ok_and(|link| link == own) {
            ensure!(since.elapsed() < STOP, "a host did not get a namespace of its own");
            sleep(Duration::from_millis(2));
        }
        let (line, ip_address) = (format!("v{}", self.number), address(self.number).to_string());
        ip(&["link", "add", &line, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        ip(&["address", "add", GATEWAY, "dev", &line])?;
        ip(&["link", "set", &line, "up"])?;
        ip(&["route", "add", &ip_address, "dev", &line])?;
        ip(&["rule", "add", "iif", &line, "lookup", TABLE])?;
        self.ip(&["link", "set", "lo", "up"])?;
        self.ip(&["address", "add", &ip_address, "dev", "eth0"])?;
        self.ip(&["link", "set", "eth0", "up"])?;
        self.ip(&["route", "add", GATEWAY, "dev", "eth0"])?;
        self.ip(&["route", "add", "default", "via", GATEWAY])
    }

    /// Runs a program in its namespace and returns what it prints.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        output(self.inside(program).args(args))
    }

    /// A command in its namespace.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.child.id().to_string(), "--net", "--"]).arg(program);
        command
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        self.run(Path::new("ip"), args).map(drop)
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether its process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Tells it to stop.
    pub(crate) fn close(&mut self) {
        drop(self.child.stdin.take());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.close();
        let since = Instant::now();
        while self.is_alive() && since.elapsed() < STOP {
            sleep(Duration::from_millis(20));
        }
        // It may have ended meanwhile.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ip(args: &[&str]) -> Result<()> {
    output(Command::new("ip").args(args)).map(drop)
}

/// What a command prints; an error with its last words if it fails.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let found = command.stdin(Stdio::null()).output();
    let found = found.with_context(|| format!("{command:?} cannot be run"))?;
    if !found.status.success() {
        let said = String::from_utf8_lossy(&found.stderr);
        let printed = String::from_utf8_lossy(&found.stdout);
        bail!("{command:?} failed: {} {}", said.trim(), printed.trim());
    }
    Ok(String::from_utf8_lossy(&found.stdout).into_owned())
}
