//! The push service: an application server sends encrypted messages to a page's endpoint.
//!
//! Invariant: the sender here knows nothing but what `PushSubscription.toJSON()` says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes128Gcm, Nonce};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use futures::executor::block_on;
use hkdf::Hkdf;
use kittiwake::{
    Builder, EventOutcome, NetworkState, PageSource, PushRequest, PushResponse, Runtime, TraceKind,
};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::{PublicKey, SecretKey, ecdh};
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

const WORKER: &str = r#"
addEventListener("push", ({ data }) => console.log(`push ${data === null ? null : data.text()}`));
"#;

/// The time at which simulations start.
const START_S: f64 = 1_735_689_600.0;

/// What the console and the trace of push said.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no holder panics"))
    }

    fn listen(&self, builder: Builder) -> Builder {
        let lines = self.0.clone();
        builder.on_trace(move |event| {
            let line = match &event.kind {
                TraceKind::Console { text, .. } => text.clone(),
                TraceKind::Error { exception } => format!("error: {exception}"),
                TraceKind::Push { text: Some(text), state, .. } => format!("{state:?}: {text}"),
                _ => return,
            };
            lines.lock().expect("no holder panics").push(line);
        })
    }
}

/// An application server with its key.
struct Sender {
    key: SigningKey,
    subscription: Value,
}

impl Sender {
    fn key() -> SigningKey {
        SigningKey::from_slice(&[7; 32]).expect("a key")
    }

    fn public_key(key: &SigningKey) -> Vec<u8> {
        key.verifying_key().to_encoded_point(false).as_bytes().to_vec()
    }

    fn endpoint(&self) -> Url {
        Url::parse(self.subscription["endpoint"].as_str().expect("text")).expect("a URL")
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        BASE64.decode(self.subscription["keys"][name].as_str().expect("text")).expect("base64url")
    }

    /// <https://www.rfc-editor.org/rfc/rfc8292#section-2>
    fn authorization(&self, audience: &str) -> String {
        let part = |value: Value| BASE64.encode(value.to_string());
        let exp = START_S + 3600.0;
        let head = part(json!({ "typ": "JWT", "alg": "ES256" }));
        let signed = format!("{head}.{}", part(json!({ "aud": audience, "exp": exp })));
        let signature: Signature = self.key.sign(signed.as_bytes());
        let signature = BASE64.encode(signature.to_bytes());
        let key = BASE64.encode(Sender::public_key(&self.key));
        format!("vapid t={signed}.{signature}, k={key}")
    }

    /// <https://www.rfc-editor.org/rfc/rfc8291#section-3>
    fn encrypt(&self, text: &[u8]) -> Vec<u8> {
        let ours = SecretKey::from_slice(&[9; 32]).expect("a key");
        let our_point = ours.public_key().to_encoded_point(false);
        let p256dh = self.bytes("p256dh");
        let theirs = PublicKey::from_sec1_bytes(&p256dh).expect("a point");
        let shared = ecdh::diffie_hellman(ours.to_nonzero_scalar(), theirs.as_affine());
        let info = [b"WebPush: info\0", &*p256dh, our_point.as_bytes()].concat();
        let input: [u8; 32] = expand(&self.bytes("auth"), shared.raw_secret_bytes(), &info);
        let salt = [3; 16];
        let key: [u8; 16] = expand(&salt, &input, b"Content-Encoding: aes128gcm\0");
        let nonce: [u8; 12] = expand(&salt, &input, b"Content-Encoding: nonce\0");
        let cipher = Aes128Gcm::new_from_slice(&key).expect("a key");
        let padded = [text, &[2, 0, 0]].concat();
        let record = cipher.encrypt(Nonce::from_slice(&nonce), &*padded).expect("it fits");
        [&salt[..], &4096_u32.to_be_bytes(), &[65], our_point.as_bytes(), &record].concat()
    }

    fn request(&self, text: Option<&str>) -> PushRequest {
        let audience = self.endpoint().origin().ascii_serialization();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        PushRequest {
            endpoint: self.endpoint(),
            headers: vec![
                header("ttl", "60"),
                header("content-encoding", "aes128gcm"),
                header("authorization", &self.authorization(&audience)),
            ],
            body: text.map_or(Vec::new(), |text| self.encrypt(text.as_bytes())),
        }
    }
}

fn expand<const N: usize>(salt: &[u8], input: &[u8], info: &[u8]) -> [u8; N] {
    let mut output = [0; N];
    Hkdf::<Sha256>::new(Some(salt), input).expand(info, &mut output).expect("few bytes");
    output
}

fn origin() -> Url {
    Url::parse("https://app.test/").expect("a URL")
}

async fn start(state: &std::path::Path, served: &std::path::Path, heard: &Heard) -> Runtime {
    std::fs::write(served.join("sw.js"), WORKER).expect("a file");
    let builder = Runtime::builder().simulated(0).state_folder(state).serve(origin(), served);
    let runtime = heard.listen(builder).start().expect("it starts");
    runtime.register(origin().join("sw.js").expect("a URL"), None).await.expect("it registers");
    runtime
}

