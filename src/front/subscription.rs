//! A `subscriptions/listen` of the stateless era: which news its stream gets.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::era::params::URI_MAX;
use super::era::shape;
use super::message::RequestId;
use super::outlet::Outlet;
use super::reply;
use crate::wire::messages::What;

/// Resources that one subscription may be about.
const URIS_MAX: usize = 256;

/// One stream of news.
#[derive(Debug)]
pub(super) struct Subscription {
    id: RequestId,
    /// The filter as the keeper agreed to it, raw.
    agreed: Vec<u8>,
    filter: Filter,
    outlet: Rc<Outlet>,
}

/// What the stream gets.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Agreed<'a> {
    #[serde(borrow)]
    notifications: &'a RawValue,
}

impl Subscription {
    /// What the keeper agreed to, raw JSON with the member `notifications`; nothing where that is
    /// no filter.
    pub(super) fn new(id: &RequestId, agreed: &[u8], outlet: &Rc<Outlet>) -> Option<Self> {
        let agreed: Agreed<'_> = serde_json::from_slice(agreed).ok()?;
        let filter: Filter = serde_json::from_str(agreed.notifications.get()).ok()?;
        let uris = &filter.resource_subscriptions;
        if uris.len() > URIS_MAX || uris.iter().any(|uri| uri.len() > URI_MAX) {
            return None;
        }
        Some(Self {
            id: id.clone(),
            agreed: agreed.notifications.get().into(),
            filter,
            outlet: Rc::clone(outlet),
        })
    }

    /// Says what the stream will get; the first thing on it.
    pub(super) fn acknowledge(&self) {
        let params = [b"{\"notifications\":", self.agreed.as_slice(), b"}"].concat();
        self.say("notifications/subscriptions/acknowledged", &params);
    }

    /// A list has changed.
    pub(super) fn changed(&self, what: What, method: &str) {
        let wanted = match what {
            What::Tools => self.filter.tools_list_changed,
            What::Resources => self.filter.resources_list_changed,
            What::Prompts => self.filter.prompts_list_changed,
        };
        if wanted {
            self.say(method, b"{}");
        }
    }

    /// A resource has changed.
    pub(super) fn updated(&self, uri: &str, method: &str, params: &[u8]) {
        let uris = &self.filter.resource_subscriptions;
        if uris.iter().any(|known| known == uri) {
            self.say(method, params);
        }
    }

    fn say(&self, method: &str, params: &[u8]) {
        if let Some(params) = shape::tagged(params, &self.id) {
            self.outlet.say(reply::notification_of(method, &params));
        }
    }
}
