//! What a person does with pages, done by the host.

use std::rc::Rc;

use kittiwake_ops::HistoryHandling;
use url::Url;

use super::{Error, PageId, Runtime};
use crate::history::Target;
use crate::host::Shard;
use crate::pages::PageSource;
use crate::windows::Window;

/// A page that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPage {
    /// Its name.
    pub page: PageId,
    /// What its `location` says.
    pub url: Url,
    /// Whether it is in front: visible and focused.
    pub in_front: bool,
}

impl Runtime {
    /// The pages that are open, the one that was in front last first; also those that workers and
    /// pages opened. Those of one shard come together, and each shard has one in front.
    pub async fn pages(&self) -> Result<Vec<OpenPage>, Error> {
        let mut all = Vec::new();
        for number in 0..self.shards.len() {
            let pages = self.ask_shard(number, move |shard| async move {
                let pages = shard.pages.borrow();
                let mut open: Vec<_> = pages.values().collect();
                open.sort_by_key(|page| std::cmp::Reverse(page.window.shown_at()));
                let describe = |page: &Rc<crate::pages::Page>| OpenPage {
                    page: PageId { shard: number, window: page.window.id },
                    url: page.document_url.borrow().clone(),
                    in_front: page.window.is_in_front(),
                };
                open.into_iter().map(describe).collect::<Vec<_>>()
            });
            all.extend(pages.await?);
        }
        Ok(all)
    }

    /// Closes a page, which hears `pagehide` before. The page that was in front before it comes to
    /// the front. A page that is closed already stays so.
    pub async fn close_page(&self, page: PageId) -> Result<(), Error> {
        let close = move |shard: Rc<Shard>| async move { shard.close_window(page.window).await };
        self.ask_shard(page.shard, close).await
    }

    /// Goes to another URL in the page's window, as somebody who follows a link: a new document,
    /// by a navigation that a worker may answer. Answers when its scripts have run.
    ///
    /// # Errors
    ///
    /// [`Error::NoPage`], [`Error::PageLoad`]: then the page is as it was.
    pub async fn navigate_page(&self, page: PageId, url: Url) -> Result<(), Error> {
        self.navigate(page, |_| Target::new(url, PageSource::Url, HistoryHandling::Push)).await
    }

    /// Loads the page's document again, from where it came from.
    ///
    /// # Errors
    ///
    /// As [`Runtime::navigate_page`].
    pub async fn reload_page(&self, page: PageId) -> Result<(), Error> {
        self.navigate(page, |window| window.history.borrow().reload()).await
    }

    /// Brings a page to the front: it is visible and focused from now on, and the one before is
    /// hidden.
    ///
    /// # Errors
    ///
    /// [`Error::NoPage`].
    pub async fn focus_page(&self, page: PageId) -> Result<(), Error> {
        self.with_window(page, |shard, window| shard.bring_to_front(Some(window.id))).await
    }

    /// Hides a page, as a person who minimises its window. Hiding one that is not in front changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoPage`].
    pub async fn hide_page(&self, page: PageId) -> Result<(), Error> {
        self.with_window(page, |shard, window| {
            if window.is_in_front() {
                shard.bring_to_front(None);
            }
        })
        .await
    }

    async fn navigate(
        &self,
        page: PageId,
        target: impl FnOnce(&Window) -> Target + Send + 'static,
    ) -> Result<(), Error> {
        self.ask_shard(page.shard, move |shard| async move {
            let window = shard.window(page.window).ok_or(Error::NoPage)?;
            let target = target(&window);
            // Another navigation took its place, or the page was closed.
            shard.start_navigation(&window, target).await.unwrap_or(Err(Error::NoPage))
        })
        .await?
    }

    async fn with_window(
        &self,
        page: PageId,
        then: impl FnOnce(&Shard, &Window) + Send + 'static,
    ) -> Result<(), Error> {
        self.ask_shard(page.shard, move |shard| async move {
            let window = shard.window(page.window).ok_or(Error::NoPage)?;
            then(&shard, &window);
            Ok(())
        })
        .await?
    }
}
