//! What background sync costs: durable registrations, one event, and a start, a registration and a
//! claim among many.
//! What the numbers mean and how they are taken: benches/README.md.
//!
//! Invariant: each figure is a ratio to something measured in the same run; a missed target is
//! printed, and fails nothing.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; no script sees it")]

use std::error::Error;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::{Duration, Instant};

use deno_core::{JsRuntime, PollEventLoopOptions, RuntimeOptions, v8};
use futures::executor::block_on;
use kittiwake::{
    NetworkState, PageSource, Runtime, ScriptedServers, SyncPolicy, SyncTraceState, TraceEvent,
    TraceKind,
};
use kittiwake_store::{
    ClaimLimits, ClaimTurns, InstalledWorker, Outcome, RegistrationId, ScriptResource, ScriptType,
    Store, SyncChange, SyncWrite, UpdateViaCache,
};
use url::Url;

type Bench = fn() -> Result<()>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Workers that register at the same time, and registrations of each, one after the other, that are
/// measured after as many that are not.
const WORKERS: usize = 100;
const REGISTRATIONS_EACH: usize = 200;
const ROUNDS: usize = 5;
/// Events measured, after as many that are not.
const EVENTS: usize = 2_000;
/// Claims measured.
const CLAIMS: usize = 2_000;

fn main() {
    // Kittiwake sets flags of V8's own when it starts, which would end a process whose V8 runs.
    v8::V8::set_flags_from_string("--no-freeze-flags-after-init");
    // V8 wants the host threads to descend from the thread that initialises it.
    JsRuntime::init_platform(None);
    let benches: [(&str, Bench); 4] = [
        ("durable registrations", durable_registrations),
        ("one sync event", one_event),
        ("a start and a registration among many", cost_against_count),
        ("a claim among many", claim_among_many),
    ];
    // `cargo bench --bench background_sync -- claim` runs those whose name contains the word.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    for (name, bench) in benches {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        println!("{name}");
        if let Err(error) = bench() {
            println!("  not measured: {error}");
        }
        println!();
    }
}

/// Many workers register at once, on disk; beside rusqlite committing the same rows in the batches
/// that so many callers give it.
fn durable_registrations() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut best = [Cost { elapsed: Duration::MAX, processor: Duration::MAX }; 3];
    // In turns, because other work on the machine slows whoever is there.
    for round in 0..ROUNDS {
        let place = |name: &str| folder.path().join(format!("{name}-{round}"));
        for (best, cost) in best.iter_mut().zip([
            register_from_many_workers(&place("state"))?,
            commit_with_store(&place("store"))?,
            commit_with_rusqlite(&place("bare.sqlite"))?,
        ]) {
            best.elapsed = best.elapsed.min(cost.elapsed);
            best.processor = best.processor.min(cost.processor);
        }
    }
    let total = WORKERS * REGISTRATIONS_EACH;
    println!("  {total} registrations from {WORKERS} pages at once; the best of {ROUNDS}");
    for (name, Cost { elapsed, processor }) in
        ["kittiwake", "its store", "rusqlite"].iter().zip(best)
    {
        let per_second = total as f64 / elapsed.as_secs_f64();
        println!(
            "  {name}  {per_second:>9.0} a second, {:>6.1?} of processor",
            processor / total as u32
        );
    }
    let [kittiwake, _, bare] = best.map(|cost| cost.elapsed.as_secs_f64());
    target("as many as bare rusqlite", bare / kittiwake, 0.5, false);
    Ok(())
}

/// What something took.
#[derive(Clone, Copy)]
struct Cost {
    elapsed: Duration,
    /// Of all threads of the process.
    processor: Duration,
}

struct Meter {
    started: Instant,
    before: Duration,
}

impl Meter {
    fn start() -> Result<Self> {
        Ok(Meter { started: Instant::now(), before: processor_time()? })
    }

    fn read(&self) -> Result<Cost> {
        let processor = processor_time()? - self.before;
        Ok(Cost { elapsed: self.started.elapsed(), processor })
    }
}

