//! The requests of a background fetch, made one after the other while the network is there.
//! <https://wicg.github.io/background-fetch/#complete-a-record>
//!
//! Invariant: what a request came to is on disk before the next one is made, so that a crash
//! repeats one request at most; a request that is not `GET` is made once in a process.

use std::rc::Rc;

use deno_core::futures::StreamExt;
use kittiwake_ops::{CacheBody, FetchRequest, KeptRequest, OpError, RequestBody};
use kittiwake_store::{
    BackgroundFetchState, CacheEntry, EntryBody, EntryRequest, EntryResponse, RecordResult,
    ResponseType, StoreError, outcome,
};
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};
use url::Url;

use super::{BackgroundFetch, Record, vary_of};
use crate::activity::Busy;
use crate::caches::WrittenBody;
use crate::fetch::{FetchError, Response, fetch, header, shortened};
use crate::fetches::converted;
use crate::host::Shard;
use crate::http::HttpError;
use crate::quiet::let_others_run;

/// How often a request is made again after a failure of the network that is there, and how long
/// after: as Chromium's download service.
const MAX_RETRIES: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_secs(20);

/// What has come of a response: <https://wicg.github.io/background-fetch/#background-fetch-response>
struct Partial {
    response: EntryResponse,
    body: Rc<dyn CacheBody>,
    bytes: u64,
}

/// How an attempt ended.
enum Attempt {
    /// The whole response is here.
    Whole(RecordResult),
    /// There will be none.
    Failed(RecordResult),
    /// A part came; the rest may be asked for.
    More,
    /// The network failed, for this reason.
    Lost(String),
}

impl Shard {
    /// Makes its requests if they are not made, and dispatches its event.
    pub(super) async fn drive_background_fetch(&self, fetch: &Rc<BackgroundFetch>, busy: Busy) {
        // The script that began it knows of it before anything happens.
        let_others_run().await;
        let mut busy = Some(busy);
        if let Err(error) = self.make_requests(fetch, &mut busy).await {
            // It stays as it is on disk, and the next process goes on.
            return self.trace_store_error(&error);
        }
        if self.background_fetches.kept.borrow().contains_key(&fetch.id) {
            let handed = fetch.handed.take();
            let busy = busy.take().or(handed).unwrap_or_else(|| self.activity.begin());
            self.end_background_fetch(fetch).await;
            drop(busy);
        }
    }

    async fn make_requests(
        &self,
        fetch: &BackgroundFetch,
        busy: &mut Option<Busy>,
    ) -> Result<(), StoreError> {
        for (position, record) in fetch.records.iter().enumerate() {
            if record.result.get().is_none() {
                tokio::select! {
                    biased;
                    () = ended(fetch) => return Ok(()),
                    completed = self.complete_record(fetch, position, busy) => completed?,
                }
            }
            let ends_all = matches!(
                record.result.get(),
                Some(RecordResult::DownloadTotalExceeded | RecordResult::QuotaExceeded)
            );
            if ends_all {
                break;
            }
        }
        let results: Vec<_> = fetch.records.iter().map(|record| record.result.get()).collect();
        let state = outcome(&results).expect("invariant: every request has ended");
        if fetch.is_active() {
            self.settle_background_fetch(fetch, state)?;
            fetch.changed.notify_waiters();
        }
        Ok(())
    }

    /// Makes one request until it has ended, which is on disk then.
    async fn complete_record(
        &self,
        fetch: &BackgroundFetch,
        position: usize,
        busy: &mut Option<Busy>,
    ) -> Result<(), StoreError> {
        let record = &fetch.records[position];
        let (mut partial, mut retries) = (None, 0);
        let (result, whole) = loop {
            self.await_network(fetch, busy).await;
            let is_repeatable = record.request.method == "GET";
            match self.attempt(fetch, position, &mut partial).await? {
                Attempt::Whole(result) => break (result, partial),
                Attempt::Failed(result) => break (result, None),
                Attempt::More => {}
                Attempt::Lost(_) if !is_repeatable => break (RecordResult::FetchError, None),
                // Its absence is waited for, however long it lasts.
                Attempt::Lost(_) if !self.is_online() => {}
                Attempt::Lost(_) if retries == MAX_RETRIES => {
                    break (RecordResult::FetchError, None);
                }
                Attempt::Lost(reason) => {
                    retries += 1;
                    self.trace_waiting(fetch, Some(RETRY_DELAY), &reason);
                    sleep(RETRY_DELAY).await;
                }
            }
        };
        self.keep_record(fetch, position, result, whole).await
    }

