//! What realms leave behind in memory. A binary of its own: no other test's memory is measured.
//!
//! Invariant: it asks the system for the process's resident pages, not the allocators.

use std::fs;
use std::sync::{Mutex, PoisonError};

use futures::executor::block_on;
use kittiwake::{Error, PageSource, Runtime};
use url::Url;

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has it");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("its second number counts resident pages") * rustix::param::page_size()
}

/// One test at a time: memory is the process's.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn pages_without_end_are_refused_at_the_limit_and_take_bounded_memory() {
    const PAGES: usize = 50;
    const ALLOWED_BYTES_EACH: usize = 5_000_000;

    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let url = Url::parse("https://app.test/page").expect("a URL");
    let source = PageSource::Script(url.clone(), "globalThis.kept = [location.href];".to_owned());
    let builder = Runtime::builder().simulated(0).page_limit(PAGES);
    let runtime = builder.start().expect("it starts");
    let before = resident_bytes();
    block_on(async {
        for _ in 0..PAGES {
            runtime.open_page(url.clone(), source.clone()).await.expect("the page opens");
        }
        for _ in PAGES..1000 {
            let refused = runtime.open_page(url.clone(), source.clone()).await;
            assert!(matches!(refused, Err(Error::TooManyPages { limit: PAGES })));
        }
    });
    let each = resident_bytes().saturating_sub(before) / PAGES;
    println!("a page takes {each} bytes");
    assert!(each <= ALLOWED_BYTES_EACH, "a page takes {each} bytes, not {ALLOWED_BYTES_EACH}");
    block_on(runtime.shut_down()).expect("it ends");
}

#[test]
fn a_thousand_pages_one_after_the_other_leave_memory_flat() {
    const PAGES: usize = 1000;
    // The allocators' pools and the code of the engine have filled up by then.
    const WARM_UP: usize = 200;
    // A realm that is not freed costs 3 MB or more, so that one in a hundred shows; what is
    // allowed is 20 kB a page, for allocators that give back late.
    const ALLOWED_BYTES: usize = (PAGES - WARM_UP) * 5_000;

    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let url = Url::parse("https://app.test/page").expect("a URL");
    let source = "globalThis.kept = new Array(1000).fill('x'); setInterval(() => kept, 1000);";
    let source = PageSource::Script(url.clone(), source.to_owned());
    let runtime = Runtime::builder().simulated(0).start().expect("it starts");
    let mut after_warm_up = 0;
    block_on(async {
        for number in 0..PAGES {
            if number == WARM_UP {
                after_warm_up = resident_bytes();
            }
            let opened = runtime.open_page(url.clone(), source.clone()).await;
            let closed = runtime.close_page(opened.expect("the page opens")).await;
            closed.expect("the page closes");
        }
    });
    let grown = resident_bytes().saturating_sub(after_warm_up);
    assert!(
        grown <= ALLOWED_BYTES,
        "{} pages left {grown} bytes behind, more than {ALLOWED_BYTES}",
        PAGES - WARM_UP
    );
    block_on(runtime.shut_down()).expect("it ends");
}