fn processor_time() -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let Ok(times) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanoseconds += times.split(' ').next().ok_or("no time")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn register_from_many_workers(state: &Path) -> Result<Cost> {
    let root = tempfile::tempdir()?;
    std::fs::write(root.path().join("sw.js"), "")?;
    let origin = |number: usize| Url::parse(&format!("https://app{number}.test"));
    let (cost, watch) = watch_registrations();
    let mut builder = Runtime::builder().state_folder(state).on_trace(watch);
    for number in 0..WORKERS {
        builder = builder.serve(origin(number)?, root.path());
    }
    let runtime = builder.start()?;
    let page = format!(
        "self.go = async () => {{
            const {{ sync }} = await navigator.serviceWorker.ready;
            for (let i = 0; i < {}; i++) await sync.register(`tag-${{i}}`);
        }};
        addEventListener('online', () => {{}}); addEventListener('offline', () => go());",
        2 * REGISTRATIONS_EACH
    );
    block_on(async {
        for number in 0..WORKERS {
            runtime.register(origin(number)?.join("sw.js")?, None).await?;
            let script = origin(number)?.join("page.js")?;
            runtime.open_page(origin(number)?, PageSource::Script(script, page.clone())).await?;
        }
        runtime.idle().await?;
        Ok::<_, Box<dyn Error>>(())
    })?;
    block_on(async {
        // Every page begins at the same event, and nothing fires meanwhile.
        runtime.set_network(NetworkState::Offline).await?;
        runtime.idle().await
    })?;
    let registered = block_on(runtime.unsettled_syncs())?.len();
    assert_eq!(registered, 2 * WORKERS * REGISTRATIONS_EACH, "every registration is stored");
    block_on(runtime.shut_down())?;
    let cost = cost.lock().expect("nothing panics here").take();
    cost.ok_or_else(|| "the trace does not tell of every registration".into())
}

/// The cost of the second half of the registrations, and what watches the trace for it: each line
/// is of one that is on disk.
fn watch_registrations() -> (Arc<Mutex<Option<Cost>>>, impl FnMut(&TraceEvent) + Send) {
    let cost = Arc::<Mutex<Option<Cost>>>::default();
    let (told, mut count, mut half) = (Arc::clone(&cost), 0, None);
    let watch = move |event: &TraceEvent| {
        if !matches!(event.kind, TraceKind::Sync { state: SyncTraceState::Registered, .. }) {
            return;
        }
        count += 1;
        if count == WORKERS * REGISTRATIONS_EACH {
            half = Meter::start().ok();
        } else if count == 2 * WORKERS * REGISTRATIONS_EACH {
            let measured = half.as_ref().and_then(|half| half.read().ok());
            *told.lock().expect("nothing panics here") = measured;
        }
    };
    (cost, watch)
}

/// What the store takes of it, without any script.
fn commit_with_store(folder: &Path) -> Result<Cost> {
    let store = Store::open(folder)?;
    let registrations = (0..WORKERS).map(|number| install(&store, number));
    let registrations = registrations.collect::<Result<Vec<_>>>()?;
    let policy = SyncPolicy::default();
    measure_second_half(|tag| {
        let change = SyncChange::Register;
        let write = |&registration| SyncWrite { registration, tag: format!("tag-{tag}"), change };
        let writes: Vec<_> = registrations.iter().map(write).collect();
        store.sync_write_all(&writes, &policy, 0)?;
        Ok(())
    })
}

/// Makes one commit after the other.
fn measure_second_half(commit: impl Fn(usize) -> Result<()>) -> Result<Cost> {
    (0..REGISTRATIONS_EACH).try_for_each(&commit)?;
    let meter = Meter::start()?;
    (REGISTRATIONS_EACH..2 * REGISTRATIONS_EACH).try_for_each(&commit)?;
    meter.read()
}

/// What it takes without Kittiwake: the same rows with the same constraints and indexes, which
/// anybody needs who wants to know what is due.
fn commit_with_rusqlite(file: &Path) -> Result<Cost> {
    let connection = rusqlite::Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.execute_batch(include_str!("../store/schema.sql"))?;
    connection.execute_batch(include_str!("../store/sync/turns.sql"))?;
    for number in 0..WORKERS {
        connection.execute(
            "INSERT INTO registrations (origin, scope, update_via_cache, origin_id) \
             VALUES (?1, ?1 || '/', 'all', ?2)",
            (format!("https://app{number}.test"), number as i64 + 1),
        )?;
    }
    measure_second_half(|tag| {
        let transaction = connection.unchecked_transaction()?;
        for registration in 1..=WORKERS {
            transaction
                .prepare_cached(
                    "INSERT INTO sync_registrations VALUES (?1, ?2, 'pending', 0, NULL, 0, ?1)",
                )?
                .execute((registration as i64, format!("tag-{tag}")))?;
        }
        Ok(transaction.commit()?)
    })
}

/// From the claim of an event to its settlement, in a warm worker with state in memory; beside a
/// call of an empty async function from Rust, to its promise's end.
fn one_event() -> Result<()> {
    let event = median(sync_events()?);
    let call = median(async_calls()?);
    println!("  sync event, claimed to settled  {event:>9.1?}");
    println!("  empty async function            {call:>9.1?}");
    target("times an empty call", event.as_secs_f64() / call.as_secs_f64(), 10.0, true);
    Ok(())
}