    /// Waits until requests may be made. The scheduler, which hears of the network, knows who
    /// waits, and whether that is work.
    async fn await_network(&self, fetch: &BackgroundFetch, busy: &mut Option<Busy>) {
        let mut is_told = false;
        while !self.may_fire_syncs() {
            if !is_told && !self.is_online() {
                self.trace_waiting(fetch, None, "the network is offline");
                is_told = true;
            }
            let (resume, resumed) = oneshot::channel();
            self.background_fetches.waiting.borrow_mut().push(resume);
            self.wake.wake(&self.activity);
            *busy = None;
            match resumed.await {
                Ok(again) => *busy = Some(again),
                Err(_) => std::future::pending().await, // the shard has ended
            }
        }
    }

    /// Lets whoever waits for the network go on.
    pub(crate) fn resume_transfers(&self) {
        for waiting in self.background_fetches.waiting.take() {
            // Its fetch may have been aborted meanwhile.
            let _ = waiting.send(self.activity.begin());
        }
    }

    /// Whether somebody waits for the network.
    pub(crate) fn transfers_wait(&self) -> bool {
        let mut waiting = self.background_fetches.waiting.borrow_mut();
        waiting.retain(|waiting| !waiting.is_closed());
        !waiting.is_empty()
    }

    /// One exchange, from the head to the end of the body.
    async fn attempt(
        &self,
        background: &BackgroundFetch,
        position: usize,
        partial: &mut Option<Partial>,
    ) -> Result<Attempt, StoreError> {
        let record = &background.records[position];
        let Ok(client) = Url::parse(&background.scope) else {
            return Ok(Attempt::Failed(RecordResult::FetchError));
        };
        let Ok(url) = Url::parse(&record.request.url) else {
            return Ok(Attempt::Failed(RecordResult::FetchError));
        };
        let upload = self.store.background_fetch_upload(background.id, position)?;
        let body = match self.request_body(upload).await {
            Ok(body) => body,
            Err(_) => return Ok(Attempt::Failed(RecordResult::FetchError)),
        };
        let environment = self.fetch_environment(&client, None);
        let mut request = converted(wire(&record.request), body, url, client);
        let start = partial.as_ref().map_or(0, |partial| partial.bytes);
        if start > 0 {
            request.headers.push(("range".to_owned(), format!("bytes={start}-")));
            request.headers.push(("accept-encoding".to_owned(), "identity".to_owned()));
        }
        let (method, shown) = (request.method.clone(), shortened(request.url()));
        let started = self.elapsed_ms();
        match fetch(&environment, request).await {
            Ok(response) => {
                let answered = Ok((response.status, response.source));
                self.trace_fetch(started, method, shown, answered);
                record.uploaded.set(true);
                self.receive(background, record, response, partial, start).await
            }
            Err(error) => {
                self.trace_fetch(started, method, shown, Err(&error));
                Ok(match &error {
                    FetchError::Http(cause) if is_of_the_network(cause) => {
                        Attempt::Lost(error.to_string())
                    }
                    _ => Attempt::Failed(RecordResult::FetchError),
                })
            }
        }
    }

