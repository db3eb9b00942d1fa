//! A store-and-forward agent: each line of the standard input is a reading, which is on disk before
//! the next line is read, and is posted to a server as soon as the network is there. Kill it, pull
//! the cable, start it again: nothing is lost.
//!
//! ```sh
//! cargo run --example store_and_forward -- STATE-FOLDER https://example.com/readings < readings.txt
//! ```

use std::io::BufRead;
use std::path::Path;

use kittiwake::{
    ClientBody, ClientRequest, ClientRequestKind, Network, NetworkSignal, RealNetwork, blocking,
};
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The worker's own origin is a name, and no server: its files are this program's.
const ORIGIN: &str = "https://agent.invalid/";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, state, upstream] = &arguments[..] else {
        return Err("usage: store_and_forward STATE-FOLDER UPSTREAM-URL".into());
    };
    let agent = Agent::start(Path::new(state), &upstream.parse()?)?;
    agent.runtime.follow_real_network(RealNetwork::default())?;
    for line in std::io::stdin().lock().lines() {
        agent.keep(&line?)?;
    }
    let left = agent.stop_when_sent()?;
    println!("all has been sent but {left}");
    Ok(())
}

/// A worker that keeps and forwards.
pub struct Agent {
    /// What it runs on.
    pub runtime: blocking::Runtime,
    next: std::cell::Cell<u64>,
}

impl Agent {
    /// Opens the folder. Nothing leaves before a network signal is followed.
    pub fn start(state: &Path, upstream: &Url) -> Result<Agent> {
        let (origin, files) = (Url::parse(ORIGIN)?, state.join("worker"));
        std::fs::create_dir_all(&files)?;
        std::fs::write(files.join("sw.js"), include_str!("store_and_forward.js"))?;
        let runtime = kittiwake::Runtime::builder()
            .state_folder(state.join("state"))
            .serve(origin.clone(), files)
            .await_network_signal()
            .start()?;
        let runtime = blocking::Runtime::from(runtime);
        let mut script = origin.join("sw.js")?;
        script.query_pairs_mut().append_pair("upstream", upstream.as_str());
        runtime.register(script, None)?;
        // Unix time in microseconds: later runs count on from later numbers.
        let since = std::time::UNIX_EPOCH.elapsed()?.as_micros() as u64;
        Ok(Agent { runtime, next: since.into() })
    }

    /// Follows the network: what waits leaves when it is there.
    pub fn follow(&self, signal: impl NetworkSignal + Send + 'static) -> Result<()> {
        Ok(self.runtime.follow_network(signal)?)
    }

    /// Says what the network is.
    pub fn set(&self, network: impl Into<Network>) -> Result<()> {
        Ok(self.runtime.set_network(network)?)
    }

    /// Gives a reading to the worker, which answers when it is on disk.
    pub fn keep(&self, reading: &str) -> Result<()> {
        let number = self.next.replace(self.next.get() + 1);
        let response = self.runtime.fetch(ClientRequest {
            method: "POST".to_owned(),
            url: Url::parse(ORIGIN)?.join(&format!("readings/{number}"))?,
            headers: Vec::new(),
            body: ClientBody::Whole(reading.to_owned().into()),
            kind: ClientRequestKind::Subresource { destination: String::new(), no_cors: false },
        })?;
        match response.status {
            202 => Ok(()),
            status => Err(format!("the worker did not keep `{reading}`: it said {status}").into()),
        }
    }

    /// Waits until nothing can move any more, and answers how many syncs are left.
    pub fn stop_when_sent(self) -> Result<usize> {
        self.runtime.idle()?;
        let left = self.runtime.unsettled_syncs()?.len();
        self.runtime.shut_down()?;
        Ok(left)
    }
}
