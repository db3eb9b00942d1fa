//! What every network signal keeps, whatever moves its network.
//!
//! Invariant: a case knows a signal by the trait alone.

use futures::FutureExt;

use crate::network::{
    Conditions, NetworkSignal,
    NetworkState::{self, Offline, Online},
    Outlook,
};

/// A signal to be tested, and the network that it tells of.
#[expect(async_fn_in_trait, reason = "a suite is one task")]
pub trait NetworkWorld: Sized {
    /// The signal.
    type Signal: NetworkSignal;

    /// A network that is in the first of these states, and comes to the others one by one.
    async fn start(states: &[NetworkState]) -> (Self, Self::Signal);

    /// Brings the network to its next state; the signal may hear of it a little later.
    async fn advance(&mut self);
}

/// What a network signal keeps: a sentence for each case of [`network_signal`].
pub const NETWORK_SIGNAL_CASES: [&str; 6] = [
    "the first answer is the state and comes at once",
    "every change is answered once and in order",
    "nothing is answered while nothing changes",
    "a wait that is dropped loses no change",
    "looking anew invents no change and loses none",
    "what is fixed has ended for ever",
];

/// Tests one case, which is one of [`NETWORK_SIGNAL_CASES`].
///
/// # Panics
///
/// If the signal does not keep it.
pub async fn network_signal<W: NetworkWorld>(case: &str) {
    match NETWORK_SIGNAL_CASES.iter().position(|each| *each == case) {
        Some(0) => the_first_answer::<W>().await,
        Some(1) => every_change::<W>().await,
        Some(2) => nothing_changes::<W>().await,
        Some(3) => a_dropped_wait::<W>().await,
        Some(4) => looking_anew::<W>().await,
        Some(5) => what_is_fixed::<W>().await,
        _ => panic!("{case:?} is no case"),
    }
}

/// It waits, or it will never change again.
#[track_caller]
fn expect_nothing(signal: &mut impl NetworkSignal) {
    let answer = signal.next().now_or_never();
    assert!(matches!(answer, None | Some(None)), "{answer:?}");
}

async fn the_first_answer<W: NetworkWorld>() {
    for state in [Online, Offline] {
        let (_world, mut signal) = W::start(&[state]).await;
        assert_eq!(signal.next().now_or_never(), Some(Some(state)));
        assert_eq!(signal.conditions(), Conditions::default());
    }
}

async fn every_change<W: NetworkWorld>() {
    let states = [Online, Offline, Online, Offline];
    let (mut world, mut signal) = W::start(&states).await;
    assert_eq!(signal.next().await, Some(Online));
    for state in &states[1..] {
        assert_ne!(signal.outlook(), Outlook::Fixed);
        world.advance().await;
        assert_eq!(signal.next().await, Some(*state));
    }
}

async fn nothing_changes<W: NetworkWorld>() {
    let (_world, mut signal) = W::start(&[Offline, Online]).await;
    assert_eq!(signal.next().await, Some(Offline));
    for _ in 0..3 {
        expect_nothing(&mut signal);
    }
}

async fn a_dropped_wait<W: NetworkWorld>() {
    let (mut world, mut signal) = W::start(&[Offline, Online, Offline]).await;
    assert_eq!(signal.next().await, Some(Offline));
    expect_nothing(&mut signal);
    world.advance().await;
    // A poll that is dropped may see the change, but a wait that is not must answer it.
    let seen = signal.next().now_or_never();
    assert!(matches!(seen, None | Some(Some(Online))), "{seen:?}");
    if seen.is_none() {
        assert_eq!(signal.next().await, Some(Online));
    }
    world.advance().await;
    assert_eq!(signal.next().await, Some(Offline));
}

async fn looking_anew<W: NetworkWorld>() {
    let (mut world, mut signal) = W::start(&[Online, Offline, Online]).await;
    assert_eq!(signal.next().await, Some(Online));
    signal.look_anew().await;
    expect_nothing(&mut signal);
    for state in [Offline, Online] {
        world.advance().await;
        signal.look_anew().await;
        assert_eq!(signal.next().await, Some(state));
        signal.look_anew().await;
        expect_nothing(&mut signal);
    }
}

async fn what_is_fixed<W: NetworkWorld>() {
    let (mut world, mut signal) = W::start(&[Offline, Online]).await;
    assert_eq!(signal.next().await, Some(Offline));
    world.advance().await;
    assert_eq!(signal.next().await, Some(Online));
    drop(world);
    let end = signal.next().now_or_never();
    match signal.outlook() {
        Outlook::Fixed => {
            assert_eq!(end, Some(None));
            assert_eq!(signal.next().await, None);
        }
        // It may always change: then it waits.
        Outlook::Open => assert_eq!(end, None),
        Outlook::Scripted => panic!("nothing is to come"),
    }
}
