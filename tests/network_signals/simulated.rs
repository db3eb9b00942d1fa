//! The signals that need no network: switched by hand, and scripted.

use std::collections::VecDeque;
use std::time::Duration;

use kittiwake::conformance::{NetworkWorld, network_signal};
use kittiwake::{ManualSignal, NetworkState, NetworkSwitch, Timeline};

/// Runs one case of the suite, in time that passes only while everything waits.
pub fn conform<W: NetworkWorld>(case: &str) {
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = tokio.enable_time().start_paused(true).build().expect("a runtime");
    tokio.block_on(network_signal::<W>(case));
}

/// A switch, and the states to come.
pub struct Manual {
    switch: NetworkSwitch,
    states: VecDeque<NetworkState>,
}

impl NetworkWorld for Manual {
    type Signal = ManualSignal;

    async fn start(states: &[NetworkState]) -> (Manual, ManualSignal) {
        let mut states = VecDeque::from(states.to_vec());
        let switch = NetworkSwitch::new(states.pop_front().expect("a first state"));
        let signal = switch.signal();
        (Manual { switch, states }, signal)
    }

    async fn advance(&mut self) {
        self.switch.set(self.states.pop_front().expect("a case asks for no more than it gave"));
    }
}

/// Every state lasts for ten seconds.
pub struct Scripted;

const EACH: Duration = Duration::from_secs(10);

impl NetworkWorld for Scripted {
    type Signal = Timeline;

    async fn start(states: &[NetworkState]) -> (Scripted, Timeline) {
        let items = states.iter().enumerate().map(|(index, state)| match index as u64 {
            0 => state.to_string(),
            index => format!("{state}@{}s", index * EACH.as_secs()),
        });
        let timeline = items.collect::<Vec<_>>().join(",");
        (Scripted, timeline.parse().expect("a timeline"))
    }

    async fn advance(&mut self) {
        tokio::time::advance(EACH).await;
    }
}