    /// Takes a response's body to the disk, behind what is there if it goes on with that.
    async fn receive(
        &self,
        fetch: &BackgroundFetch,
        record: &Record,
        response: Response,
        partial: &mut Option<Partial>,
        start: u64,
    ) -> Result<Attempt, StoreError> {
        let range = content_range(&response);
        if response.status == 206 {
            let goes_on = range.is_some_and(|range| range.first == start)
                && partial.as_ref().is_none_or(|partial| is_of_same(&partial.response, &response));
            if !goes_on {
                return Ok(Attempt::Failed(RecordResult::FetchError));
            }
        } else {
            *partial = None;
            record.downloaded.set(0);
        }
        let is_ok = (200..300).contains(&response.status);
        let (has_body, status) = (response.body.is_some(), response.status);
        let whole = partial.get_or_insert_with(|| Partial {
            response: kept_response(&response, has_body),
            body: self.begin_body(fetch.origin.clone()),
            bytes: 0,
        });
        let mut chunks = response.body.into_iter();
        if let Some(mut body) = chunks.next() {
            while let Some(chunk) = body.next().await {
                let chunk = match chunk {
                    Ok(chunk) => chunk,
                    Err(error) => return Ok(Attempt::Lost(error.to_string())),
                };
                let length = chunk.len() as u64;
                let sum = fetch.downloaded().saturating_add(length);
                if fetch.download_total > 0 && sum > fetch.download_total {
                    record.downloaded.set(0);
                    return Ok(Attempt::Failed(RecordResult::DownloadTotalExceeded));
                }
                if whole.body.clone().write(chunk).await.is_err() {
                    record.downloaded.set(0);
                    return Ok(Attempt::Failed(RecordResult::QuotaExceeded));
                }
                whole.bytes += length;
                record.downloaded.set(whole.bytes);
                self.tell_progress(fetch);
            }
        }
        Ok(match (status, range.and_then(|range| range.complete)) {
            (206, Some(complete)) if complete == whole.bytes => {
                Attempt::Whole(RecordResult::Success)
            }
            // It brought nothing: asking on would not end.
            (206, _) if whole.bytes == start => Attempt::Failed(RecordResult::FetchError),
            (206, _) => Attempt::More,
            _ if is_ok => Attempt::Whole(RecordResult::Success),
            _ => Attempt::Whole(RecordResult::BadStatus),
        })
    }

    /// The end of a request, on disk and told.
    async fn keep_record(
        &self,
        fetch: &BackgroundFetch,
        position: usize,
        mut result: RecordResult,
        whole: Option<Partial>,
    ) -> Result<(), StoreError> {
        let record = &fetch.records[position];
        let (mut entry, mut written) = (None, None);
        if let Some(Partial { mut response, body, .. }) = whole {
            // As in Chromium: what a server says besides its status is not looked at.
            if result == RecordResult::BadStatus {
                response.body = EntryBody::Null;
            }
            match self.finish_response(body, response.body == EntryBody::Null).await {
                Ok(body) => {
                    response.body = body.column.clone();
                    let KeptRequest { url, headers, .. } = record.request.clone();
                    let vary = vary_of(&response.headers);
                    *record.vary.borrow_mut() = vary.clone();
                    let request = EntryRequest { url, headers };
                    entry = Some(CacheEntry { request, vary, response });
                    written = Some(body);
                }
                Err(_) => result = RecordResult::QuotaExceeded,
            }
        }
        self.flush_caches();
        let quota = self.quota_of_caches(&fetch.origin);
        let store = &self.store;
        let kept = store.background_fetch_complete(fetch.id, position, result, entry, quota);
        match kept {
            Err(StoreError::QuotaExceeded { .. }) => {
                result = RecordResult::QuotaExceeded;
                store.background_fetch_complete(fetch.id, position, result, None, quota)?;
            }
            kept => {
                kept?;
                written.into_iter().for_each(WrittenBody::keep);
            }
        }
        if result != RecordResult::Success {
            record.downloaded.set(0);
        }
        record.result.set(Some(result));
        if fetch.is_active() {
            self.tell_background_fetch(fetch);
        }
        fetch.changed.notify_waiters();
        Ok(())
    }

