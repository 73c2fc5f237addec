//! Collecting what a server offers, page by page.

use std::collections::{BTreeSet, VecDeque};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::messages::{Offer, RESULT_MAX};

/// Most pages of one kind.
const PAGES_MAX: usize = 100;
/// Longest cursor, in bytes.
const CURSOR_MAX: usize = 4 << 10;
/// Bytes of everything together: it goes to the keeper as one blob.
const BYTES_MAX: usize = RESULT_MAX - (512 << 10);

/// A question for the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// Of what.
    pub(super) offer: Offer,
    /// From where on, as JSON; nothing for the first.
    pub(super) cursor: Option<String>,
}

/// Everything collected so far.
#[derive(Debug)]
pub(super) struct Listing {
    wanted: VecDeque<Offer>,
    now: Option<Page>,
    pages: usize,
    cursors: BTreeSet<String>,
    items: usize,
    items_max: usize,
    bytes: usize,
    /// What is complete, as JSON arrays.
    done: Vec<(Offer, String)>,
    /// The array that is being made.
    array: String,
}

impl Offer {
    /// The method that asks for it.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
            Self::Prompts => "prompts/list",
        }
    }

    /// The member of a result that holds the items.
    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Prompts => "prompts",
        }
    }

    /// The member of [`Listing::json`].
    fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Resources => "resources",
            Self::Templates => "templates",
            Self::Prompts => "prompts",
        }
    }
}

impl Listing {
    /// Of these, with at most `items` of each.
    pub(super) fn new(wanted: impl IntoIterator<Item = Offer>, items: u32) -> Self {
        let mut listing = Self {
            wanted: wanted.into_iter().collect(),
            now: None,
            pages: 0,
            cursors: BTreeSet::new(),
            items: 0,
            items_max: usize::try_from(items).unwrap_or(usize::MAX),
            bytes: 0,
            done: Vec::new(),
            array: String::new(),
        };
        listing.next();
        listing
    }

    /// The page to ask for; nothing once all is there.
    pub(super) fn page(&self) -> Option<&Page> {
        self.now.as_ref()
    }

    /// Takes the page that was asked for.
    ///
    /// # Errors
    /// Fails where it is none, or there is no end to it.
    pub(super) fn take(&mut self, result: &RawValue) -> Result<(), String> {
        let Some(Page { offer, .. }) = self.now.clone() else {
            return Ok(());
        };
        let bad = |what: String| format!("its answer to `{}` {what}", offer.method());
        let page: Members<'_> =
            serde_json::from_str(result.get()).map_err(|_| bad("is no page".into()))?;
        let items = match offer {
            Offer::Tools => page.tools,
            Offer::Resources => page.resources,
            Offer::Templates => page.templates,
            Offer::Prompts => page.prompts,
        };
        let items = items.ok_or_else(|| bad(format!("has no array `{}`", offer.member())))?;
        self.items = self.items.saturating_add(items.len());
        if self.items > self.items_max {
            return Err(bad(format!("has more than {} items", self.items_max)));
        }
        for item in items {
            if !item.get().starts_with('{') {
                return Err(bad("has an item that is no object".into()));
            }
            self.bytes = self.bytes.saturating_add(item.get().len() + 1);
            if self.bytes > BYTES_MAX {
                return Err(bad(format!("makes its list longer than {BYTES_MAX} bytes")));
            }
            self.array
                .push(if self.array.is_empty() { '[' } else { ',' });
            self.array.push_str(item.get());
        }
        match page
            .next
            .filter(|next| !matches!(next.get(), "null" | "\"\""))
        {
            None => self.finish(offer),
            Some(next) => {
                let text = next.get();
                self.pages += 1;
                if !text.starts_with('"') || text.len() > CURSOR_MAX {
                    return Err(bad("has a cursor that is none".into()));
                }
                if self.pages >= PAGES_MAX || !self.cursors.insert(text.to_owned()) {
                    return Err(bad("goes on without end".into()));
                }
                self.now = Some(Page {
                    offer,
                    cursor: Some(text.to_owned()),
                });
            }
        }
        Ok(())
    }

