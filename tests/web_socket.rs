//! WebSockets of pages to a real server on loopback, which does what it is told.
//!
//! Invariant: nothing waits for time; each test ends with the socket's last event.

use std::sync::mpsc;
use std::time::Duration;

use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use kittiwake::{NetworkState, PageSource, Runtime, TraceKind};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use url::Url;

/// Long for a busy machine; nothing waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a page's script, which prints `end` when it is done, and answers what it printed.
fn run(script: &str, network: NetworkState) -> Vec<String> {
    run_at("https://app.test/", script, network)
}

/// The same for a page of this URL.
fn run_at(page: &str, script: &str, network: NetworkState) -> Vec<String> {
    let server = serve();
    let (print, printed) = mpsc::channel();
    let runtime = Runtime::builder().on_trace(move |event| match &event.kind {
        TraceKind::Console { text, .. } => drop(print.send(text.clone())),
        TraceKind::Error { exception } => drop(print.send(format!("error: {exception}"))),
        TraceKind::Fetch { error: Some(error), .. } => drop(print.send(format!("why: {error}"))),
        _ => {}
    });
    let runtime = runtime.start().expect("it starts");
    let prelude = format!("const server = 'ws://{server}';");
    let page = Url::parse(page).expect("a URL");
    let source = PageSource::Script(page.clone(), prelude + script);
    block_on(runtime.set_network(network)).expect("a network");
    block_on(runtime.open_page(page, source)).expect("a page");
    let mut lines = Vec::new();
    loop {
        match printed.recv_timeout(PATIENCE).as_deref() {
            Ok("end") => break,
            Ok(line) => lines.push(line.replace(&server, "SERVER")),
            Err(_) => panic!("the script has not printed `end`, but {lines:#?}"),
        }
    }
    block_on(runtime.shut_down()).expect("it ends");
    lines
}

/// Starts a server and answers its address. It serves one connection after the other.
fn serve() -> String {
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_io().build();
        tokio.expect("a runtime").block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ready.send(listener.local_addr().expect("bound").to_string()).expect("awaited");
            while let Ok((connection, _)) = listener.accept().await {
                converse(connection).await;
            }
        });
    });
    started.recv().expect("it starts")
}

#[expect(clippy::result_large_err, reason = "tungstenite's type")]
fn choose(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let headers = response.headers_mut();
    headers.insert("set-cookie", "id=7; HttpOnly".parse().expect("a header"));
    if request.uri().path() == "/cookie-as-protocol" {
        let cookie = request.headers().get("cookie").expect("there is one");
        let value = cookie.to_str().expect("text").replace('=', "-");
        headers.insert("sec-websocket-protocol", value.parse().expect("a header"));
        return Ok(response);
    }
    if let Some(asked) = request.headers().get("sec-websocket-protocol") {
        let asked = asked.to_str().expect("text");
        let chosen = if request.uri().path() == "/liar" { "other" } else { asked };
        let chosen = chosen.split(", ").last().expect("not empty");
        let value = chosen.parse().expect("a header");
        response.headers_mut().insert("sec-websocket-protocol", value);
    }
    Ok(response)
}

/// Echoes, except for what it is told to do.
async fn converse(connection: TcpStream) {
    let Ok(mut socket) = accept_hdr_async(connection, choose).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        match &message {
            Message::Text(text) if text.as_str() == "close" => {
                let frame = CloseFrame { code: 4001.into(), reason: "as you wish".into() };
                let _ = socket.close(Some(frame)).await;
            }
            Message::Text(text) if text.as_str() == "drop" => return,
            Message::Text(_) | Message::Binary(_) => {
                socket.send(message).await.expect("the page listens");
            }
            _ => {}
        }
    }
}

const TELL: &str = r"
const tell = (socket) => {
  socket.onopen = () => console.log('open', socket.protocol, socket.readyState);
  socket.onerror = () => console.log('error');
  socket.onclose = ({ code, reason, wasClean }) => {
    console.log('close', code, reason, wasClean, socket.readyState);
    console.log('end');
  };
  return socket;
};
";

#[test]
fn messages_come_back_as_what_they_were() {
    let script = TELL.to_owned()
        + r"
        const socket = tell(new WebSocket(server, ['a', 'b']));
        socket.addEventListener('open', () => {
          socket.send('text \u{1f600}');
          socket.send(new Blob(['blob']));
          socket.send(new Uint8Array([1, 2, 3]).subarray(1));
          console.log('buffered', socket.bufferedAmount);
        });
        const seen = [];
        socket.onmessage = async ({ data, origin }) => {
          socket.binaryType = 'arraybuffer';
          seen.push(typeof data === 'string' ? data : data.constructor.name + data.byteLength);
          if (seen.length < 3) return;
          console.log(seen.join(), origin, socket.bufferedAmount);
          socket.close(3000, 'enough');
        };";
    assert_eq!(
        run(&script, NetworkState::Online),
        [
            "open b 1",
            "buffered 15",
            "text \u{1f600},ArrayBuffer4,ArrayBuffer2 ws://SERVER 0",
            "close 3000 enough true 3"
        ]
    );
}

#[test]
fn a_server_closes_with_its_own_words() {
    let script = TELL.to_owned()
        + "const socket = tell(new WebSocket(server));
           socket.addEventListener('open', () => socket.send('close'));";
    assert_eq!(run(&script, NetworkState::Online), ["open  1", "close 4001 as you wish true 3"]);
}

#[test]
fn a_connection_that_breaks_is_an_error() {
    let script = TELL.to_owned()
        + "const socket = tell(new WebSocket(server));
           socket.addEventListener('open', () => socket.send('drop'));";
    assert_eq!(run(&script, NetworkState::Online), ["open  1", "error", "close 1006  false 3"]);
}

#[test]
fn a_server_that_chooses_what_nobody_asked_for_is_refused() {
    let script = TELL.to_owned() + "tell(new WebSocket(server + '/liar', 'a'));";
    let why = "why: connection to SERVER broke: no WebSocket: nobody asked for the subprotocol \
               `other`";
    assert_eq!(run(&script, NetworkState::Online), [why, "error", "close 1006  false 3"]);
}

#[test]
fn while_the_signal_is_offline_nobody_connects() {
    let script = TELL.to_owned() + "tell(new WebSocket(server));";
    let why = "why: the network is offline";
    assert_eq!(run(&script, NetworkState::Offline), [why, "error", "close 1006  false 3"]);
}

#[test]
fn cookies_come_and_go_with_the_handshake() {
    let script = TELL.to_owned()
        + "const first = new WebSocket(server);
           first.onopen = () => first.close();
           first.onclose = () => {
             const again = tell(new WebSocket(server + '/cookie-as-protocol', 'id-7'));
             again.addEventListener('open', () => again.close());
           };";
    let lines = run_at("http://127.0.0.1/", &script, NetworkState::Online);
    assert_eq!(lines, ["open id-7 1", "close 1005  true 3"]);
}

#[test]
fn a_port_of_another_protocol_is_refused() {
    let script = TELL.to_owned() + "tell(new WebSocket('ws://127.0.0.1:25/'));";
    let why = "why: port 25 is blocked, because another protocol has it";
    assert_eq!(run(&script, NetworkState::Online), [why, "error", "close 1006  false 3"]);
}