    async fn finish_response(
        &self,
        body: Rc<dyn CacheBody>,
        is_null: bool,
    ) -> Result<WrittenBody, OpError> {
        if is_null { Ok(WrittenBody::null()) } else { self.finish_body(body).await }
    }

    /// A kept body, to be sent.
    async fn request_body(&self, upload: EntryBody) -> Result<RequestBody, OpError> {
        Ok(match upload {
            EntryBody::Null => RequestBody::Empty,
            EntryBody::Inline(bytes) => RequestBody::Whole(bytes.into()),
            EntryBody::File { id, .. } => {
                let mut bytes = Vec::new();
                let mut chunks = self.read_body(id)?;
                while let Some(chunk) = chunks.next().await {
                    bytes.extend_from_slice(&chunk?);
                }
                RequestBody::Whole(bytes.into())
            }
        })
    }
}

/// Resolves when it is active no more.
async fn ended(fetch: &BackgroundFetch) {
    loop {
        let changed = fetch.changed.notified();
        if fetch.state.get() != BackgroundFetchState::Active {
            return;
        }
        changed.await;
    }
}

/// As `fetch()` hands a request over. The client that made it may be gone.
fn wire(kept: &KeptRequest) -> FetchRequest {
    let mut request = FetchRequest::from(kept.clone());
    if request.referrer == "client" {
        request.referrer = "no-referrer".to_owned();
    }
    request
}

/// Whether another attempt may end better.
fn is_of_the_network(error: &HttpError) -> bool {
    use HttpError::{Broken, Dns, Offline, Refused, Timeout, Tls, Unreachable};
    matches!(
        error,
        Broken { .. }
            | Dns { .. }
            | Offline
            | Refused { .. }
            | Timeout { .. }
            | Tls { .. }
            | Unreachable { .. }
    )
}

/// A response without its body. Its length is the whole's, also if it came in parts.
fn kept_response(response: &Response, has_body: bool) -> EntryResponse {
    let mut headers = response.headers.clone();
    headers.retain(|(name, _)| {
        !name.eq_ignore_ascii_case("content-range") && !name.eq_ignore_ascii_case("content-length")
    });
    let is_part = response.status == 206;
    EntryResponse {
        // As Chromium's.
        response_type: ResponseType::Default,
        url_list: response.url_list.iter().map(Url::to_string).collect(),
        status: if is_part { 200 } else { response.status },
        status_text: if is_part { "OK".to_owned() } else { response.status_text.clone() },
        headers,
        body: if has_body { EntryBody::Inline(vec![]) } else { EntryBody::Null },
    }
}

/// <https://wicg.github.io/background-fetch/#validate-a-partial-response>
fn is_of_same(previous: &EntryResponse, response: &Response) -> bool {
    ["etag", "last-modified"].into_iter().all(|name| {
        let before = header(&previous.headers, name);
        before.is_none() || before == header(&response.headers, name)
    })
}

/// What a part is of: <https://wicg.github.io/background-fetch/#extract-content-range-values>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    first: u64,
    complete: Option<u64>,
}

fn content_range(response: &Response) -> Option<ContentRange> {
    let named =
        response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-range"));
    parse_content_range(&named?.1)
}

fn parse_content_range(value: &str) -> Option<ContentRange> {
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    let (range, complete) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, _last): (u64, u64) = (number(first)?, number(last)?);
    let complete = match complete {
        "*" => None,
        digits => Some(number(digits)?),
    };
    Some(ContentRange { first, complete })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_says_where_a_part_begins_and_how_long_the_whole_is() {
        let parsed = |value| parse_content_range(value).map(|range| (range.first, range.complete));
        assert_eq!(parsed("bytes 3-9/10"), Some((3, Some(10))));
        assert_eq!(parsed("bytes 0-0/*"), Some((0, None)));
        for value in ["", "bytes */10", "bytes 3-/10", "bytes=3-9/10", "bytes +3-9/10", "3-9/10"] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }
}