fn sync_events() -> Result<Vec<Duration>> {
    let root = tempfile::tempdir()?;
    // The worker registers the next event as soon as this one is over, and so stays warm.
    let worker = "let left = LEFT;
        addEventListener('activate', (event) => event.waitUntil(registration.sync.register('a')));
        addEventListener('sync', (event) => {
          if (left-- > 0) registration.sync.register(event.tag === 'a' ? 'b' : 'a');
          event.waitUntil((async () => {})());
        });";
    let worker = worker.replace("LEFT", &(2 * EVENTS).to_string());
    std::fs::write(root.path().join("sw.js"), worker)?;
    let times = Arc::new(Mutex::new((None, Vec::new())));
    let seen = times.clone();
    let origin = Url::parse("https://app.test")?;
    let runtime = Runtime::builder()
        .servers(ScriptedServers::default())
        .serve(origin.clone(), root.path())
        .on_trace(move |event| {
            let TraceKind::Sync { state, .. } = &event.kind else { return };
            let (fired, times) = &mut *seen.lock().expect("nothing panics here");
            match state {
                SyncTraceState::Firing => *fired = Some(Instant::now()),
                SyncTraceState::Done => times.extend(fired.map(|fired| fired.elapsed())),
                _ => {}
            }
        })
        .sync_concurrency(1, 1)
        .start()?;
    block_on(async {
        runtime.register(origin.join("sw.js")?, None).await?;
        runtime.idle().await?;
        runtime.shut_down().await?;
        let times = times.lock().expect("nothing panics here").1.split_off(EVENTS);
        Ok(times)
    })
}

fn async_calls() -> Result<Vec<Duration>> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = tokio.enter();
    let mut runtime = JsRuntime::new(RuntimeOptions::default());
    let function = runtime.execute_script("empty.js", "(async () => {})")?;
    let function = {
        deno_core::scope!(scope, runtime);
        let function = v8::Local::new(scope, function);
        let function: v8::Local<v8::Function> = function.try_into()?;
        v8::Global::new(scope, function)
    };
    let mut times = Vec::new();
    for _ in 0..2 * EVENTS {
        let started = Instant::now();
        let mut call = pin!(runtime.call(&function));
        let mut context = Context::from_waker(futures::task::noop_waker_ref());
        while call.as_mut().poll(&mut context).is_pending() {
            let _ = runtime.poll_event_loop(&mut context, PollEventLoopOptions::default());
        }
        times.push(started.elapsed());
    }
    Ok(times.split_off(EVENTS))
}

/// What a start costs, and one registration after it, when a million of 10,000 workers are pending
/// on disk; beside a thousand of 10.
fn cost_against_count() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [few, many] = [("few", 10), ("many", 10_000)].map(|(name, workers)| {
        let state = folder.path().join(name);
        fill(&state, workers, 100).map(|()| state)
    });
    let states = [few?, many?];
    let mut starts = [Duration::MAX; 2];
    let mut registrations = [Duration::MAX; 2];
    let mut grown = [0; 2];
    for round in 0..ROUNDS {
        for (index, state) in states.iter().enumerate() {
            let before = resident_kib()?;
            let started = Instant::now();
            // Nothing fires before somebody says that the network is there.
            let runtime = Runtime::builder().state_folder(state).await_network_signal().start()?;
            block_on(runtime.run_for(Duration::ZERO))?;
            starts[index] = starts[index].min(started.elapsed());
            if round == 0 {
                grown[index] = resident_kib()?.saturating_sub(before);
            }
            registrations[index] = registrations[index].min(one_registration(runtime, round)?);
        }
    }
    for (index, name) in ["1,000 of 10 workers", "1,000,000 of 10,000"].into_iter().enumerate() {
        let (start, one) = (starts[index], registrations[index]);
        let mib = grown[index] as f64 / 1024.0;
        println!("  {name:<20} start {start:>9.1?}, {mib:>5.1} MiB; a registration {one:>9.1?}");
    }
    let ratio = |[few, many]: [Duration; 2]| many.as_secs_f64() / few.as_secs_f64();
    target("times the start with a thousand", ratio(starts), 2.0, true);
    target("times a registration among a thousand", ratio(registrations), 2.0, true);
    Ok(())
}

