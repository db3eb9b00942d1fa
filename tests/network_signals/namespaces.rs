//! Network namespaces, made with iproute2: a machine under test, and another at the other end of
//! its cable.
//!
//! Invariant: the namespaces end with their value, also when a test panics; their names are no
//! other process's.

use std::io::ErrorKind;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The other machine, as the one under test sees it.
pub const SERVER: &str = "10.203.0.2";

/// Whether this process may make namespaces; if not, why.
pub fn permitted() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("network namespaces are a thing of Linux".to_owned());
    }
    let namespace = Namespace::new("try")?;
    ip(&["-n", &namespace.name, "link", "add", "one", "type", "veth", "peer", "name", "two"])?;
    let inside = namespace.command("true").output();
    match inside.map_err(|error| error.to_string()) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error),
    }
}

/// One namespace.
pub struct Namespace {
    name: String,
}

impl Namespace {
    fn new(role: &str) -> Result<Namespace, String> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("kittiwake-{}-{number}-{role}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Namespace { name })
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip` inside; it must succeed.
    #[track_caller]
    pub fn ip(&self, arguments: &str) {
        let inside = ["-n", self.name.as_str()].into_iter().chain(arguments.split(' '));
        ip(&inside.collect::<Vec<_>>()).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Its processes have been killed by now; the kernel takes the links along.
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("a namespace is left: {error}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let told = || format!("ip {}", arguments.join(" "));
    match Command::new("ip").args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("{}: {}", told(), String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err("`ip` is missing; install iproute2".to_owned())
        }
        Err(error) => Err(format!("{}: {error}", told())),
    }
}

/// Which addresses the machine under test has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4 alone, where Linux tells least about routes that go.
    V4,
    /// IPv6 too.
    V4AndV6,
}

/// Two machines and the cable between them: `uplink` at the one under test, `downlink` at the
/// other, which is its default gateway.
pub struct Lab {
    pub machine: Namespace,
    pub other: Namespace,
}

impl Lab {
    pub fn new(addresses: Addresses) -> Lab {
        let make = |role| Namespace::new(role).expect("namespaces are permitted");
        let lab = Lab { machine: make("machine"), other: make("other") };
        if addresses == Addresses::V4 {
            let disable = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
            let output = lab.machine.command("sh").args(["-c", disable]).output();
            // A kernel without IPv6 has nothing to disable.
            output.expect("a shell runs");
        }
        let peer = format!("link add uplink type veth peer name downlink netns {}", lab.other.name);
        lab.machine.ip(&peer);
        lab.machine.ip("addr add 10.203.0.1/24 dev uplink");
        lab.other.ip(&format!("addr add {SERVER}/24 dev downlink"));
        lab.other.ip("link set downlink up");
        lab.link_up();
        lab
    }

    /// Takes the link of the machine down; its routes go with it.
    pub fn link_down(&self) {
        self.machine.ip("link set uplink down");
    }

    /// Takes it up again, with its default route.
    pub fn link_up(&self) {
        self.machine.ip("link set uplink up");
        self.add_route();
    }

    /// Pulls the cable at its other end.
    pub fn pull_cable(&self) {
        self.other.ip("link set downlink down");
    }

    pub fn plug_cable(&self) {
        self.other.ip("link set downlink up");
    }

    pub fn withdraw_route(&self) {
        self.machine.ip("route del default");
    }

    pub fn add_route(&self) {
        self.machine.ip(&format!("route replace default via {SERVER}"));
    }
}
