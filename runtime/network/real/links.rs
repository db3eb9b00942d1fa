//! The machine's links and routes.
//!
//! Invariant: there is a route only over a link that carries: a cable that was pulled leaves its
//! route behind.

use futures::StreamExt;
use futures::stream::LocalBoxStream;
use n0_watcher::Watcher;
use netwatch::netmon::{Monitor, State};

use super::RealSignalError;

/// Whether packets find a way out of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Present,
    Absent,
}

/// The route now, then again whenever a link or route has changed.
pub(super) async fn routes() -> Result<LocalBoxStream<'static, Route>, RealSignalError> {
    let failed = |cause: String| RealSignalError::Links { cause };
    // First of all, so that nothing changes unheard once the monitor has looked.
    let hints = Hints::subscribe().map_err(|cause| failed(cause.to_string()))?;
    let monitor = Monitor::new().await.map_err(|cause| failed(format!("{cause:#}")))?;
    let states = monitor.interface_state().stream().map(|state| Some(route(&state)));
    // It has no item; it keeps the monitor alive, and has it look.
    let watch = futures::stream::once(hints.look_with(monitor));
    let routes = futures::stream::select(states, watch);
    Ok(routes.filter_map(std::future::ready).boxed_local())
}

fn route(state: &State) -> Route {
    match &state.default_route_interface {
        Some(name) if carries(name) => Route::Present,
        _ => Route::Absent,
    }
}

/// Whether something is at the other end of a link, as far as the machine can tell.
#[cfg(target_os = "linux")]
fn carries(interface: &str) -> bool {
    // No such file, or not readable: a link of another kind, which is down when its route is gone.
    let carrier = std::fs::read_to_string(format!("/sys/class/net/{interface}/carrier"));
    !matches!(carrier.as_deref().map(str::trim), Ok("0"))
}

#[cfg(not(target_os = "linux"))]
fn carries(_interface: &str) -> bool {
    true
}

/// Hears that something changed, which the monitor by itself may not: it subscribes only after it
/// has looked, and to addresses and routes alone; but Linux says nothing of the IPv4 routes that go
/// with their link, nor of any when a cable is pulled.
#[cfg(target_os = "linux")]
struct Hints(netlink_sys::TokioSocket);

#[cfg(target_os = "linux")]
impl Hints {
    fn subscribe() -> std::io::Result<Hints> {
        use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

        // From linux/rtnetlink.h: links; addresses, routes and rules of IPv4; the same of IPv6.
        let groups = [1, 5, 7, 8, 9, 11, 19].iter().map(|group| 1 << (group - 1)).sum();
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(Hints(socket))
    }

    /// Never ends.
    async fn look_with(self, monitor: Monitor) -> Option<Route> {
        use netlink_sys::AsyncSocketExt;

        /// `ENOBUFS`: messages came faster than they were read.
        const NO_BUFFER_SPACE: i32 = 105;
        let mut message = Vec::with_capacity(64 * 1024);
        loop {
            message.clear();
            // What it says does not matter, nor whether some were lost: the monitor looks itself.
            let heard = self.0.recv(&mut message).await;
            if heard.is_err_and(|error| error.raw_os_error() != Some(NO_BUFFER_SPACE))
                || monitor.network_change().await.is_err()
            {
                // What the monitor hears by itself still counts.
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
struct Hints;

#[cfg(not(target_os = "linux"))]
impl Hints {
    fn subscribe() -> std::io::Result<Hints> {
        Ok(Hints)
    }

    /// Never ends.
    async fn look_with(self, monitor: Monitor) -> Option<Route> {
        let _watching = monitor;
        std::future::pending().await
    }
}