/// A state folder with so many workers, each with so many pending syncs.
fn fill(state: &Path, workers: usize, tags: usize) -> Result<()> {
    drop(Store::open(state)?);
    let database = rusqlite::Connection::open(state.join(kittiwake_store::DATABASE_FILE))?;
    database.execute_batch(&format!(
        "BEGIN;
         CREATE TEMP TABLE numbers AS WITH RECURSIVE counted (n) AS
           (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {workers}) SELECT n FROM counted;
         CREATE TEMP TABLE tags AS WITH RECURSIVE counted (n) AS
           (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {tags}) SELECT n FROM counted;
         INSERT INTO registrations (id, origin, scope, update_via_cache, origin_id)
           SELECT n, 'https://app' || n || '.test', 'https://app' || n || '.test/', 'imports', n
           FROM numbers;
         INSERT INTO versions (id, registration_id, script_url, script_type, state)
           SELECT n, n, 'https://app' || n || '.test/sw.js', 'classic', 'activated' FROM numbers;
         INSERT INTO script_resources
           SELECT n, 'https://app' || n || '.test/sw.js', 'text/javascript', x'' FROM numbers;
         INSERT INTO sync_registrations
           SELECT w.n, 'tag-' || t.n, 'pending', 0, NULL, 0, w.n
           FROM numbers w, tags t;
         COMMIT;"
    ))?;
    Ok(())
}

/// Of many that follow each other, on disk; and ends the runtime.
fn one_registration(runtime: Runtime, round: usize) -> Result<Duration> {
    let origin = Url::parse("https://app7.test/")?;
    let page = format!(
        "addEventListener('offline', async () => {{
            const {{ sync }} = await navigator.serviceWorker.ready;
            for (let i = 0; i < {REGISTRATIONS_EACH}; i++) await sync.register(`{round}-${{i}}`);
        }});"
    );
    block_on(async {
        let script = origin.join("page.js")?;
        runtime.open_page(origin, PageSource::Script(script, page)).await?;
        let started = Instant::now();
        runtime.set_network(NetworkState::Offline).await?;
        runtime.idle().await?;
        let time = started.elapsed() / REGISTRATIONS_EACH as u32;
        runtime.shut_down().await?;
        Ok(time)
    })
}

/// What the process has in memory.
fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}

/// A claim and its settlement when a million registrations are pending, beside a thousand.
fn claim_among_many() -> Result<()> {
    let few = median(claims(&store_with(10, 100)?)?);
    let many = median(claims(&store_with(10_000, 100)?)?);
    println!("  among     1,000 pending  {few:>9.1?}");
    println!("  among 1,000,000 pending  {many:>9.1?}");
    target("times the cost among a thousand", many.as_secs_f64() / few.as_secs_f64(), 2.0, true);
    Ok(())
}

fn store_with(registrations: usize, tags: usize) -> Result<Store> {
    let store = Store::in_memory()?;
    let policy = SyncPolicy::default();
    for number in 0..registrations {
        let registration = install(&store, number)?;
        let change = SyncChange::Register;
        let write = |tag| SyncWrite { registration, tag: format!("tag-{tag}"), change };
        store.sync_write_all(&(0..tags).map(write).collect::<Vec<_>>(), &policy, 0)?;
    }
    Ok(store)
}

/// An activated worker of an origin of its own.
fn install(store: &Store, number: usize) -> Result<RegistrationId> {
    let script_url = format!("https://app{number}.test/sw.js");
    let resource = ScriptResource {
        url: script_url.clone(),
        content_type: "text/javascript".to_owned(),
        body: Vec::new(),
    };
    let (registration, version) = store.install(&InstalledWorker {
        origin: format!("https://app{number}.test"),
        scope: format!("https://app{number}.test/"),
        script_url,
        script_type: ScriptType::Classic,
        update_via_cache: UpdateViaCache::Imports,
        router_rules: "[]".into(),
        resources: vec![resource],
    })?;
    store.activating(version)?;
    store.activated(version)?;
    Ok(registration)
}

fn claims(store: &Store) -> Result<Vec<Duration>> {
    let policy = SyncPolicy::default();
    let (limits, mut turns) = (ClaimLimits::up_to(1), ClaimTurns::default());
    let mut times = Vec::new();
    // Two of a thousand are claimed at a time, so that both stores keep their size.
    for _ in 0..CLAIMS {
        let started = Instant::now();
        let claimed = store.sync_claim_due(&policy, 0, &limits, &mut turns)?;
        let claim = claimed.first().ok_or("nothing is pending")?;
        store.sync_settle(claim.registration, &claim.tag, Outcome::Fulfilled, &policy, 0)?;
        times.push(started.elapsed());
        store.sync_register(claim.registration, &claim.tag, &policy, 0)?;
    }
    Ok(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn target(what: &str, ratio: f64, bound: f64, at_most: bool) {
    let met = if at_most { ratio <= bound } else { ratio >= bound };
    let word = if at_most { "at most" } else { "at least" };
    let verdict = if met { "met" } else { "MISSED" };
    println!("  {ratio:.2} {what}; target {word} {bound}: {verdict}");
}
