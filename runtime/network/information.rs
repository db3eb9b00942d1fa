//! What `navigator.connection` says of a network, by Chromium's rules.
//!
//! Invariant: it depends on the signal alone, so that every realm reads the same at any moment.

use std::time::Duration;

use kittiwake_ops::{EffectiveConnectionType, NetworkInformation};

use super::{Conditions, NetworkState};

/// What Chromium takes for an Ethernet link that it has not measured.
const UNMEASURED: (Duration, u64) = (Duration::from_millis(90), 1_456_000);
/// No more is told, so that scripts cannot tell networks apart by it.
const LONGEST_RTT: Duration = Duration::from_secs(3);
const MOST_BITS_PER_SECOND: u64 = 10_000_000;

/// A network without a script is not measured. One whose script says how slow it is has that
/// latency, and no limit where none is given; and so has, with no latency, one that is away.
/// Chromium's noise of up to 10% per origin is left out.
pub(crate) fn information(state: NetworkState, conditions: &Conditions) -> NetworkInformation {
    let told = !conditions.latency.is_zero() || conditions.bits_per_second.is_some();
    let (rtt, bits_per_second) = match (state, told) {
        (NetworkState::Offline, _) => (Duration::ZERO, MOST_BITS_PER_SECOND),
        (NetworkState::Online, false) => UNMEASURED,
        (NetworkState::Online, true) => {
            (conditions.latency, conditions.bits_per_second.unwrap_or(MOST_BITS_PER_SECOND))
        }
    };
    let steps_of_50_kbit = (bits_per_second.min(MOST_BITS_PER_SECOND) + 25_000) / 50_000;
    NetworkInformation {
        effective_type: effective_type(rtt),
        rtt: (rtt.min(LONGEST_RTT).as_millis() as u32 + 25) / 50 * 50,
        downlink: steps_of_50_kbit as f64 / 20.0,
    }
}

/// Chromium goes by the round-trip time alone.
fn effective_type(rtt: Duration) -> EffectiveConnectionType {
    match rtt.as_millis() {
        2010.. => EffectiveConnectionType::Slow2g,
        1420.. => EffectiveConnectionType::Type2g,
        272.. => EffectiveConnectionType::Type3g,
        _ => EffectiveConnectionType::Type4g,
    }
}

#[cfg(test)]
mod tests {
    use super::EffectiveConnectionType::{Slow2g, Type2g, Type3g, Type4g};
    use super::*;
    use crate::network::Network;

    /// docs/chromium.md has the measurements.
    #[test]
    fn a_connection_is_what_chromium_makes_of_it() {
        for (network, effective_type, rtt, downlink) in [
            ("online", Type4g, 100, 1.45),
            ("offline", Type4g, 0, 10.0),
            ("online+loss=10%", Type4g, 100, 1.45),
            ("latency=24ms", Type4g, 0, 10.0),
            ("latency=271ms", Type4g, 250, 10.0),
            ("latency=272ms", Type3g, 250, 10.0),
            ("latency=1419ms", Type3g, 1400, 10.0),
            ("latency=1420ms", Type2g, 1400, 10.0),
            ("latency=2009ms", Type2g, 2000, 10.0),
            ("latency=2010ms", Slow2g, 2000, 10.0),
            ("latency=5s", Slow2g, 3000, 10.0),
            ("bandwidth=32kbit", Type4g, 0, 0.05),
            ("bandwidth=400kbit+latency=300ms", Type3g, 300, 0.4),
            ("bandwidth=1000mbit", Type4g, 0, 10.0),
        ] {
            let network: Network = network.parse().unwrap();
            let found = information(network.state, &network.conditions);
            assert_eq!(found, NetworkInformation { effective_type, rtt, downlink }, "{network}");
        }
    }
}