    /// The server has no such method, whatever its capabilities say: an empty list.
    pub(super) fn skip(&mut self) {
        if let Some(Page { offer, .. }) = self.now {
            self.array.clear();
            self.finish(offer);
        }
    }

    /// What was collected: each kind as a JSON array.
    pub(super) fn into_arrays(self) -> Vec<(Offer, String)> {
        self.done
    }

    /// All of it as one object, beside `hello`.
    pub(super) fn json(&self, hello: &str) -> String {
        let mut text = format!("{{\"hello\":{hello}");
        for offer in [
            Offer::Tools,
            Offer::Resources,
            Offer::Templates,
            Offer::Prompts,
        ] {
            let found = self.done.iter().find(|(kind, _)| *kind == offer);
            let array = found.map_or("[]", |(_, array)| array);
            text.push_str(&format!(",\"{}\":{array}", offer.name()));
        }
        text.push('}');
        text
    }

    fn finish(&mut self, offer: Offer) {
        let mut array = std::mem::take(&mut self.array);
        array.push_str(if array.is_empty() { "[]" } else { "]" });
        self.done.push((offer, array));
        self.next();
    }

    fn next(&mut self) {
        self.pages = 0;
        self.items = 0;
        self.cursors.clear();
        self.now = self.wanted.pop_front().map(|offer| Page {
            offer,
            cursor: None,
        });
    }
}

/// A page of any kind.
#[derive(Debug, Deserialize)]
struct Members<'a> {
    #[serde(default, borrow)]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow)]
    resources: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow, rename = "resourceTemplates")]
    templates: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow)]
    prompts: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow, rename = "nextCursor")]
    next: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn pages_are_put_together_byte_for_byte() {
        let mut listing = Listing::new([Offer::Tools, Offer::Prompts], 3);
        listing
            .take(&raw(r#"{"tools":[{ "a":1.0 }],"nextCursor":"x"}"#))
            .unwrap();
        let page = listing.page().unwrap();
        assert_eq!(page.cursor.as_deref(), Some("\"x\""));
        listing
            .take(&raw(r#"{"nextCursor":null,"tools":[{},{"b":[]}]}"#))
            .unwrap();
        assert_eq!(listing.page().unwrap().offer, Offer::Prompts);
        listing.skip();
        assert_eq!(listing.page(), None);
        assert_eq!(
            listing.json("{}"),
            r#"{"hello":{},"tools":[{ "a":1.0 },{},{"b":[]}],"resources":[],"templates":[],"prompts":[]}"#
        );
    }

    #[test]
    fn there_is_an_end_to_every_list() {
        let fresh = || Listing::new([Offer::Tools], 3);
        let error = |listing: &mut Listing, text: &str| listing.take(&raw(text)).unwrap_err();
        assert!(error(&mut fresh(), r#"{"tools":[{},{},{},{}]}"#).contains("more than 3 items"));
        assert!(error(&mut fresh(), r#"{"tools":[1]}"#).contains("no object"));
        assert!(error(&mut fresh(), r#"{"tools":{}}"#).contains("is no page"));
        assert!(error(&mut fresh(), r#"{"prompts":[]}"#).contains("no array `tools`"));
        assert!(error(&mut fresh(), r#"{"tools":[],"nextCursor":1}"#).contains("cursor"));
        let mut listing = fresh();
        listing
            .take(&raw(r#"{"tools":[],"nextCursor":"a"}"#))
            .unwrap();
        let again = error(&mut listing, r#"{"tools":[],"nextCursor":"a"}"#);
        assert!(again.contains("without end"), "{again}");
        let mut listing = fresh();
        let ended = (0..200).find(|n| {
            let page = format!(r#"{{"tools":[],"nextCursor":"{n}"}}"#);
            listing.take(&raw(&page)).is_err()
        });
        assert_eq!(ended, Some(PAGES_MAX - 1));
        let big = format!(r#"{{"tools":[{{"d":"{}"}}]}}"#, "x".repeat(BYTES_MAX));
        assert!(error(&mut fresh(), &big).contains("longer than"));
    }
}