/// Subscribes as a page, and answers a sender for the subscription.
async fn subscribe(runtime: &Runtime, heard: &Heard) -> Sender {
    let key = Sender::key();
    let public = BASE64.encode(Sender::public_key(&key));
    let page = format!(
        "navigator.serviceWorker.ready.then(async ({{ pushManager }}) => {{
           const options = {{ userVisibleOnly: true, applicationServerKey: '{public}' }};
           console.log(JSON.stringify(await pushManager.subscribe(options)));
         }});"
    );
    runtime.open_page(origin(), PageSource::Script(origin(), page)).await.expect("a page");
    runtime.idle().await.expect("it answers");
    let line = heard.take().pop().expect("the subscription");
    Sender { key, subscription: serde_json::from_str(&line).expect("JSON") }
}

async fn send(runtime: &Runtime, request: PushRequest) -> PushResponse {
    let response = runtime.receive_push(request).await.expect("it answers");
    runtime.idle().await.expect("it answers");
    response
}

#[test]
fn an_encrypted_message_reaches_the_worker_also_after_a_restart() {
    let (state, served) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let heard = Heard::default();
    block_on(async {
        let runtime = start(state.path(), served.path(), &heard).await;
        let sender = subscribe(&runtime, &heard).await;
        assert_eq!(send(&runtime, sender.request(Some("grüß dich"))).await.status, 201);
        assert_eq!(heard.take(), ["Delivered: grüß dich", "push grüß dich"]);
        assert_eq!(send(&runtime, sender.request(None)).await.status, 201);
        assert_eq!(heard.take(), ["push null"]);
        runtime.shut_down().await.expect("it ends");

        let runtime = start(state.path(), served.path(), &heard).await;
        assert_eq!(send(&runtime, sender.request(Some("again"))).await.status, 201);
        assert_eq!(heard.take(), ["Delivered: again", "push again"]);
        runtime.shut_down().await.expect("it ends");
    });
}

#[test]
fn a_message_waits_for_the_network_as_long_as_it_may_live() {
    let (state, served) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let heard = Heard::default();
    block_on(async {
        let runtime = start(state.path(), served.path(), &heard).await;
        let sender = subscribe(&runtime, &heard).await;
        runtime.set_network(NetworkState::Offline).await.expect("it answers");
        assert_eq!(send(&runtime, sender.request(Some("too old"))).await.status, 201);
        runtime.run_for(Duration::from_secs(61)).await.expect("it answers");
        assert_eq!(send(&runtime, sender.request(Some("waits"))).await.status, 201);
        assert_eq!(heard.take(), Vec::<String>::new());
        runtime.set_network(NetworkState::Online).await.expect("it answers");
        runtime.idle().await.expect("it answers");
        assert_eq!(heard.take(), ["Delivered: waits", "push waits"]);
        runtime.shut_down().await.expect("it ends");
    });
}

#[test]
fn whoever_is_not_the_subscriptions_server_is_refused() {
    let (state, served) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let heard = Heard::default();
    block_on(async {
        let runtime = start(state.path(), served.path(), &heard).await;
        let sender = subscribe(&runtime, &heard).await;
        let without = |name: &str| {
            let mut request = sender.request(Some("x"));
            request.headers.retain(|(each, _)| each != name);
            request
        };
        let other = Sender {
            key: SigningKey::from_slice(&[8; 32]).unwrap(),
            subscription: sender.subscription.clone(),
        };
        let mut large = sender.request(None);
        large.body = vec![0; 4097];
        let mut elsewhere = sender.request(None);
        elsewhere.endpoint = elsewhere.endpoint.join("nobody").unwrap();
        let mut garbled = sender.request(Some("x"));
        *garbled.body.last_mut().unwrap() ^= 1;
        let cases = [
            (without("ttl"), 400),
            (without("authorization"), 401),
            (without("content-encoding"), 400),
            (other.request(Some("x")), 403),
            (large, 413),
            (elsewhere, 410),
            (garbled, 201), // a service could not tell; it is dropped
        ];
        for (request, status) in cases {
            let response = send(&runtime, request).await;
            assert_eq!(response.status, status, "{}", response.reason);
        }
        let heard = heard.take();
        assert!(heard.iter().all(|line| line.starts_with("Refused: ")), "{heard:#?}");
        assert_eq!(heard.len(), 7);
        runtime.shut_down().await.expect("it ends");
    });
}

#[test]
fn an_ended_subscription_takes_no_messages() {
    let (state, served) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let heard = Heard::default();
    block_on(async {
        let runtime = start(state.path(), served.path(), &heard).await;
        let sender = subscribe(&runtime, &heard).await;
        let ended = runtime.expire_push_subscription(None).await.expect("it answers");
        assert_eq!(ended, Some(EventOutcome::Fulfilled));
        assert_eq!(send(&runtime, sender.request(Some("x"))).await.status, 410);
        assert_eq!(runtime.expire_push_subscription(None).await.expect("it answers"), None);
        runtime.shut_down().await.expect("it ends");
    });
}
